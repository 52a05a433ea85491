"""Learning-rate rules (science: cases with known answers)."""

import pytest

from autobatch.core.scaling import RULES, batch_norm_exponent, rule_for, scaled


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


@pytest.mark.parametrize(("batch", "unscaled"), [(32, 0.002), (256, 0.457), (1024, 0.826)])
def test_batch_norm_keeps_as_little_of_its_initial_statistics_at_every_size(batch, unscaled):
    """science T13: what 20 000 samples leave of the initial moving averages."""
    steps = 20000 // batch
    assert 0.99**steps == pytest.approx(unscaled, abs=0.001)
    momentum = 0.99 ** batch_norm_exponent(old_batch=32, new_batch=batch)
    assert momentum**steps == pytest.approx(0.002, abs=0.0005)
