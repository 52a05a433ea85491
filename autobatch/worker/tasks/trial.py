"""One short training run of one candidate: a given number of steps, evaluated at given steps.

Steps, not seconds: the same seed gives the same trial whatever else the machine does. The tuner
buys steps with training time at the measured rate.
"""

import hashlib
import math
import time
from collections.abc import Callable
from functools import partial
from typing import Any

import keras

from autobatch.protocol import Diverged, Evaluation, JobProgress, Target, Trained, Trial, changed
from autobatch.worker import batch_norm
from autobatch.worker import data as user_data
from autobatch.worker.arrays import Arrays
from autobatch.worker.backends import Backend, adapter
from autobatch.worker.held import held
from autobatch.worker.mistakes import UserError
from autobatch.worker.optimizer import change_settings
from autobatch.worker.sample import groups, sample
from autobatch.worker.seeds import random_state_kept, seed_of_training, set_seed, shuffle_arrays_by
from autobatch.worker.sharpness import sharpness
from autobatch.worker.source import Source, bytes_of, draws_ahead, steps_per_epoch
from autobatch.worker.target import (
    can_evaluate,
    fixed_batch_size,
    has_own,
    recurrent_states,
    scalars,
)
from autobatch.worker.tasks import given_rate
from autobatch.worker.tasks.prepared import prepared
from autobatch.worker.tasks.watch import Unwaited, fit

STATISTICS_SAMPLES = 256  # for BatchNormalization: as dear as the training, with a thousand
EXECUTIONS = 50  # of a trial, at least
HASHED = 1024  # numbers of each weight
KEPT_SHARE = 0.01  # of the memory limit, held while training: peaks differ by more from run to run


