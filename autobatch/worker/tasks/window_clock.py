"""Windows of training whose samples and seconds are counted.

They are whole epochs where epochs are short, else stretches of steps inside epochs with the time
between epochs measured beside them. A device synchronisation closes each window.
"""

import time
from collections.abc import Callable
from math import isfinite
from typing import Any

from autobatch.core.epoch_ends import epoch_end
from autobatch.core.throughput import epoch_rate, starts_are_known
from autobatch.core.warm_up import WarmUp
from autobatch.protocol import EpochEnd, JobProgress, Window
from autobatch.worker.nvidia import EnergyCounter
from autobatch.worker.source import Source, steps_per_epoch
from autobatch.worker.tasks.watch import Unwaited

EXECUTIONS = 4  # of an epoch at least, for the first to count as its start
WINDOWS = 20  # aimed at within the seconds asked
MIN_WINDOWS = 8  # fewer say little of how they differ
PRECISE = 0.02  # half the width of the interval of the rate, relative: enough is known
PRECISE_SHARE = 0.5  # of the seconds asked that are spent in any case
PATIENCE = 3  # times the seconds asked, when windows are long or starts of epochs few or none


class WindowClock(Unwaited):
    """Cuts training into windows once it is warm; ends it when the time is up."""

    def __init__(
        self,
        seconds: float,
        train: Source,
        size: int,
        synchronise: Callable[[], None],
        energy: EnergyCounter,
        report: Callable[[JobProgress], None],
        *,
        is_tuned: bool = False,  # what `fit` draws, by a thread of tf.data's
    ) -> None:
        super().__init__(steps_per_epoch(train, size))
        self._is_tuned = is_tuned
        self.seconds, self.size = seconds, size
        self.missing = self.steps_per_epoch * size - train.count  # in the ragged batch
        self.synchronise, self.energy, self.report = synchronise, energy, report
        self.windows: list[Window] = []
        self.overheads: list[float] = []
        self.epoch_ends: list[EpochEnd] = []
        self.whole_epochs = False
        self._warm_up = WarmUp(seconds)
        self._steps_per_window = 1
        self._window_steps = 0
        self._window_samples = 0
        self._measuring_since: float | None = None
        self._opened: float | None = None
        self._epoch_ended: float | None = None  # its last step
        self._drawing_since: float | None = None  # from its iterator, one epoch's batches
        self._unsure = 0.0  # by how many seconds that may have been before
        self._left: float | None = None  # when the next epoch began, and let go of that iterator
        self._is_ragged_new = self.missing > 0  # its first step may compile for its shape

    @property
    def samples(self) -> int:
        """Of an epoch, at least."""
        return self.steps_per_epoch * self.size - self.missing

    def on_epoch_begin(self, epoch: int, logs: Any = None) -> None:
        super().on_epoch_begin(epoch, logs)
        self._left = time.perf_counter()

    def on_train_batch_begin(self, batch: int, logs: Any = None) -> None:
        super().on_train_batch_begin(batch, logs)
        if batch == 0 and self._is_tuned:  # before a batch is drawn
            self._see_epoch_end(time.perf_counter())
        # Where the number of steps is not known to it, Keras begins one more than there are.
        if self._epoch_ended is not None and batch == 0 and not self._is_start_apart:
            self._end_start(time.perf_counter(), of_steps=0.0)

    def stepped(self, steps: int, *, last: bool) -> None:
        if self.steps == steps and self._drawing_since is not None:
            now = time.perf_counter()  # the first of all is compiled before it draws a batch
            self._unsure, self._drawing_since = now - self._drawing_since, now
        samples = steps * self.size - (self.missing if last else 0)
        self._window_steps += steps
        self._window_samples += samples
        self.energy.trained(samples)
        if self._epoch_ended is not None:
            self.synchronise()
            self._end_start(time.perf_counter(), of_steps=steps * self._step_seconds)
        if self._measuring_since is None:
            self._warm()
        elif (
            self._opened is not None
            and not self.whole_epochs
            and not (last and self._is_ragged_new)
            and (last or self._window_steps >= self._steps_per_window)
        ):
            self._close()
        if last and not self._has_epochs_as_windows:
            self._end_epoch()
        self._is_ragged_new = self._is_ragged_new and not last

    def goes_on(self) -> None:
        """For how long, nobody knows: windows are inside the epoch, and none is of a whole one.

        How many samples its last batch will have, either: half as many as others.
        """
        self._epoch_ended, self.missing = None, self.size // 2
        if self.whole_epochs:
            self.whole_epochs = False
            self.windows.clear()
            self.overheads.clear()
        if self._measuring_since is not None:
            self.synchronise()
            self._open(time.perf_counter())

    def _see_epoch_end(self, now: float) -> None:
        """What it waited, as fits do at some of them, is no overhead: it is kept beside the rest.

        Windows of whole epochs have it in them: luck makes little of a difference to many ends.
        """
        is_known = self._epoch_ended is not None or self._has_epochs_as_windows
        if is_known and self._drawing_since is not None and self._left:
            lived, took = self._left - self._drawing_since, now - self._left
            self.epoch_ends.append(epoch_end(lived, took, unsure=self._unsure))
            if self.epoch_ends[-1].waited and self._epoch_ended is not None:
                self._epoch_ended += took
        self._drawing_since, self._left, self._unsure = now, None, 0.0

    def epoch_ended(self) -> None:
        if self._has_epochs_as_windows:
            now = time.perf_counter()
            if self._opened is None:
                self._open(now)
            elif now - self._opened >= self.seconds / WINDOWS:
                self._close()
        elif self._epoch_ended is None:  # it had fewer steps than were counted
            if self._opened is not None and self._window_steps == 0:
                self._epoch_ended, self._opened = self._opened, None
                return
            if self._opened is not None:
                self._close()
            self._end_epoch()

    @property
    def _has_epochs_as_windows(self) -> bool:
        """By now. Before it is warm, and where windows are shorter, ends of epochs are waited for.

        That takes time (where steps take 0.4 ms on JAX, 6 %), which Keras itself does not take.
        """
        return self.whole_epochs and self._measuring_since is not None

    @property
    def _is_start_apart(self) -> bool:
        """Whether an epoch's first execution counts as its start, for which it waits for data."""
        return not self._has_few_executions and isfinite(self._step_seconds)

    @property
    def _has_few_executions(self) -> bool:
        """In an epoch, so that its first is much of it: then it is no window without the others."""
        return bool(self._model.steps_per_execution * EXECUTIONS > self.steps_per_epoch)

    @property
    def _step_seconds(self) -> float:
        """By the windows; without any, by the warm-up, of which it may be infinite."""
        steps = sum(window.steps for window in self.windows)
        if steps == 0:
            return self._warm_up.step_seconds
        return sum(window.seconds for window in self.windows) / steps

    def _end_start(self, now: float, of_steps: float) -> None:
        """With the seconds that steps took in it, and that are none of it."""
        assert self._epoch_ended is not None
        self.overheads.append(max(0.0, now - self._epoch_ended - of_steps))
        self._epoch_ended = None
        if self._measuring_since is not None:
            self._open(now)

    def _end_epoch(self) -> None:
        self.synchronise()
        self._epoch_ended, self._opened = time.perf_counter(), None

    def _warm(self) -> None:
        self.synchronise()
        now = time.perf_counter()
        if not self._warm_up.is_over(now, self.steps):
            return
        step_seconds = self._warm_up.step_seconds
        epoch_seconds = step_seconds * self.steps_per_epoch
        windows = 1 if self._has_few_executions else MIN_WINDOWS
        self.whole_epochs = not self._grows and windows * epoch_seconds <= self.seconds
        self._steps_per_window = max(1, round(self.seconds / WINDOWS / step_seconds))
        self._measuring_since = now
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
            self.overheads, epoch_seconds, self.seconds * PATIENCE
        ):
            return False
        return elapsed >= self.seconds or found.high - found.low <= 2 * PRECISE * found.low
