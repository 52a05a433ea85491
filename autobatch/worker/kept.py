"""What a slow loader returned, kept in a file for the processes to come: loading is paid once.

Only arrays can be kept (and tuples, lists and dicts of them): they are memory-mapped, so that a
process reads what it uses, from memory that all processes share.
"""

import dis
import inspect
import shutil
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from types import CodeType, FunctionType, ModuleType
from typing import Any

import joblib
import keras
import numpy as np

from autobatch.units import format_bytes, format_duration
from autobatch.worker.source import are_texts, bytes_of

SLOW_SECONDS = 1.0  # a loader that takes longer is worth it
SPARE_SHARE = 0.5  # of the free disk space that may be taken


SETTERS = {"adapt", "set_vocabulary"}  # of Keras' preprocessing layers


@dataclass
class _Globals:
    """Of a function of the user's, and of those of its module that it calls."""

    read: set[str] = field(default_factory=set)
    stored: set[str] = field(default_factory=set)
    names: set[str] = field(default_factory=set)  # all, of attributes, too
    seen: set[Any] = field(default_factory=set)

    def look_at(self, function: Any) -> None:
        function = inspect.unwrap(function) if callable(function) else None
        if not isinstance(function, FunctionType) or function in self.seen:
            return
        self.seen.add(function)
        codes = [function.__code__]
        for code in codes:
            codes += [each for each in code.co_consts if isinstance(each, CodeType)]
            self.names |= {*code.co_names}
            for each in dis.get_instructions(code):
                if each.opname == "STORE_GLOBAL":
                    self.stored.add(each.argval)
                if each.opname == "LOAD_GLOBAL":
                    found = function.__globals__.get(each.argval)
                    if getattr(found, "__module__", None) == function.__module__:
                        self.look_at(found)
                    if not isinstance(found, FunctionType | ModuleType | type):
                        self.read.add(each.argval)


def sets_what_is_read(loader: Callable[..., Any], builder: Callable[..., Any]) -> bool:
    """Whether a loader sets what the model is built from: a global, or the state of a layer."""
    one, other = _Globals(), _Globals()
    one.look_at(loader)
    other.look_at(builder)
    is_adapted = bool(SETTERS & one.names) and bool(one.read & other.read)
    return is_adapted or bool(one.stored & other.read)


def keep(
    loaded: Any,
    path: Path,
    seconds: float,
    source: str,
    *,
    is_for_one_size: bool,
    is_called_again: bool,
) -> str | None:
    """Keep what took `seconds` to load. Returns a sentence for the user where that is worth one.

    What was asked for with a batch size may be another with the next one.
    """
    path.unlink(missing_ok=True)
    if seconds < SLOW_SECONDS:
        return None
    told = f"{source} took {format_duration(seconds)}"
    every, leaves = "it is called again in each process", keras.tree.flatten(loaded)
    if any(isinstance(leaf, Iterator) for leaf in leaves):
        every += ", and whenever a generator of it has ended"
    if is_called_again:
        return f"{told}, and {every}, since it sets what the model is built from."
    if is_for_one_size or not all(map(_is_array, leaves)):
        return f"{told}, and {every}. Of arrays, without batch_size, that would be paid once."
    needed = bytes_of(loaded)
    aside = path.with_suffix(".tmp")
    try:
        if needed > SPARE_SHARE * shutil.disk_usage(path.parent).free:
            return f"{told}, and {every}: the disk has no room to keep {format_bytes(needed)}."
        joblib.dump(loaded, aside)
        aside.replace(path)
    except OSError as error:
        aside.unlink(missing_ok=True)
        return f"{told}, and {every}: its arrays could not be kept ({error.strerror})."
    return f"{told}; its arrays ({format_bytes(needed)}) are kept for the processes of this run."


def kept(path: Path) -> Any:
    """What was kept there, memory-mapped; None if nothing was."""
    # Copy-on-write: what the user's code writes into its arrays stays in its process.
    return joblib.load(path, mmap_mode="c") if path.exists() else None


def _is_array(leaf: Any) -> bool:
    return leaf is None or (
        isinstance(leaf, np.ndarray) and (leaf.dtype != object or are_texts(leaf))
    )
