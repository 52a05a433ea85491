"""The loader, called before the model is built, as in a script: it may set what that reads."""

import inspect
import time
import traceback
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from autobatch.protocol import Target
from autobatch.worker import globals
from autobatch.worker.kept import SLOW_SECONDS, kept
from autobatch.worker.mistakes import TargetError
from autobatch.worker.seeds import random_state, set_seed, shuffle_by
from autobatch.worker.target import arguments, find_callable
from autobatch.worker.trackers import switch_off_autologging


@dataclass
class Called:
    """What the user's loader returned, until it is taken."""

    loader: Any  # None: they have none
    value: Any = None
    seconds: float | None = None  # None: it was not called, but kept
    import_seconds: float = 0.0  # of the module that builds the model
    changed: set[str] | None = None  # globals that it set; None: what it returned is not to be kept
    parameters: int | None = None  # of the model, where it was called and that is known
    draw_alike: Callable[[], None] = lambda: None  # what it draws next is what it drew then


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
    loader = _find_loader(target)
    switch_off_autologging()
    if loader is None:
        return Called(None, import_seconds=import_seconds)
    path = Path(target.kept_data) if target.kept_data else None
    known = kept(path) if path and not anew else None
    if known is not None:
        return Called(loader, known.value, parameters=known.parameters)
    if anew or shuffle_seed is not None:
        shuffle_by(shuffle_seed)
    before = globals.marks(target) if path and anew else None
    began, draw_alike = time.perf_counter(), random_state()
    value = load_for(loader, target, batch_size)
    seconds = time.perf_counter() - began
    called = Called(loader, value, seconds, import_seconds, draw_alike=draw_alike)
    if before is not None and seconds >= SLOW_SECONDS:
        called.changed = globals.changed(before, target)
    return called


def load_for(loader: Any, target: Target, batch_size: int) -> Any:
    """What the user's loader returns, told the batch size if it takes one."""
    return loader(**arguments(loader, target, {"batch_size": batch_size}, role="data"))


def called_again(target: Target, called: Called, size: int, *, instead_of: int) -> Any:
    """What the loader returns for batches of `size`; None where it is not to be asked.

    That is where it sets what the model or a step of it reads: this stays as it is for batches of
    `instead_of`; and where it fails, as for want of memory for the data twice. What it splits at
    random is split as before, and what is drawn later is the same.
    """

    def value_at(size: int) -> Any:
        set_seed(target.seed)
        called.draw_alike()
        return load_for(called.loader, target, size)

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
    if target.model.partition(":")[0].endswith(".keras"):
        return None
    return find_callable(target, "model")


def takes_batch_size(function: Any) -> bool:
    """Of the builder or the loader: whether it is made for the batch size. None takes none."""
    return function is not None and "batch_size" in inspect.signature(function).parameters


def _find_loader(target: Target) -> Any:
    if target.data is None:
        return None
    try:
        return find_callable(target, "data")
    except TargetError:
        if target.data_is_optional:
            return None
        raise
