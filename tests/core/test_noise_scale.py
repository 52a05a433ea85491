"""The noise scale from micro-batch gradients: cases whose answers are known."""

from math import inf, log

import numpy as np
import pytest
from evidences import untrained

from autobatch.core import noise_scale
from autobatch.core.evidence import Setting
from autobatch.core.standing import standing, steps_to_target
from autobatch.protocol import GradientMoments, NoiseScale, changed

MANY = 10**9  # training samples: no correction for a finite population


def moments(gradients, *, batch=1, groups=8, samples=MANY):
    """`gradients`: (micro-batches, parameters)."""
    parts = [gradients[k::groups] for k in range(groups)]
    sums = np.array([part.sum(axis=0) for part in parts])
    return GradientMoments(
        step=0,
        batch_size=batch,
        micro_batches=tuple(map(len, parts)),
        squared_norms=tuple(float((part**2).sum()) for part in parts),
        gram=tuple(map(tuple, sums @ sums.T)),
        training_samples=samples,
        preconditioned=False,
    )


def drawn(rng, mean, deviations, *, batch, count):
    return mean + rng.normal(size=(count, len(mean))) * deviations / np.sqrt(batch)


def mean_moments(repeats):
    """`repeats`: (repeats, micro-batches of 8, parameters)."""
    count, _, parameters = repeats.shape
    sums = repeats.reshape(count, -1, 8, parameters).sum(axis=1)
    norms = (repeats**2).sum(axis=2).mean(axis=0).reshape(-1, 8).sum(axis=0)
    gram = np.tensordot(sums, sums, axes=((0, 2), (0, 2))) / count
    one = moments(repeats[0], batch=8)
    return changed(one, squared_norms=tuple(norms), gram=tuple(map(tuple, gram)))


def test_both_parts_are_unbiased_with_the_spread_that_theory_says():
    """g ~ N(G, diag sigma^2), d = 40, b = 8, M = 16.

    Both are linear in the moments, so that their means are those of the mean moments: of 20,000
    repeats they are known to 0.05 % (one standard error).
    """
    rng = np.random.default_rng(0)
    deviations = rng.uniform(0.5, 2, 40)
    mean = rng.normal(size=40)
    trace, signal = (deviations**2).sum(), (mean**2).sum()

    def drawn_again():
        return drawn(rng, mean, deviations, batch=8, count=4000 * 16).reshape(4000, 16, 40)

    repeats = drawn_again()
    means = [noise_scale.estimates(mean_moments(repeats))]
    means += [noise_scale.estimates(mean_moments(drawn_again())) for _ in range(4)]
    assert np.mean(means, axis=0) == pytest.approx([trace, signal], rel=0.001)
    found = np.array([noise_scale.estimates(moments(each, batch=8)) for each in repeats])
    assert found.mean(axis=0) == pytest.approx(means[0], rel=1e-9)
    dimensions = trace**2 / (deviations**4).sum()
    assert found[:, 0].std() / trace == pytest.approx(np.sqrt(2 / 15 / dimensions), rel=0.05)
    samples = 8 * 16
    variance = 4 * (mean**2 * deviations**2).sum() / samples
    variance += 2 * (deviations**4).sum() * 16 / 15 / samples**2
    assert found[:, 1].std() == pytest.approx(np.sqrt(variance), rel=0.05)


def test_the_ratio_of_means_is_right_where_the_mean_of_ratios_is_not():
    """T1b: a weak signal, 16 micro-batches of 8."""
    rng = np.random.default_rng(0)
    mean = np.full(40, (1 / 122) ** 0.5)
    found = []
    for _ in range(4000):
        few = moments(drawn(rng, mean, np.ones(40), batch=8, count=16), batch=8)
        found.append(noise_scale.estimates(few))
    traces, signals = np.array(found).T
    assert traces.mean() / signals.mean() == pytest.approx(122, rel=0.03)
    assert np.mean(traces / signals) > 1.2 * 122


def test_without_a_signal_there_is_a_lower_bound_and_no_number():
    rng = np.random.default_rng(0)
    noise = drawn(rng, np.zeros(40), np.ones(40), batch=8, count=64)
    found = noise_scale.noise_scale(moments(noise, batch=8))
    assert found.value is None
    assert found.high is None
    assert found.low > 100


