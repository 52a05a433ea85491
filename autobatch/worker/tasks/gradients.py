"""Gradients of micro-batches at fixed weights, early and late in the baseline's training.

What is measured is the user's own compiled loss, regularisation included, in training mode; never
while weights change, since noise and drift would be one. Layers that keep something (moving
averages, seeds) have it back afterwards. BatchNormalization couples the samples of a micro-batch,
so that its gradients depend on the micro-batch's size a little.
"""

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import keras
import numpy as np

from autobatch.protocol import (
    Differentiated,
    GradientMoments,
    Gradients,
    JobProgress,
    Target,
)
from autobatch.worker import data as user_data
from autobatch.worker.arrays import Arrays
from autobatch.worker.backends import Backend
from autobatch.worker.called import call_loader, takes_batch_size
from autobatch.worker.optimizer import optimizers, scale_learning_rates
from autobatch.worker.seeds import random_state_kept
from autobatch.worker.source import Source, rows_of_batch, steps_per_epoch
from autobatch.worker.target import build_model, fixed_batch_size, has_own
from autobatch.worker.tasks import given_rate
from autobatch.worker.tasks.watch import Watch, fit

GROUPS, GROUPS_OF_LARGE = 8, 4  # of micro-batches: the jackknife leaves out one at a time
LARGE_PARAMETERS = 50_000_000  # the groups' sums are on the device: as many as the model's weights
# Have `_velocities`, of squared gradients. Lamb has, too, but it scales each layer besides.
SQUARED = ("Adam", "AdamW", "Nadam", "RMSprop", "ScheduleFreeAdamW")


def run(
    task: Gradients, target: Target, backend: Backend, report: Callable[[JobProgress], None]
) -> Differentiated:
    again = called = call_loader(target, batch_size=task.micro_batch_size)
    if takes_batch_size(called.loader):
        # Last: it may set what is read now.
        called = call_loader(target, batch_size=task.batch_size)
    model = build_model(
        target,
        backend,
        seed=task.seed,
        batch_size=task.batch_size,
        learning_rate=given_rate.argument(task),
    )
    if reason := why_no_gradients(model):
        return Differentiated(moments=(), reason=reason)
    data = user_data.load(target, model, called, batch_size=task.batch_size, samples=0)
    micro = data.train
    if again is not called:
        size = task.micro_batch_size
        micro = user_data.load(target, model, again, batch_size=size, samples=0).train
    scale_learning_rates(model, task.learning_rate)
    # Else one execution may end both after the early measurement is due and after the late one.
    model.steps_per_execution = min(int(model.steps_per_execution), *task.measure_at)
    meter = _Meter(task, data.train, micro, target.class_weight, backend, report)
    fit(model, data, target, task.batch_size, meter)
    reason = "" if meter.found else "there were none, or not of finite numbers"
    return Differentiated(moments=tuple(meter.found), reason=reason)


def why_no_gradients(model: keras.Model) -> str | None:
    """Why the loss alone cannot be differentiated; None where it can."""
    if hasattr(model, "preprocess_samples"):
        return "the model prepares its samples in `fit` alone"
    if has_own(model, "train_step"):
        return (
            f"{type(model).__name__} has a train_step of its own: its loss cannot be had apart "
            "from it"
        )
    if fixed_batch_size(model) is not None:
        return "the model is built for one batch size"
    return None


class _Meter(Watch):
    """Measures at the steps asked, and stops at the last."""

    def __init__(
        self,
        task: Gradients,
        train: Source,
        micro: Source,
        class_weight: dict[int, float] | None,
        backend: Backend,
        report: Callable[[JobProgress], None],
    ) -> None:
        super().__init__(steps_per_epoch(train, task.batch_size))
        self.task, self.micro, self.backend, self.report = task, micro, backend, report
        self.class_weight = class_weight
        self.found: list[GradientMoments] = []
        self._due = sorted(task.measure_at)
        self._differentiate: Callable[[Any, float], list[Any]] | None = None
        self._scale = 1.0  # of the loss

    def stepped(self, steps: int, *, last: bool) -> None:
        while self._due and self.steps >= self._due[0]:
            self._due.pop(0)
            with random_state_kept():
                self._measure()
        self.done = not self._due

    def _measure(self) -> None:
        kept = [(v, keras.ops.convert_to_numpy(v)) for v in self.model.non_trainable_variables]
        scales = preconditioner(self.model)
        groups = GROUPS_OF_LARGE if self.model.count_params() > LARGE_PARAMETERS else GROUPS
        moments = _Moments(groups, scales)
        self._scale = float(self.model.optimizer.scale_loss(1.0))
        arguments = self._samples().fit_arguments(self.task.micro_batch_size)
        arguments |= {"class_weight": self.class_weight}
        size, count = self.task.micro_batch_size, 0
        for batch in self.backend.batches(arguments):  # one pass at most: distinct samples
            if rows_of_batch(batch) != size:
                continue  # the ragged one
            moments.add(count % groups, self._gradient(batch))
            count += 1
            total = self.task.micro_batches
            self.report(JobProgress(done=count, total=total))
            if count == total:
                break
        for variable, value in kept:
            variable.assign(value)
        found = moments.result(self.steps, size, self.task.training_samples)
        if count and np.isfinite([*found.squared_norms, *np.ravel(np.array(found.gram))]).all():
            self.found.append(found)

    def _samples(self) -> Source:
        """Of arrays that would be copied whole, no more than are needed, at random.

        Memory may have no room for a copy beside that which `fit` made.
        """
        if not (self.backend.COPIES_DATA and isinstance(self.micro, Arrays)):
            return self.micro
        needed = self.task.micro_batches * self.task.micro_batch_size
        if not self.micro.shuffled:
            return self.micro.part(needed)
        return replace(self.micro.spread(needed, seed=self.task.seed), shuffled=True)

    def _gradient(self, batch: Any) -> list[Any]:
        """With the loss scaled as in training, and by less from where half precision overflows."""
        if self._differentiate is None:
            self._differentiate = self.backend.gradients(self.model)
        found = self._differentiate(batch, self._scale)
        while self._scale > 1 and not np.isfinite(_product(found, found)):
            self._scale /= 2
            found = self._differentiate(batch, self._scale)
        return found


