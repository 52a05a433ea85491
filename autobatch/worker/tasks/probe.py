"""Does a batch train within the limit? Through the user's own `fit`, with proof of what ran."""

import statistics
import time
from typing import Any

import keras

from autobatch.protocol import Fits, OverBudget, Probe, Target
from autobatch.worker import data as user_data
from autobatch.worker.backends import Backend
from autobatch.worker.mistakes import UserError
from autobatch.worker.target import build_model

FULL_STEPS = 3  # the first traces and compiles, the second has the optimizer's slots, one to settle
# Where operations overlap, the peak differs from step to step: some more steps catch the largest.
SETTLE_STEPS, SETTLE_SECONDS = 20, 0.5
VERIFY_STEPS = 50  # of a verification, where an epoch is longer
VERIFY_FULL_STEPS = 10


def run(task: Probe, target: Target, backend: Backend) -> Fits | OverBudget:
    keras.utils.set_random_seed(target.seed)
    size = task.batch_size
    model = build_model(target, batch_size=size)
    data = user_data.load(target, model, samples=size + (size // 2 if task.verify else 0))
    train = data.train
    if train.count < size:
        raise UserError(f"{train.count} training samples cannot fill a batch of {size}.")
    full_steps = backend.count_full_steps(model, size)
    clock = _StepClock()
    began = time.perf_counter()
    if task.verify:
        train, epochs = _with_ragged_batch(train, size)
        if data.validation is not None:
            clock.validation = data.validation.rows(0, VERIFY_STEPS * size).validation_data()
    else:
        epochs = SETTLE_STEPS
        clock.full_steps_per_epoch = train.count // size
    model.fit(
        **train.fit_arguments(),
        batch_size=size,
        epochs=epochs,
        verbose=0,
        callbacks=[clock],
        validation_data=clock.validation,
    )
    backend.synchronise()
    seconds = time.perf_counter() - began
    ran = full_steps()
    # A probe that ran nothing at that size would call every size good.
    assert ran >= FULL_STEPS, f"only {ran} full steps of {size} samples ran"
    peak = backend.peak_bytes()
    assert peak is not None
    if peak > task.limit_bytes:
        return OverBudget(peak_bytes=peak)
    return Fits(
        peak_bytes=peak,
        full_steps=ran,
        steps=len(clock.step_seconds),
        seconds=seconds,
        step_seconds=statistics.median(clock.step_seconds[1:]),
        ragged_samples=train.count % size if task.verify else 0,
        validated=clock.validation is not None,
    )


def _with_ragged_batch(train: user_data.Samples, size: int) -> tuple[user_data.Samples, int]:
    """Samples and epochs that run the ragged last batch after enough full ones.

    The whole data set where an epoch has at most VERIFY_STEPS steps; else a part of it that ends
    with the same ragged batch.
    """
    full, ragged = divmod(train.count, size)
    if full > VERIFY_STEPS:
        return train.rows(0, VERIFY_STEPS * size + ragged), 1
    return train, -(-VERIFY_FULL_STEPS // full)


class _StepClock(keras.callbacks.Callback):
    """Seconds of each step; ends the training after enough full steps, if told what those are."""

    def __init__(self) -> None:
        super().__init__()
        self.step_seconds: list[float] = []
        self.full_steps_per_epoch: int | None = None
        self.validation: Any = None
        self._full_steps = 0
        self._began = 0.0

    def on_train_batch_begin(self, batch: int, logs: Any = None) -> None:
        self._began = time.perf_counter()

    def on_train_batch_end(self, batch: int, logs: Any = None) -> None:
        self.step_seconds.append(time.perf_counter() - self._began)
        if self.full_steps_per_epoch is None:
            return
        self._full_steps += batch < self.full_steps_per_epoch
        settled = sum(self.step_seconds[1:]) >= SETTLE_SECONDS
        if self._full_steps >= (FULL_STEPS if settled else SETTLE_STEPS):
            self.model.stop_training = True
