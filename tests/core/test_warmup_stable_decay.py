"""The share of the learning rate's peak at each step."""

import pytest

from autobatch.core.warmup_stable_decay import DECAY, WARM_UP, share


def test_it_rises_over_a_tenth_stays_and_falls_over_a_fifth():
    assert (WARM_UP, DECAY) == (0.1, 0.2)
    found = {step: share(step, 1000) for step in (0, 49, 99, 100, 500, 800, 900, 999, 1000, 1500)}
    assert found == pytest.approx(
        {0: 0.01, 49: 0.5, 99: 1, 100: 1, 500: 1, 800: 1} | {900: 0.5, 999: 0.005, 1000: 0, 1500: 0}
    )


@pytest.mark.parametrize("steps", [1, 2, 5, 20, 101])
def test_no_step_has_a_rate_of_0_however_few_there_are(steps):
    shares = [share(step, steps) for step in range(steps)]
    assert min(shares) > 0
    assert max(shares) == 1


def test_what_it_sums_to_is_known():
    """A rise to 1 in 10 steps, 70 steps of 1, and a fall from 1 in 20."""
    assert sum(share(step, 100) for step in range(100)) == pytest.approx(5.5 + 70 + 10.5)
