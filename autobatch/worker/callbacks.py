"""The recipe's callbacks, made afresh for each job; and which of them a measurement leaves out."""

import re
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from math import inf
from pathlib import Path
from typing import Any

import keras
from keras.src.legacy.saving import legacy_h5_format
from keras.src.saving import saving_lib

from autobatch.protocol import Target
from autobatch.worker.mistakes import UserError
from autobatch.worker.target import arguments, find_callable, scalars

# They would write over the files of the user's own training, or continue from them.
WRITERS = ("ModelCheckpoint", "OrbaxCheckpoint", "BackupAndRestore", "CSVLogger", "TensorBoard")
# They set the learning rate, which is what a trial is about; elsewhere it does not matter, and they
# are written for as many epochs as the user trains.
RATE_SETTERS = ("LearningRateScheduler", "ReduceLROnPlateau")
EPOCHS = 100  # looked at for the highest rate of a LearningRateScheduler


class ValidationLogs(keras.callbacks.Callback):
    """Gives the callbacks after it the `val_` logs that they may read where nothing is validated.

    Those `known`, of the last validation; else the training's. A validation, if of one batch alone,
    would have to be kept out of what is measured: seconds, memory, random numbers, samples drawn.
    """

    def __init__(self, known: dict[str, float]) -> None:
        super().__init__()
        self._known = known
        self._compiled: dict[str, float] = {}

    def on_epoch_end(self, epoch: int, logs: Any = None) -> None:
        if epoch == 0:  # a train_step of the user's own may report fewer than a validation does
            self._compiled = scalars(self.model.get_metrics_result())
        self._add(logs)

    def on_train_end(self, logs: Any = None) -> None:
        self._add(logs)

    def _add(self, logs: dict[str, Any] | None) -> None:
        if logs is not None:  # it is one for all callbacks
            seen = self._compiled | logs
            logs |= {f"val_{name}": value for name, value in seen.items()} | self._known


# What all that saves a model ends in, also `from keras.saving import save_model`.
SAVERS: tuple[tuple[Any, str], ...] = (
    (saving_lib, "save_model"),
    (saving_lib, "save_weights_only"),
    (legacy_h5_format, "save_model_to_hdf5"),
    (keras.Model, "export"),
)
LOADERS: tuple[tuple[Any, str], ...] = (
    (saving_lib, "load_weights_only"),
    (keras.Model, "load_weights"),  # which itself opens a file of an older format
)


@contextmanager
def nothing_saved(files: Iterable[str]) -> Iterator[None]:
    """Within, callbacks of the user's own write no model over their files, and read none back.

    Nor those `files`, which callbacks that are left out would have written.
    """
    unsaved = {_pattern(file) for file in files}
    kept = {where: getattr(*where) for where in (*SAVERS, *LOADERS)}

    def skip(model: keras.Model, filepath: Any, *_: Any, **__: Any) -> None:
        unsaved.add(re.escape(_place(filepath)))

    def less_unsaved(load: Any) -> Any:
        def loads(model: keras.Model, filepath: Any, *more: Any, **named: Any) -> None:
            if not any(re.fullmatch(each, _place(filepath)) for each in unsaved):
                load(model, filepath, *more, **named)

        return loads

    try:
        for where, function in kept.items():
            setattr(*where, less_unsaved(function) if where in LOADERS else skip)
        yield
    finally:
        for where, function in kept.items():
            setattr(*where, function)


def _place(filepath: Any) -> str:
    return str(Path(str(filepath)).resolve())


def _pattern(filepath: Any) -> str:
    """Of the files of a checkpoint, whose name may have fields such as {epoch:02d}."""
    return ".*".join(map(re.escape, re.split(r"{[^{}]*}", _place(filepath))))


def users_callbacks(
    target: Target,
    batch_size: int,
    *,
    validation_logs: dict[str, float] | None = None,
) -> tuple[list[Any], list[str]]:
    """The callbacks, less those that write files or set the learning rate; and files of models.

    With `validation_logs`, even of none that are known yet, they see some. The files are what a
    checkpoint that is left out would have written.
    """
    made = made_callbacks(target, batch_size)
    kept = [each for each in made if not _is_one_of(each, (*WRITERS, *RATE_SETTERS))]
    files = [each.filepath for each in made if each not in kept and hasattr(each, "filepath")]
    if not kept or validation_logs is None:
        return kept, files
    return [ValidationLogs(validation_logs), *kept], files  # that very dict, which grows


def made_callbacks(target: Target, batch_size: int) -> list[Any]:
    if target.callbacks is None:
        return []
    maker = find_callable(target, "callbacks")
    made = maker(**arguments(maker, target, {"batch_size": batch_size}, role="callbacks"))
    if not isinstance(made, (list, tuple)) or not all(
        isinstance(each, keras.callbacks.Callback) for each in made
    ):
        raise UserError(
            f"{target.callbacks} did not return a list of Keras callbacks.",
            hint="Return a list such as [keras.callbacks.EarlyStopping()].",
        )
    return list(made)


def scheduler(made: list[Any], rate: float | None) -> tuple[str | None, float | None]:
    """(class name, highest rate) of a LearningRateScheduler; else None, and the `rate` compiled.

    None, too, of one that only goes on from the rate that there is: one that is set is its start.
    """
    for callback in made:
        if rate is not None and _is_one_of(callback, ("LearningRateScheduler",)):
            rates, names_any = [rate], False
            with suppress(Exception):  # it may need a training; or is for as many epochs as theirs
                for epoch in range(EPOCHS):
                    rates.append(_rate(callback, epoch, rates[-1]))
                    other = 2 * max(rates)  # it has not been there
                    names_any |= _rate(callback, epoch, other) == rates[-1] and 0 < rates[-1] < inf
            if names_any:
                return type(callback).__name__, max(rates[1:])
    return None, rate


def _rate(callback: Any, epoch: int, rate: float) -> float:
    """As Keras asks for it."""
    try:
        found = callback.schedule(epoch, rate)
    except TypeError:  # it takes the epoch alone
        found = callback.schedule(epoch)
    return float(f"{float(keras.ops.convert_to_numpy(found)):.7g}")


def rate_setters(made: list[Any]) -> tuple[str, ...]:
    """Class names of those that are left out, since they set the learning rate."""
    return tuple(_names(made, RATE_SETTERS))


def callback_notes(made: list[Any], *, averages: bool) -> tuple[str, ...]:
    """What is told of the callbacks that are left out. `averages`: an optimizer has use_ema."""
    notes = []
    writers = _names(made, WRITERS)
    if writers:
        notes.append(
            f"Callbacks left out, since they would write over your files: {', '.join(writers)}."
        )
    if setters := rate_setters(made):
        notes.append(f"Callbacks left out, since they set the learning rate: {', '.join(setters)}.")
    if _names(made, ("EarlyStopping",)):
        notes.append("EarlyStopping does not end a measurement: every one runs to its end.")
    if averages and not _names(made, ("SwapEMAWeights",)):
        notes.append(
            "Trials are evaluated as fit validates, by the weights and not by their averages "
            "(use_ema); with keras.callbacks.SwapEMAWeights() in `callbacks`, by the averages."
        )
    return tuple(notes)


def _names(made: list[Any], kinds: tuple[str, ...]) -> list[str]:
    return [type(each).__name__ for each in made if _is_one_of(each, kinds)]


def _is_one_of(callback: Any, kinds: tuple[str, ...]) -> bool:
    known = (getattr(keras.callbacks, name, None) for name in kinds)  # an older Keras lacks some
    return isinstance(callback, tuple(filter(None, known)))
