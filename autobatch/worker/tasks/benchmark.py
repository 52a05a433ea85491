"""Samples per second that `fit` delivers on the user's own pipeline, epoch overhead included.

Windows are whole epochs where epochs are short, else stretches of steps inside epochs with the
time between epochs measured beside them. A device synchronisation closes each window. Afterwards
the same step runs on one batch that stays on the device: the ceiling without an input pipeline.
"""

import time
from collections.abc import Callable
from typing import Any

import keras

from autobatch.protocol import Benchmark, JobProgress, Measured, Target, Window
from autobatch.worker import data as user_data
from autobatch.worker.backends import Backend
from autobatch.worker.target import build_model

SYNTHETIC_BATCHES = 4
WARMUP_STEPS = 3  # tracing and compilation, optimizer slots, caches
WARMUP_SECONDS = 0.5
WINDOWS = 20  # aimed at within the seconds asked
MIN_WINDOWS = 8  # fewer give no 95 % interval of a median
PATIENCE = 3  # times the seconds asked, when windows are long
DEVICE_SHARE = 0.25  # of the seconds asked, for the resident batch


def run(
    task: Benchmark, target: Target, backend: Backend, report: Callable[[JobProgress], None]
) -> Measured:
    keras.utils.set_random_seed(target.seed)
    size = task.batch_size
    model = build_model(target, batch_size=size)
    train = user_data.load(target, model, samples=SYNTHETIC_BATCHES * size).train
    clock = _WindowClock(task.seconds, train.count, size, backend.synchronise, report)
    model.fit(
        **train.fit_arguments(),
        batch_size=size,
        epochs=1_000_000_000,  # the clock ends it
        verbose=0,
        callbacks=[clock],
    )
    return Measured(
        windows=tuple(clock.windows),
        whole_epochs=clock.whole_epochs,
        epoch_overhead_seconds=_median(clock.overheads),
        steps_per_epoch=clock.steps_per_epoch,
        samples_per_epoch=train.count,
        warmup_seconds=clock.warmup_seconds,
        device_windows=_resident_windows(model, train, size, task.seconds * DEVICE_SHARE, backend),
        peak_bytes=backend.peak_bytes(),
    )


class _WindowClock(keras.callbacks.Callback):
    """Cuts training into windows once it is warm; ends it when the time is up."""

    def __init__(
        self,
        seconds: float,
        samples: int,
        size: int,
        synchronise: Callable[[], None],
        report: Callable[[JobProgress], None],
    ) -> None:
        super().__init__()
        self.seconds, self.samples, self.size = seconds, samples, size
        self.steps_per_epoch = -(-samples // size)
        self.synchronise, self.report = synchronise, report
        self.windows: list[Window] = []
        self.overheads: list[float] = []
        self.whole_epochs = False
        self.warmup_seconds = 0.0
        self._began = time.perf_counter()
        self._first_step_end: float | None = None
        self._steps = 0  # all, while warming; of the open window, afterwards
        self._samples = 0
        self._measuring_since: float | None = None
        self._opened: float | None = None
        self._epoch_ended: float | None = None

    def on_train_batch_begin(self, batch: int, logs: Any = None) -> None:
        if self._epoch_ended is not None:
            now = time.perf_counter()
            self.overheads.append(now - self._epoch_ended)
            self._epoch_ended = None
            self._open(now)

    def on_train_batch_end(self, batch: int, logs: Any = None) -> None:
        last = batch == self.steps_per_epoch - 1
        self._steps += 1
        self._samples += (
            self.samples - (self.steps_per_epoch - 1) * self.size if last else self.size
        )
        if self._measuring_since is None:
            self._warm()
        elif not self.whole_epochs and self._opened is not None:
            window = self.seconds / WINDOWS
            if last or time.perf_counter() - self._opened >= window:
                self._close()
            if last:
                self._epoch_ended, self._opened = time.perf_counter(), None

    def on_epoch_end(self, epoch: int, logs: Any = None) -> None:
        if self._measuring_since is None or not self.whole_epochs:
            return
        if self._opened is None:
            self._open(time.perf_counter())
        elif time.perf_counter() - self._opened >= self.seconds / WINDOWS:
            self._close()

    def _warm(self) -> None:
        now = time.perf_counter()
        if self._first_step_end is None:
            self._first_step_end = now
            return
        since = now - self._first_step_end
        if self._steps < WARMUP_STEPS or since < min(WARMUP_SECONDS, self.seconds / 2):
            return
        self.synchronise()
        now = time.perf_counter()
        epoch_seconds = (now - self._first_step_end) / (self._steps - 1) * self.steps_per_epoch
        self.whole_epochs = epoch_seconds * MIN_WINDOWS <= self.seconds
        self._measuring_since = now
        self.warmup_seconds = now - self._began
        if not self.whole_epochs:
            self._open(now)

    def _open(self, now: float) -> None:
        self._opened, self._steps, self._samples = now, 0, 0

    def _close(self) -> None:
        assert self._opened is not None and self._measuring_since is not None
        self.synchronise()
        now = time.perf_counter()
        self.windows.append(
            Window(steps=self._steps, samples=self._samples, seconds=now - self._opened)
        )
        elapsed = now - self._measuring_since
        self.report(
            JobProgress(
                done=round(1000 * min(elapsed, self.seconds)),
                total=round(1000 * self.seconds),
                unit="ms",
            )
        )
        enough = elapsed >= self.seconds and len(self.windows) >= MIN_WINDOWS
        if enough or elapsed >= self.seconds * PATIENCE:
            self.model.stop_training = True
        self._open(time.perf_counter())


def _resident_windows(
    model: keras.Model, train: user_data.Samples, size: int, seconds: float, backend: Backend
) -> tuple[Window, ...]:
    batch = train.rows(0, size)

    def move(leaf: Any) -> Any:
        return None if leaf is None else backend.to_device(leaf)

    resident = keras.tree.map_structure(move, batch.fit_arguments())
    model.train_on_batch(**resident)  # traces anew: data comes as tensors now
    windows: list[Window] = []
    end = time.perf_counter() + seconds
    while (opened := time.perf_counter()) < end:
        steps = 0
        while time.perf_counter() - opened < seconds / WINDOWS:
            model.train_on_batch(**resident)
            steps += 1
        backend.synchronise()
        windows.append(
            Window(steps=steps, samples=steps * size, seconds=time.perf_counter() - opened)
        )
    return tuple(windows)


def _median(values: list[float]) -> float | None:
    return sorted(values)[len(values) // 2] if values else None
