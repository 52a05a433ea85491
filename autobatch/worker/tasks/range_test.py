"""The baseline trained with a learning rate that grows until it breaks down.

In a process of its own, so that no weight or state of it is anybody else's.
"""

import math
import traceback
from collections.abc import Callable
from typing import Any

from autobatch.protocol import JobProgress, Ranged, RangeTest, Target
from autobatch.worker.backends import Backend
from autobatch.worker.frames import no_memory
from autobatch.worker.optimizer import (
    grow_learning_rates,
    optimizers,
    scale_learning_rates,
    steps_made,
)
from autobatch.worker.source import steps_per_epoch
from autobatch.worker.tasks import given_rate
from autobatch.worker.tasks.prepared import prepared
from autobatch.worker.tasks.watch import Watch, fit


def run(
    task: RangeTest, target: Target, backend: Backend, report: Callable[[JobProgress], None]
) -> Ranged:
    size, given = task.batch_size, given_rate.argument(task)
    model, data = prepared(target, backend, size, seed=task.seed, learning_rate=given)
    scale_learning_rates(model, task.learning_rate)
    ratio = (task.highest_factor / task.lowest_factor) ** (1 / max(1, task.steps - 1))
    grow_learning_rates(model, task.lowest_factor, ratio)
    model.steps_per_execution = 1  # the loss of every step is looked at
    starts = [(each, steps_made(each)) for each in optimizers(model).values()]

    def factor() -> float:
        """By the steps that were counted: loss scaling skips some, and one may have no weights."""
        counted = max(steps_made(each) - start for each, start in starts)
        return float(task.lowest_factor * ratio**counted)

    watch = _Losses(task, factor, steps_per_epoch(data.train, size), report)
    try:
        fit(model, data, target, size, watch)
    except Exception as error:  # a check of the user's may have raised where it breaks down
        is_of_memory = no_memory(error) or backend.out_of_memory_evidence(error)
        if not watch.losses or is_of_memory:
            raise
        traceback.print_exc()
        watch.broke_down = True
    factors, losses = tuple(watch.factors), tuple(watch.losses)
    return Ranged(factors=factors, losses=losses, broke_down=watch.broke_down)


class _Losses(Watch):
    """Keeps the loss of each batch alone, and the factor on the rate that it is trained with.

    Stops at the last step, or where the loss is not finite.
    """

    def __init__(
        self,
        task: RangeTest,
        factor: Callable[[], float],
        steps_per_epoch: int,
        report: Callable[[JobProgress], None],
    ) -> None:
        super().__init__(steps_per_epoch)
        self.task, self.factor, self.report = task, factor, report
        self.factors: list[float] = []
        self.losses: list[float] = []
        self.broke_down = False
        self._factor = math.nan  # of the step that runs

    def on_train_batch_begin(self, batch: int, logs: Any = None) -> None:
        super().on_train_batch_begin(batch, logs)
        self.model.reset_metrics()  # else the loss told is the mean of the epoch so far
        self._factor = self.factor()

    def on_train_batch_end(self, batch: int, logs: Any = None) -> None:
        loss = float((logs or {}).get("loss", math.nan))
        if math.isfinite(loss):
            self.losses.append(loss)
            self.factors.append(self._factor)
        else:
            self.broke_down = True
        super().on_train_batch_end(batch, logs)

    def stepped(self, steps: int, *, last: bool) -> None:
        self.report(JobProgress(done=self.steps, total=self.task.steps))
        self.done = self.steps >= self.task.steps or self.broke_down
