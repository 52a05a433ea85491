"""What all measurements watch `fit` with: steps counted, and an end that only we decide."""

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import Any

import keras

from autobatch.protocol import Target
from autobatch.worker import cache_files
from autobatch.worker.callbacks import nothing_saved, users_callbacks
from autobatch.worker.data import Data
from autobatch.worker.mistakes import UserError
from autobatch.worker.pydatasets import end_workers
from autobatch.worker.target import can_evaluate
from autobatch.worker.tracing import BuiltBefore


class Watch(keras.callbacks.Callback):
    """Counts steps; with `steps_per_execution`, Keras calls it once for several.

    An epoch may have more steps than it is told: a dataset that does not know its size was counted
    for some seconds. `steps_per_epoch` then grows with them, until the epoch ends.

    It is the last of the callbacks, so that none of the user's (EarlyStopping) ends a measurement.
    """

    def __init__(self, steps_per_epoch: int) -> None:
        super().__init__()
        self.steps_per_epoch = steps_per_epoch
        self.users: list[Any] = []  # callbacks of theirs, before this one
        self.validation_logs: dict[str, float] = {}  # last seen, for them
        self.steps = 0
        self.epoch = 0
        self.done = False
        self._first = 0  # step of the epoch that the execution begins with
        self._epoch_steps = 0
        self._grows = False

    def on_epoch_begin(self, epoch: int, logs: Any = None) -> None:
        self.epoch, self._epoch_steps = epoch, 0

    def on_train_batch_begin(self, batch: int, logs: Any = None) -> None:
        self._first = batch

    def on_train_batch_end(self, batch: int, logs: Any = None) -> None:
        self.executed(batch)

    def executed(self, batch: int) -> None:
        """Steps up to `batch` of this epoch."""
        goes_on = not self._grows and self._first >= self.steps_per_epoch
        if goes_on or self._grows:
            self.steps_per_epoch, self._grows = batch + 2, True  # one more, at least
        # The last execution of an epoch may have fewer steps than Keras says.
        ran = max(1, min(batch, self.steps_per_epoch - 1) - self._first + 1)
        self.steps += ran
        self._epoch_steps += ran
        self.stepped(ran, last=batch >= self.steps_per_epoch - 1)
        if goes_on:
            self.goes_on()
        self.end_if_done()

    def on_epoch_end(self, epoch: int, logs: Any = None) -> None:
        if self._epoch_steps == 0:
            raise UserError(f"The training data had no batch in epoch {epoch + 1}.")
        self.epoch_ended()
        if self._grows:
            self.steps_per_epoch, self._grows = self._epoch_steps, False
        self.end_if_done()

    def end_if_done(self) -> None:
        """Or go on, whatever the user's callbacks have set before this."""
        # Not by `model`, at which JAX writes all of its state back, and reads it again.
        if self._model.stop_training != self.done:
            self._model.stop_training = self.done

    def stepped(self, steps: int, *, last: bool) -> None:
        """After an execution of `steps` steps; `last`: of the epoch, as far as its size is known"""

    def goes_on(self) -> None:
        """After the first step beyond what was taken for the last of the epoch."""

    def epoch_ended(self) -> None:
        """After the last step, and validation if there is any."""


class Unwaited(Watch):
    """Counts steps as they are begun, by the function that `fit` executes.

    For an `on_train_batch_end` that must not be called in a thread, Keras would wait for the logs
    of each step, which on JAX and PyTorch it otherwise does not: there steps are begun, and nothing
    says when they have ended but the backend's `synchronise`. `stepped` is called within that
    function: the model is not to be used there, on JAX its state is on the way.
    """

    async_safe = True

    def __init__(self, steps_per_epoch: int) -> None:
        super().__init__(steps_per_epoch)
        self._train_function: Any = None
        self._is_begun = False  # by `fit`, not a callback's train_on_batch

    def on_train_batch_begin(self, batch: int, logs: Any = None) -> None:
        super().on_train_batch_begin(batch, logs)
        self._is_begun = True
        # A callback of the user's may have made it anew.
        if self._model.train_function != self._watched:
            self._train_function = self._model.train_function
            self._model.train_function = self._watched

    def _watched(self, *arguments: Any) -> Any:
        is_begun, self._is_begun = self._is_begun, False  # also where there is no batch left
        found = self._train_function(*arguments)
        if is_begun:
            self.executed(self._first + self._model.steps_per_execution - 1)
        return found

    def on_train_batch_end(self, batch: int, logs: Any = None) -> None:
        """After the user's, which may have ended the training."""
        self.end_if_done()

    def on_train_end(self, logs: Any = None) -> None:
        if self._model.train_function == self._watched:
            self._model.train_function = self._train_function


def validates(data: Data, model: keras.Model) -> bool:
    """Whether the user's training does. Who gives no data will, on samples as those of training."""
    return (data.has_validation or data.source == "synthetic") and can_evaluate(model)


@contextmanager
def apart(unsaved: Iterable[str]) -> Iterator[None]:
    """Within, `fit` runs: what was before goes on no more, and nothing of it is there after it.

    Callbacks write no models, and read neither these nor the files `unsaved` by who is left out.
    """
    _end_what_was_left()
    keras.config.disable_traceback_filtering()  # which clear_session() turns on again
    with nothing_saved(unsaved):
        yield
    _end_what_was_left()


def _end_what_was_left() -> None:
    """Of epochs that were left before their end, in this process."""
    end_workers()
    cache_files.let_go()


def fit(
    model: keras.Model,
    data: Data,
    target: Target,
    batch_size: int,
    watch: Watch,
) -> None:
    """The user's own training, with their callbacks but those left out, until `watch` ends it.

    It does not validate; callbacks see logs as if it did.
    """
    logs = watch.validation_logs if validates(data, model) else None
    watch.users, unsaved = users_callbacks(target, batch_size, validation_logs=logs)
    arguments = data.train.fit_arguments(batch_size)
    before = [BuiltBefore(arguments)] if keras.config.backend() == "tensorflow" else []
    with apart(unsaved):
        model.fit(
            **arguments,
            class_weight=target.class_weight,
            epochs=1_000_000_000,
            verbose=0,
            callbacks=[*watch.users, *before, watch],
        )
