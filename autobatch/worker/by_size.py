"""What the user's code makes of the batch size that it is told, in the optimizer."""

import math
from contextlib import suppress
from dataclasses import dataclass

import keras

from autobatch.protocol import RATE_FUNCTION, Target
from autobatch.worker.backends import Backend
from autobatch.worker.callbacks import made_callbacks, scheduler
from autobatch.worker.called import Called, builder_of, call_loader, takes_batch_size
from autobatch.worker.globals import sets_what_is_read
from autobatch.worker.optimizer import (
    Follows,
    accumulation_steps,
    follows_batch,
    learning_rate,
    optimizers,
)
from autobatch.worker.target import build_model, find_callable


@dataclass(frozen=True)
class BySize:
    schedule: str | None = None  # its class name
    follows: Follows = ""
    rate_exponent: float = 0.0
    accumulation_follows: bool = False

    @property
    def notes(self) -> tuple[str, ...]:
        if self.follows != "partly":
            return ()
        return (
            f"Your {self.schedule} goes with the batch size that your code is told, but not in "
            "proportion (a fixed warm-up, say): trials have it as your code makes it for each "
            "size. Derive all of its numbers of steps from the batch size, or none, for sizes to "
            "be compared by one course of the rate.",
        )


def by_size(
    model: keras.Model,
    size: int,
    target: Target,
    backend: Backend,
    called: Called,
    *,
    schedule: str | None,
) -> BySize:
    """`model` is built for `size`; another for half of that, or twice, where it may differ."""
    accumulates = accumulation_steps(model) > 1
    counts_steps = accumulates or schedule not in (None, RATE_FUNCTION)
    loads = counts_steps and _may_set_steps(target, called)
    if not (loads or takes_batch_size(builder_of(target))):
        return BySize(schedule)
    # What accumulates only below the user's own size is seen at half of that.
    others = (2 * size, size // 2) if accumulates or size % 2 else (size // 2, 2 * size)
    built = ((each, _built_for(each, target, backend, loads=loads)) for each in others if each)
    other_size, other = next(((n, each) for n, each in built if each is not None), (0, None))
    if other is None:
        return BySize(schedule)
    one, twice = (model, other) if other_size > size else (other, model)
    follows = accumulation_steps(one) != accumulation_steps(twice)
    return BySize(schedule, follows_batch(one, twice), rate_exponent(one, twice), follows)


def rate_exponent(one: keras.Model, twice: keras.Model) -> float:
    """The power of the batch size that the user's callable has the rate grow with; mostly 0."""
    now, then = (learning_rate(next(iter(optimizers(m).values()), None))[0] for m in (one, twice))
    return _exponent(now, then)


def scheduler_exponent(
    target: Target, size: int, highest: float | None, compiled: float | None
) -> float:
    """The same of the rates of their LearningRateScheduler, whose `highest` it is at `size`."""
    if takes_batch_size(find_callable(target, "callbacks")):
        with suppress(Exception):
            return _exponent(highest, scheduler(made_callbacks(target, 2 * size), compiled)[1])
    return 0.0


def _exponent(now: float | None, then: float | None) -> float:
    return round(math.log2(then / now), 3) if now and then and then / now > 0 else 0.0


def _may_set_steps(target: Target, called: Called) -> bool:
    """Whether the loader, told another batch size, may have the model built for that."""
    sets = called.changed is None or sets_what_is_read(target, called.changed)
    return sets and takes_batch_size(called.loader)


def _built_for(size: int, target: Target, backend: Backend, *, loads: bool) -> keras.Model | None:
    """None where it cannot be: that many samples there may not be."""
    with suppress(Exception):
        if loads:
            call_loader(target, batch_size=size)
        return build_model(target, backend, seed=target.seed, batch_size=size)
    return None
