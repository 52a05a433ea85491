"""The loader, called before the model is built, as in a script: it may set what that reads.

What is slow in it may stand in a `load_once()` of its own, whose result the loader is given.
"""

import inspect
import time
import traceback
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from autobatch.protocol import Target, changed, split
from autobatch.units import format_bytes, format_duration
from autobatch.worker import globals, seeds
from autobatch.worker.kept import (
    IN_ONCE,
    SLOW_SECONDS,
    kept,
    mapped_bytes,
    read_parameters,
    told_again,
    written,
)
from autobatch.worker.mistakes import TargetError
from autobatch.worker.seeds import random_state, random_state_kept, set_seed, shuffle_by
from autobatch.worker.target import arguments, find_callable
from autobatch.worker.trackers import switch_off_autologging

LOADED, ONCE = "loaded", "load_once"  # the loader's parameter, and the function that makes it
READ = "what the model is built from, or what the loader reads"


class Once:
    """What `load_once()` beside the loader returns: out of its file, or else by calling it.

    Each time it is as at first, whatever was written into it, or drawn at random, since.
    """

    def __init__(self, target: Target, reference: str) -> None:
        self.target, self.reference = target, reference
        self.function = find_callable(changed(target, data=reference), "data")
        self.path = Path(f"{target.kept_data}-once") if target.kept_data else None
        self.seconds = 0.0  # that calling it took
        self.saved_seconds = 0.0  # of this process, by the processes after it
        self.mapped_bytes = 0  # by each of them
        self.why_not: str | None = None  # where it is not in the file
        self.sets_what_is_read = False  # by the model or the loader, as far as is known
        self._draw_alike = random_state()
        self._fresh: list[Any] = []  # what it returned, and nobody was given yet

    @property
    def is_kept(self) -> bool:
        return self.path is not None and self.path.exists()

    def __call__(self) -> Any:
        if self.path is not None and self.is_kept:
            return kept(self.path)
        return self._fresh.pop() if self._fresh else self._called()

    def keep(self) -> None:
        """Have it in the file, if it can be."""
        assert self.path is not None
        before, began = globals.marks(self.target), time.perf_counter()
        value = self._called()
        self.seconds = time.perf_counter() - began
        sets = globals.changed(before, self.target)
        self.sets_what_is_read = globals.sets_what_is_read(self.target, sets, once=self.reference)
        if self.sets_what_is_read:
            self.path.unlink(missing_ok=True)
            self.why_not = f"it sets {READ}"
        else:
            self.why_not = written(value, self.path, self.seconds)
        self.saved_seconds = time.perf_counter() - began
        if self.why_not:
            self._fresh.append(value)
            self.saved_seconds -= self.seconds
        else:
            self.mapped_bytes = mapped_bytes(value, is_pickled=True)

    def note(self, loaded: Any) -> str | None:
        """A sentence for the user where that is worth one, of whom the loader returned `loaded`."""
        if self.seconds < SLOW_SECONDS:
            return None
        if self.why_not:
            return f"{told_again(self.reference, self.seconds, loaded)}: {self.why_not}."
        assert self.path is not None
        took, size = format_duration(self.seconds), format_bytes(self.path.stat().st_size)
        return f"{self.reference} took {took}; what it returned ({size}) is kept for this run."

    def _called(self) -> Any:
        put_back = random_state()
        self._draw_alike()
        value = self.function(**arguments(self.function, self.target, {}, role=ONCE))
        put_back()
        return value


@dataclass
class Called:
    """What the user's loader returned, until it is taken."""

    loader: Any  # None: they have none
    once: Once | None = None  # what it is given that is loaded once
    value: Any = None
    seconds: float | None = None  # None: it was not called, but kept
    import_seconds: float = 0.0  # of the module that builds the model
    changed: set[str] | None = None  # globals that it set; None: it was quick
    notes: tuple[str, ...] = ()  # on a loader that was passed over
    parameters: int | None = None  # of the model that was built after what is kept was loaded
    draw_alike: Callable[[], None] = lambda: None  # what it draws next is what it drew then
    shuffle_alike: Callable[[], None] = lambda: None  # the same of seeds of its shuffles

    def why_again(self, target: Target) -> str | None:
        """Why the loader is called in every process, whatever it returns."""
        if self.changed is not None and globals.sets_what_is_read(target, self.changed):
            built = "it sets what the model is built from"
            return f"{built}. What is slow would be paid once {IN_ONCE}"
        if self.once is not None and self.once.sets_what_is_read:
            return f"{self.once.reference} sets {READ}"
        return None


