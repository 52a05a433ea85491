"""The globals of the user's modules: which of them their loader changes, and what code names them.

What the model is built from is not known before it is built; so that code counts for all globals
that it names, in whatever way: by itself, or through functions, classes and objects of the user's.
"""

import logging
from collections import deque
from collections.abc import Iterable, Iterator
from contextlib import suppress
from functools import partial
from itertools import chain, islice
from types import CellType, CodeType, FunctionType, MethodType, ModuleType
from typing import Any

import keras
import numpy as np

from autobatch.protocol import Target
from autobatch.worker.frames import FRAMEWORKS, users_modules
from autobatch.worker.target import find_callable

LOOKS = 5000  # values in one global that are looked at, nearest first: it may be of any size
SAMPLE = 256  # values of an array: it may be a file
# Of layers, whose weights are not looked at.
SETTERS = {"adapt", "set_vocabulary", "fit", "train_on_batch", "set_weights", "load_weights"}

PLAIN = (type(None), bool, int, float, complex, str, bytes, np.generic)
CONTAINERS = (dict, list, tuple, set, frozenset, deque)
REFERRING = (FunctionType, MethodType, partial, staticmethod, classmethod, property)
REFERENCES = (  # of these to others
    *("__wrapped__", "__closure__", "__defaults__", "__kwdefaults__", "__func__", "__self__"),
    *("func", "args", "keywords", "fget"),
)
# They change as they are used; and not what is built from them.
OPAQUE = (ModuleType, keras.layers.Layer, logging.Logger)

Marks = dict[tuple[str, str], list[Any]]  # by module and name


def marks(target: Target) -> Marks:
    """Of all globals, by which `changed` tells which are not what they were."""
    spaces = _spaces(target)
    return {
        (module, name): _mark(value, spaces)
        for module, space in spaces.items()
        for name, value in list(space.items())
        if not isinstance(value, ModuleType) and not name.startswith("__")
    }


def changed(before: Marks, target: Target) -> set[str]:
    """Names of globals, of modules that were there, that are new or not what they were."""
    modules = {module for module, _ in before}
    return {
        name
        for (module, name), mark in marks(target).items()
        if module in modules and before.get((module, name)) != mark
    }


def sets_what_is_read(target: Target, changed: set[str]) -> bool:
    """Whether the loader sets what the model and callbacks are made from: a global, or a layer."""
    if target.callbacks:
        find_callable(target, target.callbacks, role="callbacks")  # whose module may not be there
    spaces = _spaces(target)
    read = _named([target.model, target.callbacks], spaces)
    if changed & read:
        return True
    loading = _named([target.data], spaces)
    return bool(SETTERS & loading) and any(
        isinstance(each, keras.layers.Layer)
        for name in read & loading
        for space in spaces.values()
        for each in _within(space.get(name), spaces)
    )


def _spaces(target: Target) -> dict[str, dict[str, Any]]:
    """The globals of the user's modules, and of those of the packages that the target names."""
    named = [target.model, target.data, target.callbacks]
    packages = {reference.partition(":")[0].partition(".")[0] for reference in named if reference}
    return {module.__name__: vars(module) for module in users_modules(packages)}


def _named(references: Iterable[str | None], spaces: dict[str, dict[str, Any]]) -> set[str]:
    """All names in the code that is named so, and in what that code names, and so on."""
    found: set[str] = set()
    waiting = [each.rpartition(":")[2] for each in references if each and ":" in each]
    while waiting:
        name = waiting.pop()
        if name not in found:
            found.add(name)
            for space in spaces.values():
                for each in _within(space.get(name), spaces):
                    if isinstance(each, FunctionType) and each.__module__ in spaces:
                        waiting += _names_in(each.__code__)
    return found


def _names_in(code: CodeType) -> Iterator[str]:
    """Of globals and attributes, and texts, by which a global can be got, too."""
    yield from code.co_names
    for each in code.co_consts:
        if isinstance(each, str):
            yield each
        elif isinstance(each, CodeType):
            yield from _names_in(each)


def _mark(value: Any, spaces: dict[str, Any]) -> list[Any]:
    """The same for the same value, as far as it is looked at."""
    return [_mark_of_one(each) for each in _within(value, spaces)]


def _mark_of_one(value: Any) -> Any:
    if isinstance(value, PLAIN):
        return type(value), value
    if isinstance(value, np.ndarray):
        some = value.flat[:: max(1, value.size // SAMPLE)]
        return id(value), value.shape, str(value.dtype), some.tobytes()
    return (type(value), len(value)) if isinstance(value, CONTAINERS) else id(value)


def _within(value: Any, spaces: dict[str, Any]) -> Iterator[Any]:
    """It, and what it consists of, nearest first: LOOKS at most."""
    waiting, seen = deque([value]), dict[int, Any]()
    looks = 0
    while waiting and looks < LOOKS:
        looks += 1
        each = waiting.popleft()
        if isinstance(each, PLAIN):
            yield each
        elif id(each) not in seen:
            seen[id(each)] = each
            yield each
            waiting.extend(_parts(each, spaces))


def _parts(value: Any, spaces: dict[str, Any]) -> Iterator[Any]:
    is_users = getattr(value, "__module__", None) in spaces
    if isinstance(value, CONTAINERS):
        items = chain.from_iterable(value.items()) if isinstance(value, dict) else value
        yield from list(islice(items, LOOKS))  # at once: a thread of theirs may change it
    if isinstance(value, CellType):
        with suppress(ValueError):  # it is empty
            yield value.cell_contents
    if isinstance(value, REFERRING) and (is_users or not isinstance(value, FunctionType)):
        yield from (getattr(value, name, None) for name in REFERENCES)
    if isinstance(value, type):
        yield from (value.__bases__, dict(vars(value))) if is_users else ()
        return
    if is_users:
        yield type(value)
    attributes = getattr(value, "__dict__", {})
    if not _is_opaque(value):
        yield dict(attributes)
    elif "__wrapped__" in attributes:  # a tf.function
        yield attributes["__wrapped__"]


def _is_opaque(value: Any) -> bool:
    package = type(value).__module__.partition(".")[0]
    return isinstance(value, OPAQUE) or package in FRAMEWORKS or package == "keras"
