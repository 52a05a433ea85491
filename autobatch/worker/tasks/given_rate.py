"""The learning rate of a trial, which is what trials vary: given, and kept while it trains."""

import math
from collections.abc import Iterator
from contextlib import contextmanager

import keras

from autobatch.protocol import Gradients, RangeTest, Target, Trial
from autobatch.worker.called import builder_of, parameters_of
from autobatch.worker.mistakes import UserError
from autobatch.worker.optimizer import (
    optimizers,
    scale_learning_rates,
    set_rates,
    warm_up_and_anneal,
    went_through,
)

IS_SET = (
    "The learning rate, which is what trials vary, is set while they train, by a callback or a "
    "training step of your own."
)


def argument_stays(target: Target, model: keras.Model, rate: float | None) -> bool:
    """Whether trials leave the user's `learning_rate` at its default, and scale what is compiled.

    As they do without that argument. They give it where all that trains is one optimizer, whose
    `rate` is the number that the argument has by default: what it did not reach (a second
    optimizer, a schedule that is its default) would not be scaled, and the baseline not theirs.
    """
    parameters, found = parameters_of(builder_of(target)), optimizers(model)
    if "learning_rate" not in parameters or rate is None:
        return False
    default = parameters["learning_rate"].default
    is_number = isinstance(default, (int, float))
    is_one = len(set_rates(model)) == len(found) == 1
    return not (is_one and is_number and math.isclose(default, rate, rel_tol=1e-5))


def argument(task: Trial | Gradients | RangeTest) -> float | None:
    """What the user's callable is given as `learning_rate`; None: its default."""
    return None if task.rate_argument_stays else task.learning_rate


def give(model: keras.Model, task: Trial) -> None:
    """By the schedule that the trial has."""
    scale_learning_rates(model, task.learning_rate, speed=task.schedule_speed)
    if task.schedule != "own":
        warm_up_and_anneal(model, task.steps)


@contextmanager
def kept(model: keras.Model, task: Trial) -> Iterator[None]:
    """Within, it trains. Raises UserError where code of the user's has set another rate."""
    rates = set_rates(model)
    try:
        yield
    except (AttributeError, TypeError) as error:
        if task.schedule == "own" or not _sets_what_a_schedule_gives(error):
            raise
        raise UserError(IS_SET, hint="Leave that callback out of `callbacks`.") from None
    if set_rates(model) != rates:
        raise UserError(
            IS_SET,
            hint="Leave that callback out of `callbacks`; or compile the optimizer with a "
            "LearningRateSchedule, which trials scale as a whole.",
        )


def _sets_what_a_schedule_gives(error: AttributeError | TypeError) -> bool:
    """The rate is a tensor then, not a variable."""
    if isinstance(error, AttributeError):
        return error.name == "assign" and bool(keras.ops.is_tensor(error.obj))
    return "not settable" in str(error)


def refuse_other_updates(model: keras.Model, task: Trial, steps: int) -> None:
    """After all `steps`: an optimizer that trains more often has annealed before the end."""
    if task.schedule != "own" and not went_through(model, steps):
        raise UserError(
            "An optimizer makes more or fewer updates than the training has steps, or its rate is "
            "set by code of yours: it did not go through trials.schedule once.",
            hint="Leave trials.schedule out.",
        )