@seeds.generators_seeded()
def call_loader(
    target: Target, *, batch_size: int, anew: bool = False, shuffle_seed: int | None = None
) -> Called:
    """What the user's modules and loader draw at random is the same in every process of a run.

    With `anew` the loader is called for certain, where else what it returned may be kept.
    """
    set_seed(target.seed)
    began = time.perf_counter()
    builder_of(target)  # it is to be there, before anything that may take long
    import_seconds = time.perf_counter() - began
    loader, notes = _find_loader(target)
    switch_off_autologging()
    if loader is None:
        return Called(None, import_seconds=import_seconds, notes=notes)
    path = Path(target.kept_data) if target.kept_data else None
    built = read_parameters(path) if path and not anew else None
    if path and not anew and path.exists():
        return Called(loader, value=kept(path), parameters=built)
    called = Called(loader, _find_once(target, loader), import_seconds=import_seconds)
    if called.once is not None and called.once.is_kept:
        called.parameters = built
    if anew or shuffle_seed is not None:
        called.shuffle_alike = shuffle_by(shuffle_seed)
    if path and anew and called.once is not None:
        called.once.keep()
    before = globals.marks(target) if path and anew else None
    called.draw_alike, began = random_state(), time.perf_counter()
    called.value = load_for(called, target, batch_size)
    seconds = time.perf_counter() - began
    took = seconds + (called.once.seconds if called.once is not None else 0.0)
    called.seconds = took if _is_called_by_it_alone(called) else seconds
    if before is not None and took >= SLOW_SECONDS:
        called.changed = globals.changed(before, target)
    return called


def _is_called_by_it_alone(called: Called) -> bool:
    """Whether what cannot be kept is not called, either, where what its loader makes of it is."""
    once = called.once
    cannot = once is not None and once.why_not is not None and not once.sets_what_is_read
    return cannot and not takes_batch_size(called.loader)


@seeds.generators_seeded()
def load_for(called: Called, target: Target, batch_size: int) -> Any:
    """What the user's loader returns, told the batch size and given what is loaded once."""
    offered: dict[str, Any] = {"batch_size": batch_size}
    if called.once is not None:
        offered[LOADED] = called.once()
    return called.loader(**arguments(called.loader, target, offered, role="data"))


def load_again(called: Called, target: Target, batch_size: int) -> Any:
    """The next pass: what is split at random is split as before, and drawn on where it was."""
    with random_state_kept():
        called.draw_alike()
        with seeds.drawing_anew():
            return load_for(called, target, batch_size)


def called_again(target: Target, called: Called, size: int, *, instead_of: int) -> Any:
    """What the loader returns for batches of `size`; None where it is not to be asked.

    That is where it sets what the model or a step of it reads: this stays as it is for batches of
    `instead_of`; and where it fails, as for want of memory for the data twice. What it splits at
    random is split as before, and what is drawn later is the same.
    """

    def value_at(size: int) -> Any:
        set_seed(target.seed)
        called.draw_alike()
        called.shuffle_alike()
        return load_for(called, target, size)

    if globals.sets_what_is_read(target, set()):  # a layer
        return None
    put_back, before = random_state(), globals.marks(target)
    try:
        value = value_at(size)
    except Exception:  # the first call did not: what the user's training needs is there
        traceback.print_exc()
        value = None
    if globals.sets_what_is_read(target, globals.changed(before, target)):
        value_at(instead_of)
        value = None
    put_back()
    return value


def builder_of(target: Target) -> Any:
    """The callable that builds the model; None where it is saved."""
    if split(target.model)[0].endswith(".keras"):
        return None
    return find_callable(target, "model")


def parameters_of(function: Any) -> Mapping[str, inspect.Parameter]:
    """Of the builder or the loader, by name. None has none."""
    return {} if function is None else inspect.signature(function).parameters


def takes_batch_size(function: Any) -> bool:
    """Of the builder or the loader: whether it is made for the batch size."""
    return "batch_size" in parameters_of(function)


def _find_once(target: Target, loader: Any) -> Once | None:
    """None where the loader has no parameter for it, or a default, and nothing to load once."""
    parameter = inspect.signature(loader).parameters.get(LOADED)
    if parameter is None or target.data is None:
        return None
    source = split(target.data)[0]
    try:
        return Once(target, f"{source}:{ONCE}")
    except TargetError:
        if parameter.default is not parameter.empty:
            return None
        raise TargetError(
            f"data: {target.data} has a parameter `{LOADED}`, and {source} no function `{ONCE}`.",
            hint=f"Write `def {ONCE}():` beside it: what that returns, once in a run, is given to "
            f"it as `{LOADED}`. Or give the parameter a default.",
        ) from None


def _find_loader(target: Target) -> tuple[Any, tuple[str, ...]]:
    """(None where they have none, what is told of one that is not theirs)"""
    if target.data is None:
        return None, ()
    try:
        found = find_callable(target, "data")
    except TargetError:
        if target.data_is_optional:
            return None, ()
        raise
    if not target.data_is_optional or not str(found.__module__).startswith("keras."):
        return found, ()
    source, name = split(target.data)
    return None, (
        f"The {name} in {source} is Keras' own, which knows nothing of how you prepare your data, "
        "and is not called. Write yours, or name the function that loads them: "
        f"--set data={source}:FUNCTION.",
    )
