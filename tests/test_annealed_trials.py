"""Trials whose learning rate warms up, stays and decays: trials.schedule."""

import pytest
from pretend import PretendDevice, inspected, session

from autobatch import tuner
from autobatch.errors import UsageError
from autobatch.protocol import Trial

ANNEALED = "trials.schedule=warmup_stable_decay"


def tune(tmp_path, device, *overrides):
    with session(tmp_path, device, overrides) as opened:
        return tuner.tune(opened)


@pytest.mark.parametrize(
    ("facts", "told", "hint"),
    [
        ({"learning_rate_schedule": "CosineDecay"}, "compiled with a CosineDecay", "a number"),
        ({"learning_rate_schedule": "learning-rate function"}, "a learning-rate fun", "a number"),
        ({"rate_setters": ("ReduceLROnPlateau",)}, "too: ReduceLROnPlateau", "`callbacks`"),
        ({"optimizer": "ScheduleFreeAdamW"}, "in place of annealing", "Leave trials.schedule out"),
    ],
)
def test_what_has_a_schedule_of_its_own_is_refused_before_anything_is_measured(
    tmp_path, facts, told, hint
):
    device = PretendDevice(facts=inspected(**facts))
    with pytest.raises(UsageError, match=told) as refused:
        tune(tmp_path, device, ANNEALED)
    assert hint in refused.value.hint
    assert len(device.tasks) == 1
    tune(tmp_path / "own", device)


def test_all_trials_train_by_the_schedule_and_nothing_else_does(tmp_path):
    device = PretendDevice()
    tune(tmp_path, device, ANNEALED)
    schedules = {task.schedule for task in device.tasks if isinstance(task, Trial)}
    assert schedules == {"warmup_stable_decay"}
