"""Samples per second that `fit` delivers on the user's own pipeline, epoch overhead included.

Afterwards, in the first process of a size, the input pipeline runs alone, and the same step on one
batch that stays on the device: the ceiling without an input pipeline.
"""

import time
import traceback
from collections.abc import Callable
from dataclasses import replace
from typing import Any, TypeVar

import keras

from autobatch.protocol import Benchmark, JobProgress, Measured, Target, Window
from autobatch.worker.backends import Backend
from autobatch.worker.datasets import is_cached, is_dataset, is_tuned
from autobatch.worker.nvidia import EnergyCounter
from autobatch.worker.pydatasets import PythonBatches, end_workers
from autobatch.worker.tasks.prepared import prepared
from autobatch.worker.tasks.watch import fit
from autobatch.worker.tasks.window_clock import WINDOWS, WindowClock

Found = TypeVar("Found")

SYNTHETIC_BATCHES = 4
FILL_SECONDS = 20.0  # at most, for one pass over data that is cached
INPUT_SHARE = 0.15  # of the seconds asked, for the input pipeline alone
DEVICE_SHARE = 0.25  # of the seconds asked, for the resident batch


def run(
    task: Benchmark, target: Target, backend: Backend, report: Callable[[JobProgress], None]
) -> Measured:
    size = task.batch_size
    model, data = prepared(target, backend, size, samples=SYNTHETIC_BATCHES * size)
    if task.steps_per_execution is not None:
        model.steps_per_execution = task.steps_per_execution
    if isinstance(data.train, PythonBatches):
        data = replace(data, train=data.train.ending_in_the_smaller())
    train = data.train
    arguments = train.fit_arguments(size) | {"class_weight": target.class_weight}
    energy = EnergyCounter(target.device, target.replicas)
    x = arguments["x"]
    clock = WindowClock(
        *(task.seconds, train, size, backend.synchronise, energy, report),
        is_tuned=keras.backend.backend() == "tensorflow" and is_tuned(x),
    )
    _fill_cache(x)
    fit(model, data, target, size, clock)
    joules_per_sample, peak_bytes = energy.joules_per_sample(), backend.peak_bytes()
    drawn: tuple[tuple[Window, ...], float | None] | None = None
    device_windows: tuple[Window, ...] | None = None
    is_start_unseen = not clock.whole_epochs and not clock.overheads  # the pipeline's stands for it
    if task.explains or is_start_unseen:
        drawn = _aside(
            lambda: input_alone(
                lambda: backend.input_epoch(train.fit_arguments(size)),
                batch_size=size,
                samples=clock.samples,
                seconds=task.seconds * INPUT_SHARE,
            )
        )
    end_workers()
    if task.explains:
        device_windows = _aside(
            lambda: _resident_windows(
                model, arguments, min(size, clock.samples), task.seconds * DEVICE_SHARE, backend
            )
        )
    input_windows, input_start_seconds = drawn or ((), None)
    return Measured(
        windows=tuple(clock.windows),
        whole_epochs=clock.whole_epochs,
        epoch_overhead_seconds=tuple(clock.overheads),
        epoch_ends=tuple(clock.epoch_ends),
        steps_per_epoch=clock.steps_per_epoch,
        samples_per_epoch=clock.samples,
        device_windows=device_windows or (),
        peak_bytes=peak_bytes,
        input_windows=input_windows,
        input_start_seconds=input_start_seconds,
        steps_per_execution=int(model.steps_per_execution),
        joules_per_sample=joules_per_sample,
    )


def _fill_cache(given: Any) -> None:
    """All epochs of a training but its first draw from what a tf.data.Dataset keeps in memory."""
    if not (is_dataset(given) and is_cached(given)):
        return
    until = time.perf_counter() + FILL_SECONDS
    for _ in given:
        if time.perf_counter() > until:  # what is timed is then a first epoch
            break


def _aside(measure: Callable[[], Found]) -> Found | None:
    """What explains the rate of `fit` is not worth losing it."""
    try:
        return measure()
    except Exception:  # out of memory, or the user's; what was the matter is in the log
        traceback.print_exc()
        return None


def input_alone(
    epoch: Callable[[], Callable[[], Callable[[], bool]]],
    *,
    batch_size: int,
    samples: int,
    seconds: float,
) -> tuple[tuple[Window, ...], float | None]:
    """Full batches drawn as `fit` draws them, without training on them, for `seconds`.

    `epoch` makes ready an epoch, of so many samples, and returns what begins it; that returns what
    draws its next batch, or says that there is none. The first is not in the windows, with it the
    pipeline starts: of an epoch of one full batch there are none. What the first start takes, in
    seconds, is returned beside them; without what is made ready, as `fit` does this once.
    """
    full = samples // batch_size
    windows: list[Window] = []
    end = time.perf_counter() + seconds
    first_seconds = None
    is_left = full > 1
    while is_left and (not windows or time.perf_counter() < end):
        begin = epoch()
        began = time.perf_counter()
        draw = begin()
        left, is_left = full - 1, draw()
        if first_seconds is None:
            first_seconds = time.perf_counter() - began
        while is_left and left and (not windows or time.perf_counter() < end):
            steps, opened = 0, time.perf_counter()
            while left and (steps == 0 or time.perf_counter() - opened < seconds / WINDOWS):
                is_left = draw()
                if not is_left:
                    break
                steps, left = steps + 1, left - 1
            if steps:
                took = time.perf_counter() - opened
                windows.append(Window(steps=steps, samples=steps * batch_size, seconds=took))
    return tuple(windows), first_seconds


def _resident_windows(
    model: keras.Model, arguments: dict[str, Any], samples: int, seconds: float, backend: Backend
) -> tuple[Window, ...]:
    """The very function that `fit` executed, without `fit` around it."""
    execute = backend.execution(model, backend.resident_batch(arguments))
    execute()  # its shapes are all known now: TensorFlow traces anew
    backend.synchronise()
    began = time.perf_counter()
    execute()
    backend.synchronise()
    # Counted, not timed: a device that computes on its own lets any number be queued at once.
    executions = max(1, round(seconds / WINDOWS / (time.perf_counter() - began)))
    windows: list[Window] = []
    end = time.perf_counter() + seconds
    while (opened := time.perf_counter()) < end:
        steps = sum(execute() for _ in range(executions))
        backend.synchronise()
        windows.append(
            Window(steps=steps, samples=steps * samples, seconds=time.perf_counter() - opened)
        )
    return tuple(windows)