class _Moments:
    """Sums of gradients and of their squared norms, by group."""

    def __init__(self, groups: int, scales: list[Any] | None) -> None:
        self.scales = scales
        self.counts = [0] * groups
        self.squared_norms = [0.0] * groups
        self.sums: list[list[Any]] = [[] for _ in range(groups)]

    def add(self, group: int, gradient: list[Any]) -> None:
        if self.scales is not None:
            gradient = [g * s for g, s in zip(gradient, self.scales, strict=True)]
        self.counts[group] += 1
        self.squared_norms[group] += _product(gradient, gradient)
        before = self.sums[group]
        self.sums[group] = (
            [a + b for a, b in zip(before, gradient, strict=True)] if before else gradient
        )

    def result(self, step: int, batch_size: int, training_samples: int) -> GradientMoments:
        used = [k for k, count in enumerate(self.counts) if count]
        gram = [[_product(self.sums[i], self.sums[j]) for j in used] for i in used]
        return GradientMoments(
            step=step,
            batch_size=batch_size,
            micro_batches=tuple(self.counts[k] for k in used),
            squared_norms=tuple(self.squared_norms[k] for k in used),
            gram=tuple(map(tuple, gram)),
            training_samples=training_samples,
            preconditioned=self.scales is not None,
        )


def _product(one: list[Any], other: list[Any]) -> float:
    """Of two gradients; each weight's part in float32 on the device, their sum in float64."""
    parts = keras.ops.stack([keras.ops.sum(a * b) for a, b in zip(one, other, strict=True)])
    return float(np.sum(keras.ops.convert_to_numpy(parts), dtype="float64"))


def preconditioner(model: keras.Model) -> list[Any] | None:
    """1 / (sqrt(v) + epsilon) for each weight, as the optimizer has it now; None if it has none.

    Adam's correction of v's bias is one factor for all, which cancels in the noise scale.
    """
    found = list(optimizers(model).values())
    if len(found) != 1:
        return None
    optimizer, squares = found[0], _squares(found[0])
    if not squares or len(squares) != len(model.trainable_weights):
        return None
    inside = type(optimizer).__name__ == "RMSprop"  # where it adds epsilon
    return [
        keras.ops.cast(_inverse_root(each, optimizer.epsilon, inside), "float32")
        for each in squares
    ]


def _squares(optimizer: Any) -> list[Any]:
    """Whose roots it divides gradients by; none where it does not."""
    kind = type(optimizer).__name__
    if kind == "Adamax":  # keeps what the others take the root for
        return [keras.ops.square(each) for each in getattr(optimizer, "_u", [])]
    if kind not in SQUARED:
        return []
    if getattr(optimizer, "amsgrad", False):
        return list(getattr(optimizer, "_velocity_hats", []))
    velocities = list(getattr(optimizer, "_velocities", []))
    if getattr(optimizer, "centered", False):
        means = getattr(optimizer, "_average_gradients", [])
        return [v - keras.ops.square(mean) for v, mean in zip(velocities, means, strict=True)]
    return velocities


def _inverse_root(squares: Any, epsilon: float, inside: bool) -> Any:
    """0 where no gradient has come yet (rows of an embedding): it would be 1 / epsilon there."""
    safe = keras.ops.maximum(squares, 1e-30)
    root = keras.ops.sqrt(safe + epsilon) if inside else keras.ops.sqrt(safe) + epsilon
    return keras.ops.where(squares > 0, 1.0 / root, 0.0)
