"""Learning-rate rules (cases with known answers)."""

from math import erf, inf, sqrt

import numpy as np
import pytest

from autobatch.core.scaling import (
    RULES,
    gain,
    hyperparameters,
    rule_for,
    scaled,
)


@pytest.mark.parametrize(
    ("optimizer", "rule"),
    [("SGD", "linear"), ("Adam", "sqrt"), ("AdamW", "sqrt"), ("Adagrad", "none"), ("Mine", "none")],
)
def test_auto_chooses_the_rule_by_optimizer(optimizer, rule):
    assert rule_for(optimizer, "auto")[0] == rule


def test_an_unknown_optimizer_is_tuned_and_said_so():
    assert "no scaling rule is established for Mine" in rule_for("Mine", "auto")[1]


def test_the_recipe_overrules_the_optimizer():
    assert rule_for("Adam", "linear")[0] == "linear"


@pytest.mark.parametrize("rule", sorted(set(RULES.values())))
def test_rules_compose_and_leave_the_same_size_alone(rule):
    one = scaled(0.1, rule, old_batch=32, new_batch=128)
    two = scaled(one, rule, old_batch=128, new_batch=8)
    assert two == pytest.approx(scaled(0.1, rule, old_batch=32, new_batch=8))
    assert scaled(0.1, rule, old_batch=32, new_batch=32) == 0.1


def test_linear_and_square_root():
    assert scaled(0.1, "linear", old_batch=256, new_batch=8192) == pytest.approx(3.2)
    assert scaled(1e-3, "sqrt", old_batch=32, new_batch=128) == pytest.approx(2e-3)


@pytest.mark.parametrize(
    ("size", "rate", "left"),
    [(1, 1 / 12, 0.9167), (4, 0.2667, 0.7333), (16, 0.5926, 0.4074), (64, 0.8533, 0.1467)],
)
def test_the_best_rate_of_a_linear_regression_saturates_at_its_noise_scale(size, rate, left):
    """H = I, d = 10: eta*(B) = 1 / (1 + 11 / B), and a step leaves B_n / (B + B_n)."""
    found = scaled(1 / 12, "linear", old_batch=1, new_batch=size, critical_batch=11)
    assert found == pytest.approx(rate, rel=1e-3)
    assert 1 - found == pytest.approx(left, rel=1e-3) == pytest.approx(11 / (size + 11), rel=1e-3)


@pytest.mark.parametrize(
    ("critical", "expected"), [(500, 5.62963), (11, 1.28839), (1e6, 7.99821), (inf, 8)]
)
def test_the_gain_is_one_formula_for_three(critical, expected):
    """AdaScale's, Pollux' efficiency times kappa, and McCandlish's ratio of best rates."""
    found = gain(old_batch=32, new_batch=256, critical_batch=critical)
    assert found == pytest.approx(expected, rel=1e-5)
    if critical < inf:
        trace, signal = critical, 1.0
        adascale = (trace / 32 + signal) / (trace / 32 / 8 + signal)
        pollux = 8 * (critical + 32) / (critical + 256)
        best = (1 + critical / 32) / (1 + critical / 256)
        assert found == pytest.approx(adascale) == pytest.approx(pollux) == pytest.approx(best)


@pytest.mark.parametrize("rule", ["linear", "sqrt"])
def test_saturating_rules_compose(rule):
    one = scaled(0.1, rule, old_batch=32, new_batch=128, critical_batch=90)
    two = scaled(one, rule, old_batch=128, new_batch=8, critical_batch=90)
    direct = scaled(0.1, rule, old_batch=32, new_batch=8, critical_batch=90)
    assert two == pytest.approx(direct)


def test_the_square_root_is_right_for_signs_up_to_two_thirds_of_the_noise_scale():
    """The mean of the sign of a gradient is erf(sqrt(B / (2 B_s)))."""
    noise_scale = 10_000

    def best(size):
        return erf(sqrt(size / (2 * noise_scale)))

    for share, mean in ((0.01, 0.0797), (0.1, 0.2482), (1, 0.6827), (4, 0.9545)):
        assert best(share * noise_scale) == pytest.approx(mean, abs=1e-4)
    for size in (10, 100, 1000, 6610):
        found = scaled(best(1), "sqrt", old_batch=1, new_batch=size)
        assert best(size) == pytest.approx(found, rel=0.1005)
    assert scaled(best(1), "sqrt", old_batch=1, new_batch=20_000) > 1.2 * best(20_000)


