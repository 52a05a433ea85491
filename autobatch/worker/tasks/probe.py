"""Does a batch train within the limit? Through the user's own `fit`, with proof of what ran."""

import statistics
import time
from collections.abc import Callable
from typing import Any

import keras
import numpy as np

from autobatch.core.leak import heap_leak_bytes, leak_bytes
from autobatch.protocol import VERIFY_STEPS, Fits, OverBudget, Probe, Target
from autobatch.worker import data as user_data
from autobatch.worker.arrays import Arrays, itemsize
from autobatch.worker.backends import Backend, StepCount
from autobatch.worker.callbacks import users_callbacks
from autobatch.worker.heap import heap_bytes
from autobatch.worker.mistakes import UserError, uncounted_memory
from autobatch.worker.optimizer import accumulation_steps
from autobatch.worker.source import Source
from autobatch.worker.tasks.prepared import prepared
from autobatch.worker.tasks.watch import Watch, apart, validates

FULL_STEPS = 3  # the first traces and compiles, the second has the optimizer's slots, one to settle
# Where operations overlap, the peak differs from step to step: some more steps catch the largest.
SETTLE_STEPS = 40
VERIFY_FULL_STEPS = 10  # of a verification (enough to see a leak), then more, epoch by epoch
LEAK_STEPS = 40  # full ones, by which what grew a few times by chance has settled


def run(task: Probe, target: Target, backend: Backend) -> Fits | OverBudget:
    size = task.batch_size
    ragged = size // 2 // target.replicas * target.replicas if task.verify else 0
    model, data = prepared(target, backend, size, samples=size + ragged, validates=task.verify)
    if data.train.count < size and data.train.is_whole:
        raise UserError(f"{data.train.count} training samples cannot fill a batch of {size}.")
    needed = VERIFY_FULL_STEPS if task.verify else FULL_STEPS
    needed = max(needed, accumulation_steps(model) + 1)  # an update, and a step after it
    if task.predict:
        backend.only_predict()
    will_validate = validates(data, model)
    count = backend.count_steps(model, size)  # by a train_step of its own
    clock = _StepClock(count, needed, backend, task)
    arguments = _arguments(task, data, needed, validate=task.verify and will_validate)
    validated = "validation_data" in arguments
    on_gpu = backend.device()[0] == "gpu"
    left_out = _left_out_bytes(data, arguments, on_gpu=on_gpu) if backend.COPIES_DATA else 0
    ballast = keras.ops.zeros((left_out,), "uint8") if left_out else None
    logs: dict[str, float] | None = {} if will_validate and not validated else None
    users, unsaved = users_callbacks(target, size, validation_logs=logs)
    with apart(unsaved):
        model.fit(
            **arguments, class_weight=target.class_weight, verbose=0, callbacks=[*users, clock]
        )
    backend.synchronise()
    del ballast
    ran = count()
    _check(ran, size, needed, data)
    peak = max(clock.peak_bytes, backend.peak_bytes() or 0)
    if peak == 0:
        raise uncounted_memory()
    if peak > task.limit_bytes:
        return OverBudget(peak_bytes=peak)
    return Fits(
        peak_bytes=peak,
        least_peak_bytes=min(clock.full_step_peaks, default=peak),
        full_steps=ran.full,
        steps=ran.steps,
        step_seconds=statistics.median(clock.step_seconds[1:] or clock.step_seconds),
        ragged_samples=ran.smallest if ran.smallest < size else 0,
        validated=validated,
        leak_bytes_per_step=clock.leak_bytes_per_step(),
        host_leak_bytes_per_step=clock.host_leak_bytes_per_step(),
    )


def _arguments(task: Probe, data: user_data.Data, needed: int, *, validate: bool) -> dict[str, Any]:
    """What `fit` is given. The clock ends it.

    Where the user's epoch is longer than needed, or was not counted to its end, a part of it that
    ends with the same ragged batch: memory in pieces of another size is often what does not fit,
    and so full steps follow it. A verification has longer epochs, and a validation after each.
    Where samples vary in size, a probe has the largest alone, and epochs of a verification begin
    with them, as its validation does: others leave other gaps.
    """
    size = task.batch_size
    epochs = {"epochs": max(SETTLE_STEPS, VERIFY_STEPS, needed)}  # each has a full step or more
    longest = data.train.longest(size)
    train = data.train if task.verify else longest
    full, ragged = divmod(train.count, size)
    steps = needed if task.verify else needed - 1
    if full > steps or not train.is_whole:
        train = train.part(steps * size + ragged)
    if task.verify and longest is not data.train:
        train = train.after(longest)
    arguments = train.fit_arguments(size) | epochs
    validation = data.train if data.source == "synthetic" else data.validation
    if not validate or validation is None:
        return arguments
    some = validation.part(_samples_to_validate(validation, size, needed))
    longest = validation.longest(size)
    part = (some if longest is validation else some.after(longest)).fit_arguments(size)
    if "y" not in part:  # a dataset
        return arguments | {"validation_data": part["x"]}
    given = (part[name] for name in ("x", "y", "sample_weight"))
    return arguments | {"validation_data": tuple(g for g in given if g is not None)}