def gaussian(rng, count, *, batch):
    """T1c's: |G|^2 = 1, tr(Sigma) = 500, d = 300, f = 0.1."""
    mean = np.zeros(300)
    mean[0] = 1.0
    variances = np.full(300, (500 - 50) / 299)
    variances[0] = 50.0  # f = G'SG / (|G|^2 tr S) = 0.1
    return drawn(rng, mean, np.sqrt(variances), batch=batch, count=count)


def test_the_interval_contains_the_truth_as_often_as_it_says():
    """T1c at N = 4000."""
    rng = np.random.default_rng(0)
    resolved = [
        found
        for _ in range(300)
        if (
            found := noise_scale.noise_scale(moments(gaussian(rng, 32, batch=125), batch=125))
        ).value
    ]
    assert len(resolved) >= 240
    held = sum(found.low <= 500 <= found.high for found in resolved)
    assert held >= 0.9 * len(resolved)


def test_too_few_samples_leave_it_unresolved_and_the_bound_holds():
    """T1c at N = 224."""
    rng = np.random.default_rng(0)
    found = [
        noise_scale.noise_scale(moments(gaussian(rng, 32, batch=7), batch=7)) for _ in range(300)
    ]
    assert sum(each.value is None for each in found) > 240
    bounds = [each.low for each in found if each.value is None]
    assert sum(low <= 500 for low in bounds) >= 0.9 * len(bounds)


def test_all_training_samples_give_the_full_gradient_exactly():
    """M b = N without replacement, for any order."""
    rng = np.random.default_rng(0)
    gradients = rng.normal(0.3, 1, size=(256, 12))
    signal = float((gradients.mean(axis=0) ** 2).sum())
    traces = []
    for _ in range(200):
        micro = rng.permutation(gradients).reshape(32, 8, 12).mean(axis=1)
        trace, found = noise_scale.estimates(moments(micro, batch=8, samples=256))
        assert found == pytest.approx(signal, rel=1e-12)
        traces.append(trace)
    assert np.mean(traces) == pytest.approx(gradients.var(axis=0, ddof=1).sum(), rel=0.01)


def test_a_population_that_was_seen_whole_has_its_noise_scale_however_large_that_is():
    """M b = N is less than four noise scales, too few of samples that are a part of all."""
    gradients = np.random.default_rng(0).normal(0.1, 1, size=(256, 12))
    truth = gradients.var(axis=0, ddof=1).sum() / (gradients.mean(axis=0) ** 2).sum()
    assert truth > 256 / 4
    whole = noise_scale.noise_scale(moments(gradients, samples=256))
    assert whole.value == pytest.approx(truth, rel=1e-9)
    assert whole.low < truth < whole.high
    assert noise_scale.noise_scale(moments(gradients)).value is None


def test_a_quarter_of_the_samples_is_corrected_for_the_finite_population():
    rng = np.random.default_rng(0)
    gradients = rng.normal(0.1, 1, size=(256, 12))
    signal = float((gradients.mean(axis=0) ** 2).sum())
    found = []
    for _ in range(3000):
        micro = gradients[rng.permutation(256)[:64]].reshape(8, 8, 12).mean(axis=1)
        found.append(noise_scale.estimates(moments(micro, batch=8, samples=256))[1])
    assert np.mean(found) == pytest.approx(signal, rel=0.05)


