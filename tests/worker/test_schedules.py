"""The schedule that trials train by, which is the one that is pasted: its rate at each step."""

import pytest

from autobatch.core.warmup_stable_decay import DECAY, WARM_UP
from autobatch.worker.schedules import WarmupStableDecay


def shares(steps, at=None):
    """Of the peak."""
    schedule = WarmupStableDecay(1.0, steps)
    return [float(schedule(step)) for step in (range(steps) if at is None else at)]


def test_it_rises_over_a_tenth_stays_and_falls_over_a_fifth():
    assert (WARM_UP, DECAY) == (0.1, 0.2)
    known = {0: 0.01, 49: 0.5, 99: 1, 100: 1, 500: 1, 800: 1, 900: 0.5, 999: 0.005, 1000: 0}
    assert shares(1000, known) == pytest.approx([*known.values()])
    assert shares(1000, [1500]) == [0]


@pytest.mark.parametrize("steps", [1, 2, 5, 20, 101])
def test_no_step_has_a_rate_of_0_however_few_there_are(steps):
    assert min(shares(steps)) > 0
    assert max(shares(steps)) == 1


def test_what_it_sums_to_is_known():
    """A rise to 1 in 10 steps, 70 steps of 1, and a fall from 1 in 20."""
    assert sum(shares(100)) == pytest.approx(5.5 + 70 + 10.5)


def test_after_many_steps_it_still_tells_one_from_the_next():
    """Whose numbers float32 no longer has."""
    start = 100_000_000
    schedule = WarmupStableDecay(1.0, 1000, start=start)
    found = [float(schedule(start + step)) for step in (0, 1, 2, 49)]
    assert found == pytest.approx([0.01, 0.02, 0.03, 0.5])