def run(
    task: Trial, target: Target, backend: Backend, report: Callable[[JobProgress], None]
) -> Trained | Diverged:
    model, data = prepared(
        target,
        backend,
        task.batch_size,
        seed=task.seed,
        learning_rate=given_rate.argument(task),
        validates=True,
        validation_samples=task.validation_samples,
        validation_size=task.built_validation_size,
    )
    if data.validation is None:
        raise UserError("There are no validation samples to rank trials by.")
    if not can_evaluate(model):
        raise UserError(
            f"{type(model).__name__} has a train_step of its own and nothing to evaluate it by.",
            hint="Give it a test_step that returns {'loss': ...}, which trials are ranked by.",
        )
    given_rate.give(model, task)
    change_settings(model, task.settings)
    compiled, few = int(model.steps_per_execution), max(1, task.steps // EXECUTIONS)
    if compiled > few:  # so that it is evaluated about where it is asked to be
        model.steps_per_execution = few
        model.test_function = None  # one made before has as many steps as were compiled
    fixed = fixed_batch_size(model)
    evaluated = fixed or task.validation_batch_size
    stream = getattr(data.train, "stream", None)
    if stream is not None:
        stream.look()
    inputs: list[Any] = []
    if batch_norm.can_reestimate(model):
        most = max(1, STATISTICS_SAMPLES // target.replicas) * target.replicas
        size = fixed or min(most, evaluated)
        found = groups(data.train, max(most, size), size, backend)
        inputs = [keras.utils.unpack_x_y_sample_weight(batch)[0] for batch in found]
        inputs = inputs if batch_norm.is_called_with(model, inputs[0]) else []
    if not inputs:
        batch_norm.forget_as_fast(model, task.batch_ratio)
    most_bytes = KEPT_SHARE * (task.limit_bytes or math.inf) if target.replicas == 1 else 0
    of_host = math.inf if target.device == "gpu" and target.replicas == 1 else most_bytes
    validation = held(data.validation, of_host, seed=task.seed)
    given = evaluated_again(model, validation, evaluated, most_bytes)
    watch = _Evaluator(task, data, given, inputs, backend, report)
    set_seed(seed_of_training(task.seed))  # the user's code may have set another
    shuffle_arrays_by(task.seed, lambda: watch.epoch)
    # Where batches are shuffled, the smaller one may be compiled for anywhere in an epoch.
    is_paced = data.train.kind != "PyDataset" or data.train.count % task.batch_size == 0
    with given_rate.kept(model, task):
        fit(model, data, target, task.batch_size, watch)
        backend.synchronise()
    if watch.diverged_at is not None:
        return Diverged(step=watch.diverged_at, evaluations=tuple(watch.evaluations))
    given_rate.refuse_other_updates(model, task, watch.steps)
    trained = Trained(
        evaluations=tuple(watch.evaluations),
        steps=watch.steps,
        train_seconds=time.perf_counter() - watch.began - watch.paused_seconds,
        evaluation_seconds=watch.evaluation_seconds,
        as_compiled=compiled <= few and is_paced,
        start=watch.start,
    )
    if not task.sharpness:
        return trained
    watch.epoch = 0  # all settings have the same batch
    for weight, value in watch.weights:  # else what a callback, or `use_ema`, has left at the end
        weight.assign(value)
    set_seed(task.seed)
    # Drawn only now that the trial is over: that it is asked for changes nothing.
    batches = partial(sample, data.train, evaluated, backend, target.class_weight)
    return changed(trained, sharpness=sharpness(model, batches, backend))


def evaluated_again(
    model: keras.Model, validation: Source, batch_size: int, most_bytes: float
) -> dict[str, Any]:
    """What `evaluate` is given, each time.

    Of arrays TensorFlow makes a tf.data.Dataset, which takes longer than to go through a few of
    them. It is made once, as in `fit`, where they have no more bytes: they are then held.
    """
    given = validation.fit_arguments(batch_size)
    given.pop("shuffle", None)
    if (
        keras.config.backend() == "tensorflow"
        and not has_own(model, "evaluate")
        and isinstance(validation, Arrays)
        and bytes_of((validation.x, validation.y, validation.sample_weight)) <= most_bytes
    ):
        import tensorflow as tf

        made = adapter(given | {"shuffle": False})
        counted = tf.data.experimental.assert_cardinality(made.num_batches)
        return {"x": made.get_tf_dataset().apply(counted)}
    return given


def hash_of_weights(model: keras.Model) -> str:
    found = hashlib.sha256()
    for each in model.trainable_weights:
        found.update(keras.ops.convert_to_numpy(each).ravel()[:HASHED].tobytes())
    return found.hexdigest()[:16]


class _Evaluator(Unwaited):
    """Evaluates after the steps asked, stops at the last, or when a loss is no longer finite.

    That is before the next step, or at the epoch's end. With `steps_per_execution`, at the ends of
    the executions that these steps are in.
    """

    def __init__(
        self,
        task: Trial,
        data: user_data.Data,
        validation: dict[str, Any],
        inputs: list[Any],
        backend: Backend,
        report: Callable[[JobProgress], None],
    ) -> None:
        super().__init__(steps_per_epoch(data.train, task.batch_size))
        self.task, self.inputs, self.report = task, inputs, report
        self.backend, self.validation = backend, validation
        self.evaluations: list[Evaluation] = []
        self.weights: list[tuple[Any, Any]] = []  # with their values as last evaluated
        self.diverged_at: int | None = None
        self.start = ""  # of training, by its weights
        self.began = time.perf_counter()
        self.paused_seconds = self.evaluation_seconds = 0.0
        self._due = set(task.evaluate_at)
        self._is_due = False
        self.stream = getattr(data.train, "stream", None)
        self.draws_ahead = draws_ahead(data.train)
        self._is_ragged_new = data.train.count % task.batch_size > 0  # and compiled for its shape
        self._step_began = 0.0

    def on_train_begin(self, logs: Any = None) -> None:
        if self.stream is not None:
            self.stream.begin()
        if 0 in self._due:
            self._evaluate()  # which builds them
        self.start = hash_of_weights(self.model)

    def on_train_batch_begin(self, batch: int, logs: Any = None) -> None:
        self._evaluate_if_due()
        super().on_train_batch_begin(batch, logs)
        self._step_began = time.perf_counter()

    def epoch_ended(self) -> None:
        self._evaluate_if_due()

    def _evaluate_if_due(self) -> None:
        if self._is_due and self.diverged_at is None:
            self._evaluate()
        self._is_due = False

    def stepped(self, steps: int, *, last: bool) -> None:
        before = self.steps - steps
        now = time.perf_counter()
        if before == 0:
            # Tracing and compilation are not training, nor is the evaluation before it.
            self.began, self.paused_seconds, self.evaluation_seconds = now, 0.0, 0.0
        elif last and self._is_ragged_new:
            self.paused_seconds += now - self._step_began
        self._is_ragged_new = self._is_ragged_new and not last
        if not self._due.isdisjoint(range(before + 1, self.steps + 1)):
            self._is_due = True
        self.done = self.done or self.steps >= self.task.steps

    def _evaluate(self) -> None:
        self.backend.synchronise()
        paused = time.perf_counter()
        states = recurrent_states(self.model)
        kept = [state.numpy() for state in states]
        # A mode that PyTorch's modules are in; `fit` sets it once an epoch.
        trains = keras.config.backend() == "torch" and self.model.training
        # SwapEMAWeights, say: in `fit` validation is of averages. Untrained, there are none yet.
        users = self.users if self.steps else []
        # Sizes differ in when they look. (What is drawn ahead meanwhile would be drawn once more.)
        with random_state_kept(unless=self.draws_ahead):
            for each in users:
                each.on_test_begin({})
            if self.task.sharpness:
                self.weights = [
                    (weight, keras.ops.convert_to_numpy(weight))
                    for weight in self.model.trainable_weights
                ]
            with batch_norm.reestimated(self.model, self.inputs):
                logs = self.model.evaluate(**self.validation, verbose=0, return_dict=True)
            for each in users:
                each.on_test_end(logs)
        if trains:
            self.model.train()
        for state, value in zip(states, kept, strict=True):
            state.assign(value)  # of stateful layers: the validation is not part of the training
        self.model.reset_metrics()  # the epoch goes on; its metrics are not the validation's
        metrics = {f"val_{name}": value for name, value in scalars(logs).items()}
        if not metrics:
            raise UserError("The validation data has no batch, or the model reports no metric.")
        self.validation_logs.update(metrics)
        watched = [metrics["val_loss"]] if "val_loss" in metrics else metrics.values()
        if all(map(math.isfinite, watched)):
            finite = {name: value for name, value in metrics.items() if math.isfinite(value)}
            self.evaluations.append(Evaluation(step=self.steps, metrics=finite))
        else:
            self.diverged_at = self.steps
            self.done = True
        seen = self.evaluations[-1].metrics if self.diverged_at is None else {}
        self.report(JobProgress(done=self.steps, total=self.task.steps, metrics=seen))
        seconds = time.perf_counter() - paused
        self.paused_seconds += seconds
        self.evaluation_seconds += seconds
