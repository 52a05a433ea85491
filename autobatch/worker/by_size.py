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
    """`model` is built for `size`; another for twice that, or half, where it may differ."""
    accumulates, several = accumulation_steps(model) > 1, len(optimizers(model)) > 1
    counts = accumulates or schedule not in (None, RATE_FUNCTION)
    loads = counts and _may_set_steps(target, called)
    differs = counts or several or schedule is not None
    builds = differs and takes_batch_size(builder_of(target))
    if not (loads or builds):
        return BySize(schedule)
    one, twice = model, _built_for(2 * size, target, backend, loads=loads)
    if twice is None and size % 2 == 0:
        one, twice = _built_for(size // 2, target, backend, loads=loads), model
    if one is None or twice is None:
        return BySize(schedule)
    follows = accumulation_steps(one) != accumulation_steps(twice)
    return BySize(schedule, follows_batch(one, twice), rate_exponent(one, twice), follows)


def rate_exponent(one: keras.Model, twice: keras.Model) -> float:
    """The power of the batch size that the user's callable has the rate grow with; mostly 0."""
    now, then = (learning_rate(next(iter(optimizers(m).values())))[0] for m in (one, twice))
    return _exponent(now, then)


def scheduler_exponent(target: Target, size: int, rate: float | None) -> float:
    """The same of the rates of their LearningRateScheduler, over a compiled `rate`."""
    if takes_batch_size(find_callable(target, "callbacks")):
        with suppress(Exception):
            made = [made_callbacks(target, each) for each in (size, 2 * size)]
            return _exponent(*(scheduler(each, rate)[1] for each in made))
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
