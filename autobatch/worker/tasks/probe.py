"""Does a batch train within the limit? Through the user's own `fit`, with proof of what ran."""

import statistics
import time
from collections.abc import Callable
from typing import Any

import keras

from autobatch.protocol import Fits, OverBudget, Probe, Target
from autobatch.worker import data as user_data
from autobatch.worker.backends import Backend, StepCount
from autobatch.worker.callbacks import WRITERS, users_callbacks
from autobatch.worker.mistakes import UserError
from autobatch.worker.optimizer import accumulation_steps
from autobatch.worker.source import Source
from autobatch.worker.target import build_model, can_evaluate
from autobatch.worker.tasks.watch import Watch

FULL_STEPS = 3  # the first traces and compiles, the second has the optimizer's slots, one to settle
# Where operations overlap, the peak differs from step to step: some more steps catch the largest.
SETTLE_STEPS, SETTLE_SECONDS = 20, 0.5
VERIFY_STEPS = 50  # of a verification, where an epoch is longer
VERIFY_FULL_STEPS = 10


def run(task: Probe, target: Target, backend: Backend) -> Fits | OverBudget:
    keras.utils.set_random_seed(target.seed)
    size = task.batch_size
    model = build_model(target, batch_size=size)
    data = user_data.load(
        target, model, batch_size=size, samples=size + (size // 2 if task.verify else 0)
    )
    if data.train.count < size:
        raise UserError(f"{data.train.count} training samples cannot fill a batch of {size}.")
    needed = max(FULL_STEPS, accumulation_steps(model) + 1)  # an update, and a step after it
    count = backend.count_steps(model, size)
    clock = _StepClock(count, None if task.verify else needed)
    began = time.perf_counter()
    arguments, validated = _arguments(task, data, model, needed)
    model.fit(
        **arguments,
        class_weight=target.class_weight,
        verbose=0,
        callbacks=[*users_callbacks(target, size, leave_out=WRITERS), clock],
    )
    backend.synchronise()
    seconds = time.perf_counter() - began
    ran = count()
    _check(ran, size, needed, data)
    peak = backend.peak_bytes()
    assert peak is not None
    if peak > task.limit_bytes:
        return OverBudget(peak_bytes=peak)
    return Fits(
        peak_bytes=peak,
        full_steps=ran.full,
        steps=ran.steps,
        seconds=seconds,
        step_seconds=statistics.median(clock.step_seconds[1:] or clock.step_seconds),
        ragged_samples=ran.smallest if ran.smallest < size else 0,
        validated=validated,
    )


def _arguments(
    task: Probe, data: user_data.Data, model: keras.Model, needed: int
) -> tuple[dict[str, Any], bool]:
    """What `fit` is given, and whether it validates."""
    size = task.batch_size
    if not task.verify:  # the clock ends it; every epoch has at least one full step
        epochs = max(SETTLE_STEPS, needed)
        return data.train.longest(size).fit_arguments(size) | {"epochs": epochs}, False
    train, epochs = _with_ragged_batch(data.train, size, needed)
    arguments = train.fit_arguments(size) | {"epochs": epochs}
    if data.validation is None or not can_evaluate(model):
        return arguments, False
    part = data.validation.part(VERIFY_STEPS * size).fit_arguments(size)
    given = [part[name] for name in ("x", "y", "sample_weight") if part.get(name) is not None]
    arguments["validation_data"] = tuple(given) if len(given) > 1 else given[0]
    return arguments | {"validation_freq": epochs}, True


def _with_ragged_batch(train: Source, size: int, needed: int) -> tuple[Source, int]:
    """Samples and epochs that run the ragged last batch after enough full ones.

    The whole data set where an epoch has at most VERIFY_STEPS steps; else a part of it that ends
    with the same ragged batch.
    """
    full, ragged = divmod(train.count, size)
    steps = max(VERIFY_STEPS, needed)
    if full > steps:
        return train.part(steps * size + ragged), 1
    return train, -(-max(VERIFY_FULL_STEPS, needed) // full)


def _check(ran: StepCount, size: int, needed: int, data: user_data.Data) -> None:
    """A probe that ran nothing at that size would call every size good."""
    if ran.full >= needed:
        return
    if ran.steps == 0:
        raise UserError(
            "The model trained without its train_step, so that nothing shows which batches ran.",
            hint="Leave make_train_function and fit as Keras has them; override train_step.",
        )
    raise UserError(
        f"{data.source}: {ran.full} training steps ran on {size} samples, where {needed} were "
        f"needed; batches had {ran.smallest} to {ran.largest} samples.",
        hint="Batches must have exactly the size asked, but for the last of an epoch.",
    )


class _StepClock(Watch):
    """Seconds of each step; ends the training after enough full steps, if told how many."""

    def __init__(self, count: Callable[[], StepCount], needed: int | None) -> None:
        super().__init__(steps_per_epoch=1)
        self.step_seconds: list[float] = []
        self._count, self._needed = count, needed
        self._counted = 0
        self._settling_seconds = 0.0  # without the first execution, which traces
        self._began = 0.0

    def on_train_batch_begin(self, batch: int, logs: Any = None) -> None:
        super().on_train_batch_begin(batch, logs)
        self._began = time.perf_counter()

    def stepped(self, steps: int, *, last: bool) -> None:
        ran = self._count()  # reads from the device, so that the step has ended
        seconds = time.perf_counter() - self._began
        each = max(1, ran.steps - self._counted)
        self._counted = ran.steps
        self._settling_seconds += seconds if self.step_seconds else 0.0
        self.step_seconds.append(seconds / each)
        if self._needed is not None:
            settled = self._settling_seconds >= SETTLE_SECONDS
            self.done = ran.full >= (self._needed if settled else max(self._needed, SETTLE_STEPS))
