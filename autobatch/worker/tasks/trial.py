"""One short training run of one candidate: a given number of steps, evaluated at given steps.

Steps, not seconds: the same seed gives the same trial whatever else the machine does. The tuner
buys steps with training time at the measured rate.
"""

import math
import time
from collections.abc import Callable
from typing import Any

import keras

from autobatch.protocol import Diverged, Evaluation, JobProgress, Target, Trained, Trial
from autobatch.worker import data as user_data
from autobatch.worker.backends import Backend
from autobatch.worker.mistakes import UserError
from autobatch.worker.optimizer import base_optimizer, batch_norm_layers, scale_learning_rate
from autobatch.worker.target import build_model


def run(
    task: Trial, target: Target, backend: Backend, report: Callable[[JobProgress], None]
) -> Trained | Diverged:
    keras.utils.set_random_seed(task.seed)
    model = build_model(target, batch_size=task.batch_size, learning_rate=task.learning_rate)
    data = user_data.load(target, model, samples=0)
    if data.validation is None:
        raise UserError("There are no validation samples to rank trials by.")
    if task.learning_rate_factor != 1:
        scale_learning_rate(base_optimizer(model), task.learning_rate, task.learning_rate_factor)
    for layer in batch_norm_layers(model):
        layer.momentum **= task.batch_norm_exponent
    watch = _Evaluator(task, data.validation, report)
    model.fit(
        **data.train.fit_arguments(),
        batch_size=task.batch_size,
        epochs=-(-task.steps // -(-data.train.count // task.batch_size)),
        verbose=0,
        callbacks=[watch],
    )
    backend.synchronise()
    if watch.diverged_at is not None:
        return Diverged(step=watch.diverged_at, evaluations=tuple(watch.evaluations))
    return Trained(
        evaluations=tuple(watch.evaluations),
        steps=watch.steps,
        train_seconds=time.perf_counter() - watch.began - watch.paused_seconds,
        peak_bytes=backend.peak_bytes(),
    )


class _Evaluator(keras.callbacks.Callback):
    """Evaluates at the steps asked, stops at the last, or when a loss is no longer finite."""

    def __init__(
        self,
        task: Trial,
        validation: user_data.Samples,
        report: Callable[[JobProgress], None],
    ) -> None:
        super().__init__()
        self.task, self.validation, self.report = task, validation, report
        self.evaluations: list[Evaluation] = []
        self.steps = 0
        self.diverged_at: int | None = None
        self.began = time.perf_counter()
        self.paused_seconds = 0.0
        self._due = set(task.evaluate_at)

    def on_train_begin(self, logs: Any = None) -> None:
        if 0 in self._due:
            self._evaluate()

    def on_train_batch_end(self, batch: int, logs: Any = None) -> None:
        self.steps += 1
        if self.steps == 1:
            self.began = time.perf_counter()  # tracing and compilation are not training
        if self.steps in self._due:
            self._evaluate()
        if self.steps >= self.task.steps:
            self.model.stop_training = True

    def _evaluate(self) -> None:
        paused = time.perf_counter()
        logs = self.model.evaluate(
            **self.validation.fit_arguments(),
            batch_size=self.task.validation_batch_size,
            verbose=0,
            return_dict=True,
        )
        self.model.reset_metrics()  # the epoch goes on; its metrics are not the validation's
        metrics = {f"val_{name}": float(value) for name, value in logs.items()}
        if math.isfinite(metrics["val_loss"]):
            self.evaluations.append(Evaluation(step=self.steps, metrics=metrics))
        else:
            self.diverged_at = self.steps
            self.model.stop_training = True
        self.report(JobProgress(done=self.steps, total=self.task.steps))
        self.paused_seconds += time.perf_counter() - paused