@pytest.mark.parametrize(
    ("h", "delta", "noise", "simple", "by_hessian"),
    [
        (np.ones(10), np.ones(10), 0.0, 11.0, 11.0),
        (np.ones(10), np.ones(10), 10.0, 21.0, 21.0),
        (np.ones(100), np.ones(100), 0.0, 101.0, 101.0),
        (np.array([1, 0.5, 0.25, 0.1]), np.array([1, -1, 0.5, 2]), 0.3, 4.2058, 3.6411),
    ],
)
def test_linear_regression_has_the_noise_scale_of_its_formula(h, delta, noise, simple, by_hessian):
    """B_simple = 1 + A tr(H) / |H delta|^2, B_noise = 1 + A tr(H^2) / (delta^T H^3 delta).

    The second is the first of gradients that are preconditioned with the root of the Hessian.
    """
    rng = np.random.default_rng(0)
    count = 60_000
    x = rng.normal(size=(count, len(h))) * np.sqrt(h)
    residual = x @ delta + np.sqrt(noise) * rng.normal(size=count)
    per_sample = 2.0 * residual[:, None] * x  # any factor on the loss cancels
    found = noise_scale.noise_scale(
        moments(per_sample.reshape(-1, 10, len(h)).mean(axis=1), batch=10)
    )
    assert found.value == pytest.approx(simple, rel=0.05)
    preconditioned = per_sample * np.sqrt(h)
    in_it = noise_scale.noise_scale(
        moments(preconditioned.reshape(-1, 10, len(h)).mean(axis=1), batch=10)
    )
    assert in_it.value == pytest.approx(by_hessian, rel=0.05)
    rotation, _ = np.linalg.qr(rng.normal(size=(len(h), len(h))))
    for other in (per_sample @ rotation, 7.0 * per_sample):
        again = moments(other.reshape(-1, 10, len(h)).mean(axis=1), batch=10)
        assert noise_scale.noise_scale(again).value == pytest.approx(found.value, rel=1e-9)


def test_equal_gradients_are_no_crash():
    found = noise_scale.noise_scale(moments(np.ones((32, 3))))
    assert (found.value, found.low) == (None, 0.0)


@pytest.mark.parametrize("count", [1, 2, 3])
def test_a_few_micro_batches_are_no_crash(count):
    few = moments(np.random.default_rng(0).normal(1, 1, (count, 3)), groups=count)
    assert noise_scale.noise_scale(few).low == 0.0


# --- the critical batch ----------------------------------------------------------------------


def measured(value, low, high):
    return NoiseScale(value=value, low=low, high=high, samples=4096, step=10, preconditioned=False)


def steps(critical, sizes=(8, 16, 32, 64, 128, 256, 512)):
    return [(size, 100 * (1 + critical / size)) for size in sizes]


def test_without_any_measurement_the_critical_batch_is_that_of_small_tasks():
    found = noise_scale.critical_batch(None)
    assert found.value == pytest.approx(500, rel=0.02)
    assert found.low < 20 < 10_000 < found.high


def test_the_noise_scale_is_a_prior_and_no_more():
    found = noise_scale.critical_batch(measured(100, 80, 125))
    assert found.value == pytest.approx(100, rel=0.02)
    assert found.low < 10 < 1000 < found.high


def test_a_bound_moves_the_prior_up():
    bound = noise_scale.critical_batch(measured(None, 5000, None))
    assert bound.value > 2500


@pytest.mark.parametrize("critical", [20, 200, 2000])
def test_trials_outweigh_the_prior(critical):
    found = noise_scale.critical_batch(measured(200, 150, 260), steps(critical))
    assert found.low <= critical <= found.high
    assert abs(log(found.value / critical)) < log(1.5)


def test_two_sizes_say_nothing_of_it():
    assert noise_scale.critical_batch(None, steps(20)[:2]) == noise_scale.critical_batch(None)


# --- the hyperbola ---------------------------------------------------------------------------


def learned(steps_to_target):
    """The critical batch by trials, where the prior is that of small tasks."""
    return noise_scale.critical_batch(None, steps_to_target).value


def hyperbola(steps_to_target, critical):
    """(S_min, largest |residual| of ln steps) of steps = S_min (1 + B_c / B), at a B_c."""
    sizes, steps = np.array(steps_to_target).T
    off = np.log(steps) - np.log1p(critical / sizes)
    return float(np.exp(off.mean())), float(np.abs(off - off.mean()).max())


def test_the_hyperbola_is_found_where_it_holds():
    assert learned(steps(198)) == pytest.approx(198, rel=0.02)


def regression_steps(share):
    """Linear regression, H = I, d = 10, to 1 % of the error, which shrinks by a known factor.

    At eta = share eta*, the factor of a step is (1 - eta)^2 + eta^2 11 / B.
    """
    for size in (1, 2, 4, 8, 16, 32, 64, 128):
        eta = share / (1 + 11 / size)
        yield size, log(1e-2) / log((1 - eta) ** 2 + eta**2 * 11 / size)


