"""Samples per second that `fit` delivers on the user's own pipeline, epoch overhead included.

Afterwards the same step runs on one batch that stays on the device: the ceiling without an input
pipeline.
"""

import time
from collections.abc import Callable
from typing import Any

import keras

from autobatch.protocol import Benchmark, JobProgress, Measured, Target, Window
from autobatch.worker import data as user_data
from autobatch.worker.backends import Backend
from autobatch.worker.callbacks import WRITERS
from autobatch.worker.nvidia import EnergyCounter
from autobatch.worker.source import Source
from autobatch.worker.target import build_model
from autobatch.worker.tasks.watch import fit
from autobatch.worker.tasks.window_clock import WINDOWS, WindowClock

SYNTHETIC_BATCHES = 4
INPUT_SHARE = 0.15  # of the seconds asked, for the input pipeline alone
DEVICE_SHARE = 0.25  # of the seconds asked, for the resident batch


def run(
    task: Benchmark, target: Target, backend: Backend, report: Callable[[JobProgress], None]
) -> Measured:
    keras.utils.set_random_seed(target.seed)
    size = task.batch_size
    model = build_model(target, backend, batch_size=size)
    if task.steps_per_execution is not None:
        model.steps_per_execution = task.steps_per_execution
    data = user_data.load(target, model, batch_size=size, samples=SYNTHETIC_BATCHES * size)
    train = data.train
    arguments = train.fit_arguments(size) | {"class_weight": target.class_weight}
    energy = EnergyCounter(target.device, target.replicas)
    clock = WindowClock(task.seconds, train, size, backend.synchronise, energy, report)
    fit(model, train, target, size, clock, leave_out=WRITERS)
    joules_per_sample = energy.joules_per_sample()
    input_windows = _input_windows(train, size, task.seconds * INPUT_SHARE, backend)
    return Measured(
        windows=tuple(clock.windows),
        whole_epochs=clock.whole_epochs,
        epoch_overhead_seconds=tuple(clock.overheads),
        steps_per_epoch=clock.steps_per_epoch,
        samples_per_epoch=train.count,
        warmup_seconds=clock.warmup_seconds,
        device_windows=_resident_windows(
            model, arguments, min(size, train.count), task.seconds * DEVICE_SHARE, backend
        ),
        peak_bytes=backend.peak_bytes(),
        input_windows=input_windows,
        steps_per_execution=int(model.steps_per_execution),
        joules_per_sample=joules_per_sample,
    )


def _input_windows(
    train: Source, size: int, seconds: float, backend: Backend
) -> tuple[Window, ...]:
    """Batches drawn as `fit` draws them, without training on them: one epoch, or `seconds` of it.

    The first batch is not counted: with it the pipeline starts.
    """
    draw = backend.input_batches(train.fit_arguments(size))
    draw()
    windows: list[Window] = []
    end, left = time.perf_counter() + seconds, train.steps_per_epoch(size) - 1
    while left > 0 and (opened := time.perf_counter()) < end:
        steps = 0
        while left > 0 and (steps == 0 or time.perf_counter() - opened < seconds / WINDOWS):
            if not draw():
                left = 0
                break
            steps, left = steps + 1, left - 1
        if steps:
            windows.append(
                Window(steps=steps, samples=steps * size, seconds=time.perf_counter() - opened)
            )
    return tuple(windows)


def _resident_windows(
    model: keras.Model, arguments: dict[str, Any], samples: int, seconds: float, backend: Backend
) -> tuple[Window, ...]:
    """The very step that `fit` ran, without `fit` around it."""
    batch = backend.resident_batch(arguments)
    backend.train_step(model, batch)  # its shapes are all known now: TensorFlow traces anew
    backend.synchronise()
    windows: list[Window] = []
    end = time.perf_counter() + seconds
    while (opened := time.perf_counter()) < end:
        steps = 0
        while time.perf_counter() - opened < seconds / WINDOWS:
            backend.train_step(model, batch)
            steps += 1
        backend.synchronise()
        windows.append(
            Window(steps=steps, samples=steps * samples, seconds=time.perf_counter() - opened)
        )
    return tuple(windows)
