"""Samples per second that `fit` delivers on the user's own pipeline, epoch overhead included.

Windows are whole epochs where epochs are short, else stretches of steps inside epochs with the
time between epochs measured beside them. A device synchronisation closes each window. Afterwards
the same step runs on one batch that stays on the device: the ceiling without an input pipeline.
"""

import time
from collections.abc import Callable
from typing import Any

import keras

from autobatch.core.throughput import epoch_rate, starts_are_known
from autobatch.core.warm_up import WarmUp
from autobatch.protocol import Benchmark, JobProgress, Measured, Target, Window
from autobatch.worker import data as user_data
from autobatch.worker.backends import Backend
from autobatch.worker.callbacks import WRITERS
from autobatch.worker.nvidia import EnergyCounter
from autobatch.worker.source import Source
from autobatch.worker.target import build_model
from autobatch.worker.tasks.watch import Watch, fit

SYNTHETIC_BATCHES = 4
WINDOWS = 20  # aimed at within the seconds asked
PRECISE = 0.02  # half the width of the interval of the rate, relative: enough is known
PRECISE_SHARE = 0.5  # of the seconds asked that are spent in any case
INPUT_SHARE = 0.15  # of the seconds asked, for the input pipeline alone
MIN_WINDOWS = 8  # fewer say little of how they differ
PATIENCE = 3  # times the seconds asked, when windows are long or starts of epochs few
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


class WindowClock(Watch):
    """Cuts training into windows once it is warm; ends it when the time is up.

    It watches the function that `fit` executes. For an `on_train_batch_end` of ours, Keras would
    wait for the logs of each step, which on JAX and PyTorch it otherwise leaves to a thread.
    """

    on_train_batch_end = keras.callbacks.Callback.on_train_batch_end

    def __init__(
        self,
        seconds: float,
        train: Source,
        size: int,
        synchronise: Callable[[], None],
        energy: EnergyCounter,
        report: Callable[[JobProgress], None],
    ) -> None:
        super().__init__(train.steps_per_epoch(size))
        self.seconds, self.size, self.samples = seconds, size, train.count
        self.missing = self.steps_per_epoch * size - train.count  # in the ragged batch
        self.synchronise, self.energy, self.report = synchronise, energy, report
        self.windows: list[Window] = []
        self.overheads: list[float] = []
        self.whole_epochs = False
        self.warmup_seconds = 0.0
        self._began = time.perf_counter()
        self._warm_up = WarmUp(self._began, seconds)
        self._window_steps = 0
        self._window_samples = 0
        self._measuring_since: float | None = None
        self._opened: float | None = None
        self._epoch_ended: float | None = None  # its last step
        self._is_ragged_new = self.missing > 0  # its first step may compile for its shape

    def on_train_begin(self, logs: Any = None) -> None:
        model = self._model
        self._train_function = model.train_function

        def watched(*arguments: Any) -> Any:
            found = self._train_function(*arguments)
            self.executed(self._first + model.steps_per_execution - 1)
            return found

        model.train_function = watched

    def on_train_end(self, logs: Any = None) -> None:
        self._model.train_function = self._train_function

    def on_train_batch_begin(self, batch: int, logs: Any = None) -> None:
        super().on_train_batch_begin(batch, logs)
        # Where the number of steps is not known to it, Keras begins one more than there are.
        if self._epoch_ended is not None and batch == 0:
            now = time.perf_counter()
            self.overheads.append(now - self._epoch_ended)
            self._epoch_ended = None
            if self._measuring_since is not None:
                self._open(now)

    def stepped(self, steps: int, *, last: bool) -> None:
        samples = steps * self.size - (self.missing if last else 0)
        self._window_steps += steps
        self._window_samples += samples
        self.energy.trained(samples)
        if self._measuring_since is None:
            self._warm()
            if last and self._measuring_since is None:
                # What short epochs take to end and to start is seen now: to wait for the last step
                # costs time (where steps take 0.4 ms on JAX, 6 %), of which windows are to be free.
                self.synchronise()
                self._epoch_ended = time.perf_counter()
        elif not self.whole_epochs and self._opened is not None:
            window = self.seconds / WINDOWS
            if not (last and self._is_ragged_new) and (
                last or time.perf_counter() - self._opened >= window
            ):
                self._close()
            if last:
                self._end_epoch()
        self._is_ragged_new = self._is_ragged_new and not last

    def epoch_ended(self) -> None:
        if self._measuring_since is None:
            return
        if not self.whole_epochs:
            if self._opened is not None:  # it had fewer steps than were counted
                if self._window_steps:
                    self._close()
                self._end_epoch()
        elif self._opened is None:
            self._open(time.perf_counter())
        elif time.perf_counter() - self._opened >= self.seconds / WINDOWS:
            self._close()

    def _end_epoch(self) -> None:
        self._epoch_ended, self._opened = time.perf_counter(), None

    def _warm(self) -> None:
        if not self._warm_up.is_comparable(time.perf_counter(), self.steps):
            return
        self.synchronise()
        now = time.perf_counter()
        if not self._warm_up.is_over(now, self.steps):
            return
        epoch_seconds = self._warm_up.step_seconds * self.steps_per_epoch
        self.whole_epochs = epoch_seconds * MIN_WINDOWS <= self.seconds
        self._measuring_since = now
        self.warmup_seconds = now - self._began
        if not self.whole_epochs:
            self.overheads.clear()  # those between windows count
            self._open(now)

    def _open(self, now: float) -> None:
        self._opened, self._window_steps, self._window_samples = now, 0, 0
        self.energy.start()

    def _close(self) -> None:
        assert self._opened is not None and self._measuring_since is not None
        self.synchronise()
        now = time.perf_counter()
        self.windows.append(
            Window(
                steps=self._window_steps,
                samples=self._window_samples,
                seconds=now - self._opened,
            )
        )
        elapsed = now - self._measuring_since
        self.report(
            JobProgress(
                done=round(1000 * min(elapsed, self.seconds)),
                total=round(1000 * self.seconds),
                unit="ms",
                samples_per_second=self.windows[-1].samples_per_second,
            )
        )
        enough = len(self.windows) >= MIN_WINDOWS and self._is_known(elapsed)
        if enough or elapsed >= self.seconds * PATIENCE:
            self.done = True
        self._open(time.perf_counter())

    def _is_known(self, elapsed: float) -> bool:
        """Precisely, or as well as the time asked allows: it is not for how epochs start."""
        if elapsed < PRECISE_SHARE * self.seconds:
            return False
        starts = () if self.whole_epochs else self.overheads
        found = epoch_rate(self.windows, self.samples, starts)
        epoch_seconds = self.samples / found.value
        if not self.whole_epochs and not starts_are_known(
            self.overheads, epoch_seconds, self.seconds
        ):
            return False
        return elapsed >= self.seconds or found.high - found.low <= 2 * PRECISE * found.low


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
