"""Where training breaks down as its learning rate grows."""

import numpy as np
import pytest

from autobatch.core.range_test import divergence_rate, smoothed

RATES = list(np.geomspace(1e-4, 10, 100))


def test_smoothing_has_no_bias_at_its_start():
    """A constant stays that constant."""
    assert smoothed([5.0] * 50) == pytest.approx([5.0] * 50, abs=1e-12)


def test_the_rate_where_the_loss_leaves_is_found():
    rng = np.random.default_rng(0)
    losses = [2.0 * np.exp(rng.normal(0, 0.1)) for _ in range(70)]
    losses += [2.0 * 1.5**k for k in range(30)]
    assert RATES[70] < divergence_rate(RATES, losses, broke_down=False) < RATES[80]


def test_a_loss_that_is_no_number_is_the_end():
    rates, losses = RATES[:40], [2.0] * 40
    assert divergence_rate(rates, losses, broke_down=True) == rates[-1]


@pytest.mark.parametrize("draw", ["exponential", "squared", "heavy"])
def test_losses_of_small_batches_are_no_divergence(draw):
    rng = np.random.default_rng(0)
    draws = {
        "exponential": lambda: rng.exponential(size=100),
        "squared": lambda: (rng.normal(size=(2, 100)) ** 2).mean(axis=0),
        "heavy": lambda: np.exp(rng.normal(0, 2, (32, 100))).mean(axis=0),
    }
    alarms = sum(
        divergence_rate(RATES, list(draws[draw]()), broke_down=False) is not None
        for _ in range(300)
    )
    assert alarms <= 0.03 * 300


def test_noise_and_an_early_spike_are_no_divergence():
    rng = np.random.default_rng(0)
    losses = list(np.exp(rng.normal(0, 0.3, 100)))
    losses[5] = 30.0
    assert divergence_rate(RATES, losses, broke_down=False) is None


def test_a_loss_below_zero_is_no_crash():
    losses = [-1.0 - 0.01 * k for k in range(60)] + [5.0**k for k in range(40)]
    found = divergence_rate(RATES, losses, broke_down=False)
    assert RATES[60] <= found < RATES[70]
