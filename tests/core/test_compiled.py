"""What of the user's optimizer goes with the batch size."""

import pytest
from pretend import inspected

from autobatch.core.compiled import Compiled


def compiled(**schedule):
    found = inspected(learning_rate_schedule="CosineDecay", **schedule)
    return Compiled(batch_size=32, learning_rate=0.01, inspected=found)


@pytest.mark.parametrize(
    ("follows", "steps"),
    [
        ({}, (250, 4000)),
        ({"schedule_follows_batch": True}, (250, 4000)),
        ({"schedule_follows_batch": True, "schedule_follows_partly": True}, (1000, 4000)),
    ],
)
def test_a_warm_up_that_may_stay_as_it_is_takes_as_many_steps_at_larger_sizes(follows, steps):
    found = compiled(schedule_peak_step=1000, **follows)
    assert (found.warm_up_steps(128), found.warm_up_steps(8)) == steps
    assert found.schedule_speed(128) == (1 if follows else 4)


@pytest.mark.parametrize(
    ("made", "told"),
    [
        (0, "divide its numbers of steps by 4"),
        (5000, "from step 5000 on, at step s take its rate at 5000 + 4 * (s - 5000)"),
    ],
)
def test_a_schedule_that_is_under_way_goes_on_from_where_it_is(made, told):
    found = compiled(steps_made=made)
    assert (found.schedule_advice(128), found.schedule_advice(32)) == (told, "")