def test_the_hyperbola_needs_many_small_steps():
    """11.22 with small steps, 11 being true; greedy steps, tens of them, mislead: to 35."""
    assert learned(list(regression_steps(0.02))) == pytest.approx(11.22, rel=0.03)
    assert learned(list(regression_steps(1.0))) == pytest.approx(35, rel=0.05)


def quadratic_loss(size, rate, h, steps):
    """Of the noisy quadratic model (arXiv 1907.04164), the sum of its modes:

    (1 - eta h)^2t h / 2 + eta h / (2 B (2 - eta h)) (1 - (1 - eta h)^2t).
    """
    kept, floor = (1 - rate * h) ** (2 * steps), quadratic_floor(size, rate, h)
    return float((kept * h / 2 + floor * (1 - kept)).sum())


def quadratic_floor(size, rate, h):
    return rate * h / (2 * size * (2 - rate * h))


def quadratic_steps(size, rate, h, target):
    """To `target`; inf: it never gets there."""
    keep = (1 - rate * h) ** 2
    if (keep >= 1).any() or quadratic_floor(size, rate, h).sum() >= target:
        return inf

    def loss(steps):
        return quadratic_loss(size, rate, h, steps)

    high = 1
    while loss(high) > target:
        high *= 2
    low = high // 2
    while low + 1 < high:
        middle = (low + high) // 2
        low, high = (low, middle) if loss(middle) <= target else (middle, high)
    return high


def test_the_noisy_quadratic_model_has_a_critical_batch_that_the_hyperbola_finds():
    """h = c = 1 / i for 1000 modes, 1 % of the initial loss, the best rate for each size."""
    h = 1 / np.arange(1, 1001)
    known = {1: 90_344, 8: 11_442, 32: 2_998, 128: 963, 512: 574, 2048: 494, 65536: 437}
    target = 0.01 * h.sum() / 2
    rates = np.geomspace(0.005, 1.98, 300)
    tries = {s: [(quadratic_steps(s, rate, h, target), rate) for rate in rates] for s in known}
    found = {size: min(tried)[0] for size, tried in tries.items()}
    best = {size: min(tried)[1] for size, tried in tries.items()}
    # As many samples up to 32; a rate that grows with the batch, up to where 2 / h_max limits it.
    assert [found[s] * s / found[1] for s in (8, 32)] == pytest.approx([1, 1], abs=0.07)
    assert [best[s] / best[1] / s for s in (8, 32)] == pytest.approx([1, 1], abs=0.25)
    assert all(1.7 <= best[size] <= 1.98 for size in (512, 2048, 65536))
    for size, steps_needed in known.items():
        assert found[size] == pytest.approx(steps_needed, rel=0.03)
    critical = learned(list(found.items()))
    assert critical == pytest.approx(198, rel=0.05)
    least, off = hyperbola(list(found.items()), critical)
    assert least == pytest.approx(429, rel=0.05)
    assert off == pytest.approx(0.126, abs=0.03)


def test_a_size_that_levels_off_above_the_target_is_none_that_the_critical_batch_is_learned_from():
    """Its rate has a noise floor above the loss that the baseline, of batch 32, gets to."""
    h = 1 / np.arange(1, 1001)
    rates = {8: 1.9, 32: 0.3, 64: 0.6, 128: 1.2, 256: 1.6}
    evidence = untrained(step_seconds=dict.fromkeys(rates, 1.0))
    for size, rate in rates.items():
        curve = [(float(t), quadratic_loss(size, rate, h, t)) for t in range(0, 3001, 10)]
        evidence.finals[Setting(size, 0)] = {0: curve}
    found = standing(evidence)
    needed = {size: quadratic_steps(size, rate, h, found.target) for size, rate in rates.items()}
    assert needed.pop(8) == inf
    steps = steps_to_target(evidence, found)
    assert dict(steps) == pytest.approx(needed, rel=0.02)
    critical = evidence.critical_batch(steps)
    assert 0 < critical.low < critical.value < critical.high < inf