def _samples_to_validate(validation: Source, size: int, needed: int) -> int:
    """So many full batches, and the smaller last one of the user's own validation, if it has one.

    Of batches that the user builds, which may have a size of their own.
    """
    samples = needed * size
    if not validation.is_whole or validation.count <= samples:
        return samples
    unit: int = getattr(validation, "size", size)
    return max(1, samples // unit) * unit + validation.count % unit


def _left_out_bytes(data: user_data.Data, arguments: dict[str, Any], *, on_gpu: bool) -> int:
    """Of the user's arrays: a probe gives `fit` a part of them, and their training has them all.

    In the memory it trains in, TensorFlow holds them whole, floats as Keras' floatx; not texts,
    and on a GPU not integers of 32 bits.
    """
    floats = itemsize(keras.config.floatx())

    def held(tree: Any) -> int:
        arrays = [leaf for leaf in keras.tree.flatten(tree) if isinstance(leaf, np.ndarray)]
        return sum(
            each.size * floats if each.dtype.kind == "f" else each.nbytes
            for each in arrays
            if each.dtype.kind not in "OSU" and not (on_gpu and each.dtype == np.int32)
        )

    sources = (data.train, data.validation if "validation_data" in arguments else None)
    whole = [(each.x, each.y, each.sample_weight) for each in sources if isinstance(each, Arrays)]
    given = [arguments.get(name) for name in ("x", "y", "sample_weight", "validation_data")]
    return max(0, held(whole) - held(given))


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
    """Seconds and memory of each step; ends the training after `needed` full ones and some more.

    A probe ends after a step, a verification after an epoch.
    """

    def __init__(
        self, count: Callable[[], StepCount], needed: int, backend: Backend, task: Probe
    ) -> None:
        super().__init__(steps_per_epoch=1)
        self.step_seconds: list[float] = []
        self.peak_bytes = 0  # of all that ran before the last step's end
        self.full_step_peaks: list[int] = []
        self.held_bytes: list[int] = []  # after each execution of full steps, or of an epoch
        self.heap_bytes: list[int] = []  # likewise, in a verification; none where nothing says
        self._steps_of_held: list[int] = []  # and how many steps, of any size, before it
        self._count, self._needed, self._backend = count, needed, backend
        self._verify, self._enough_seconds = task.verify, task.seconds
        self._enough_steps = VERIFY_STEPS if task.verify else SETTLE_STEPS
        self._counted = self._full = self._steps_since = 0
        self._began = 0.0
        self._settling_since = 0.0  # the end of the first execution, which traces

    def on_train_batch_begin(self, batch: int, logs: Any = None) -> None:
        super().on_train_batch_begin(batch, logs)
        self._began = time.perf_counter()

    def stepped(self, steps: int, *, last: bool) -> None:
        ran = self._count()  # reads from the device, so that the step has ended
        seconds = time.perf_counter() - self._began
        each = max(1, ran.steps - self._counted)
        full = ran.full - self._full
        # With the smaller batch that ends an epoch, one that begins it is all of it, each time.
        is_alike = full == each or (full > 0 and self._first == 0)
        self._counted, self._full = ran.steps, ran.full
        self._steps_since += each
        if is_alike:
            self._steps_of_held.append(self._steps_since)
            self._steps_since = 0
        self._read_memory(is_alike)
        self._settling_since = self._settling_since or time.perf_counter()
        self.step_seconds.append(seconds / each)
        self.done = not self._verify and self._enough()

    def leak_bytes_per_step(self) -> int:
        steps = self._steps_of_held[1:]  # from one to the next
        return int(leak_bytes(self.held_bytes) * len(steps) / max(1, sum(steps)))

    def host_leak_bytes_per_step(self) -> int:
        return heap_leak_bytes(self.heap_bytes, self._steps_of_held)

    def epoch_ended(self) -> None:
        self.done = self._enough()

    def _enough(self) -> bool:
        if self._counted == 0:  # none of the steps that ran, nor will be
            return True
        in_time = time.perf_counter() - self._settling_since < self._enough_seconds
        enough = max(self._needed, self._enough_steps) if in_time else self._needed
        return self._full >= enough and not (
            self._full < LEAK_STEPS
            and (leak_bytes(self.held_bytes) or self.host_leak_bytes_per_step())
        )

    def _read_memory(self, is_alike: bool) -> None:
        peak = self._backend.peak_bytes()
        if peak is None:
            return
        self.peak_bytes = max(self.peak_bytes, peak)
        if is_alike:
            self.full_step_peaks.append(peak)
            self.held_bytes.append(self._backend.held_bytes() or 0)
            in_heap = heap_bytes() if self._verify else None
            self.heap_bytes.extend([] if in_heap is None else [in_heap])
        self._backend.reset_peak()