def adam(rate, batch, settings, *, samples=12_000, runs=4000):
    """(mean at half, mean, spread at the end) of x in a noisy valley h x^2 / 2, started at 1."""
    rng = np.random.default_rng(0)
    x, m, v = np.ones(runs), np.zeros(runs), np.zeros(runs)
    one, two = 0.9, settings.get("beta_2", 0.999)
    halfway = 0.0
    for step in range(1, samples // batch + 1):
        g = 0.05 * x + rng.normal(size=runs) / sqrt(batch)
        m, v = one * m + (1 - one) * g, two * v + (1 - two) * g * g
        x = x - rate * (m / (1 - one**step)) / (np.sqrt(v / (1 - two**step)) + 1e-7)
        if step == samples // batch // 2:
            halfway = float(x.mean())
    return halfway, float(x.mean()), float(x.std())


def test_adam_with_the_square_root_trains_alike_at_another_size_and_with_other_rules_not():
    """From batch 4 at rate 0.01 to batch 16."""
    settings = hyperparameters("Adam", {"beta_2": 0.999}, kappa=4, rate_ratio=2)
    base = adam(0.01, 4, {})

    def alike(rule):
        rate = scaled(0.01, rule, old_batch=4, new_batch=16)
        found = adam(rate, 16, settings)
        return abs(found[0] / base[0] - 1) < 0.15, abs(found[2] / base[2] - 1) < 0.10

    assert alike("sqrt") == (True, True)
    assert alike("linear") == (False, False)
    assert alike("none") == (False, False)


def rmsprop(rate, batch, rho, *, samples=12_000, runs=2000):
    """(mean at half, spread at the end) of x in the valley of `adam`."""
    rng = np.random.default_rng(0)
    x, v = np.ones(runs), np.zeros(runs)
    halfway = 0.0
    for step in range(1, samples // batch + 1):
        g = 0.05 * x + rng.normal(size=runs) / sqrt(batch)
        v = rho * v + (1 - rho) * g * g
        x = x - rate * g / np.sqrt(v + 1e-7)
        if step == samples // batch // 2:
            halfway = float(x.mean())
    return halfway, float(x.std())


@pytest.mark.parametrize("kappa", [4, 16])
def test_rmsprop_trains_alike_at_another_size_where_rho_stays_an_average(kappa):
    base = rmsprop(0.01, 4, 0.9)
    settings = hyperparameters("RMSprop", {"rho": 0.9}, kappa=kappa, rate_ratio=sqrt(kappa))
    rate = scaled(0.01, "sqrt", old_batch=4, new_batch=4 * kappa)
    found = rmsprop(rate, 4 * kappa, settings["rho"])
    assert found == pytest.approx(base, rel=0.1)
    short = rmsprop(rate, 4 * kappa, 0.9**kappa)
    assert short[0] > 1.1 * base[0]


def adagrad_spread(rate, batch, *, samples=40_000, runs=2000):
    rng = np.random.default_rng(0)
    x, total = np.zeros(runs), np.zeros(runs)
    for _ in range(samples // batch):
        g = 0.01 * x + rng.normal(size=runs) / sqrt(batch)
        total += g * g
        x = x - rate * g / np.sqrt(total + 1e-7)
    return float(x.std())


def test_adagrad_keeps_its_rate():
    """Its sum of squares shrinks as fast as the steps get fewer."""
    base = adagrad_spread(0.2, 4)
    for size in (16, 64):
        rate = scaled(0.2, RULES["Adagrad"], old_batch=4, new_batch=size)
        assert adagrad_spread(rate, size) == pytest.approx(base, rel=0.1)
        rooted = scaled(0.2, "sqrt", old_batch=4, new_batch=size)
        assert adagrad_spread(rooted, size) > 1.2 * base


def ftrl(batch, settings, *, samples=20_000, runs=1000):
    """(mean at half, mean, spread at the end) of w in a noisy valley h (w - 1)^2 / 2; as Keras."""
    rng = np.random.default_rng(0)
    given = FTRL | settings
    l1, l2 = given["l1_regularization_strength"], given["l2_regularization_strength"]
    w, z = np.zeros(runs), np.zeros(runs)
    total = np.full(runs, given["initial_accumulator_value"])
    halfway = 0.0
    for step in range(1, samples // batch + 1):
        g = 0.05 * (w - 1) + rng.normal(size=runs) / sqrt(batch)
        z += g - (np.sqrt(total + g * g) - np.sqrt(total)) / 0.5 * w
        total += g * g
        w = (np.clip(z, -l1, l1) - z) / (np.sqrt(total) / 0.5 + 2 * l2 + given["beta"] / 0.5)
        if step == samples // batch // 2:
            halfway = float(w.mean())
    return halfway, float(w.mean()), float(w.std())


FTRL = {
    "initial_accumulator_value": 0.1,
    "beta": 0.0,
    "l1_regularization_strength": 0.0,
    "l2_regularization_strength": 0.0,
}


@pytest.mark.parametrize(
    "given",
    [
        {"beta": 30.0},
        {"l1_regularization_strength": 50.0},
        {"l2_regularization_strength": 30.0},
    ],
)
def test_ftrl_trains_alike_at_another_size_where_what_stands_beside_its_sums_shrinks(given):
    kept = ftrl(64, given)
    settings = hyperparameters("Ftrl", FTRL | given, kappa=16, rate_ratio=1)
    base = ftrl(4, given)
    assert ftrl(64, settings) == pytest.approx(base, rel=0.1)
    assert abs(kept[1] / base[1] - 1) > 0.3


def test_what_goes_with_the_batch_beside_the_rate():
    found = hyperparameters(
        "AdamW",
        {"beta_2": 0.95, "epsilon": 1e-7, "weight_decay": 0.01, "ema_momentum": 0.99},
        kappa=1 / 16,
        rate_ratio=1 / 4,
    )
    assert found["beta_2"] == pytest.approx(0.9968, abs=1e-4)  # Marek et al.: 0.95@16 to 0.997@1
    assert found["epsilon"] == pytest.approx(4e-7)
    assert found["weight_decay"] == pytest.approx(0.01 / 4)
    assert found["ema_momentum"] == pytest.approx(0.99 ** (1 / 16))
    assert hyperparameters("SGD", {"weight_decay": 0.01}, kappa=8, rate_ratio=8) == {
        "weight_decay": pytest.approx(0.01)
    }
    assert hyperparameters("SGD", {"momentum": 0.9}, kappa=8, rate_ratio=8) == {}
    assert hyperparameters("Adam", {"beta_2": 0.999}, kappa=1, rate_ratio=2) == {}
    assert hyperparameters("Mine", {"beta_2": 0.999}, kappa=8, rate_ratio=2) == {}  # re-tuned only
    inside = hyperparameters("RMSprop", {"rho": 0.9, "epsilon": 1e-7}, kappa=4, rate_ratio=2)
    assert inside == {"rho": 0.9, "epsilon": pytest.approx(2.5e-8)}
    assert hyperparameters("Adam", {"beta_2": 0.999}, kappa=1024, rate_ratio=32)["beta_2"] == 0.9
    several = hyperparameters("Adam, Adam", {"beta_2": 0.999}, kappa=2, rate_ratio=2)
    assert several == {"beta_2": pytest.approx(0.998, abs=1e-5)}
    assert hyperparameters("Adam, SGD", {"epsilon": 1e-7}, kappa=2, rate_ratio=2) == {}
    steps = {"warmup_steps": 1000.0, "beta_2": 0.999}
    found = hyperparameters("ScheduleFreeAdamW", steps, kappa=3, rate_ratio=2)
    assert found["warmup_steps"] == 333
    muon = {"weight_decay": 0.1, "ema_momentum": 0.99, "epsilon": 1e-7, "momentum": 0.95}
    muon |= {"adam_weight_decay": 0.02, "adam_beta_2": 0.999}  # of what is no matrix
    assert hyperparameters("Muon", muon, kappa=4, rate_ratio=1) == {
        "weight_decay": pytest.approx(0.4),  # of a rate that stays, as much in an epoch
        "adam_weight_decay": pytest.approx(0.08),
        "adam_beta_2": pytest.approx(0.999**4),
        "ema_momentum": pytest.approx(0.99**4),
    }
    accumulator = {"initial_accumulator_value": 0.1}
    assert hyperparameters("Adagrad", accumulator, kappa=2, rate_ratio=1) == {
        "initial_accumulator_value": 0.025
    }
