"""The globals of the user's modules: which of them their loader changes, and what code names them.

What the model is built from is not known before it is built; so that code counts for all globals
that it names, in whatever way: by itself, or through functions, classes and objects of the user's.
"""

import logging
from collections import defaultdict, deque
from collections.abc import Iterable, Iterator, Mapping
from contextlib import suppress
from functools import partial
from inspect import unwrap
from itertools import chain, islice
from types import CellType, CodeType, FunctionType, MethodType, ModuleType
from typing import Any

import keras
import numpy as np

from autobatch.protocol import Target, split
from autobatch.worker.frames import FRAMEWORKS, named_packages, users_modules
from autobatch.worker.target import find_callable

# How much is looked at, nearest first, in one thing and in all: there may be any amount.
LOOKS, LOOKS_IN_ALL = 5000, 200_000
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

# What was looked at, by where it is (a module's global, or an object's id): its own mark, and its
# parts', which are values where they are plain, and ids.
Key = tuple[str, str] | int
Marks = dict[Key, tuple[Any, list[Any]]]


def marks(target: Target) -> Marks:
    """Of all globals and what they consist of, by which `changed` tells what is not as it was."""
    spaces = _spaces(target)
    globals_ = {
        (module, name): value
        for module, space in spaces.items()
        for name, value in list(space.items())
        if not isinstance(value, ModuleType) and not name.startswith("__")
    }
    found: Marks = {(module, ""): (None, []) for module in spaces}  # that they are there
    found |= {key: (None, [_reference(value)]) for key, value in globals_.items()}
    waiting = deque(globals_.values())
    held: list[Any] = []  # so that no id is another's meanwhile
    looks = 0
    while waiting and looks < LOOKS_IN_ALL:
        each = waiting.popleft()
        if not isinstance(each, PLAIN) and id(each) not in found:
            held.append(each)
            parts = list(_parts(each, spaces))
            looks += len(parts)
            found[id(each)] = (_mark(each), [_reference(part) for part in parts])
            waiting.extend(parts)
    return found


def changed(before: Marks, target: Target) -> set[str]:
    """Names of globals, of modules that were there, that are new or not what they were."""
    modules = {key[0] for key in before if isinstance(key, tuple)}
    after = {
        key: mark
        for key, mark in marks(target).items()
        if not isinstance(key, tuple) or key[0] in modules
    }
    wholes: defaultdict[Key, list[Key]] = defaultdict(list)
    for key, (_, parts) in after.items():
        for part in parts:
            if isinstance(part, int):
                wholes[part].append(key)
    found: set[Key] = set()
    waiting = [
        key
        for key, mark in after.items()
        if (before[key] != mark if key in before else isinstance(key, tuple))
    ]
    while waiting:
        key = waiting.pop()
        if key not in found:
            found.add(key)
            waiting += wholes[key]
    return {key[1] for key in found if isinstance(key, tuple)}


def sets_what_is_read(target: Target, changed: set[str], *, once: str | None = None) -> bool:
    """Whether the loader sets what the model and callbacks are made from: a global, or a layer.

    Or the function `once` that is called before the loader, which may read what it sets, too.
    """
    spaces = _spaces(target)
    read = _named([target.model, target.callbacks, target.data if once else None], spaces)
    if changed & read:
        return True
    loading = _named([once or target.data], spaces)
    return bool(SETTERS & loading) and any(
        isinstance(each, keras.layers.Layer)
        for name in read & loading
        for space in spaces.values()
        for each in _within(space.get(name), spaces, {})
    )


def _spaces(target: Target) -> dict[str, dict[str, Any]]:
    """The globals of the user's modules, and of those of the packages that the target names.

    And of the functions that it names, wherever they are: those of a script or a notebook are in no
    module here.
    """
    modules = users_modules(named_packages(target))
    spaces = {module.__name__: vars(module) for module in modules}
    for role in ("model", "data", "callbacks"):
        if split(getattr(target, role) or "")[1]:
            function = _function(find_callable(target, role))
            if isinstance(function, FunctionType):
                spaces.setdefault(function.__module__, function.__globals__)
    return spaces


def _function(called: Any) -> Any:
    if isinstance(called, type):
        called = called.__init__  # type: ignore[misc]  # only where it is written is asked
    while not isinstance(called, FunctionType):
        for name in ("__wrapped__", "__func__", "func"):
            if hasattr(called, name):
                called = getattr(called, name)
                break
        else:
            return type(called).__call__
    return unwrap(called)


def _named(references: Iterable[str | None], spaces: dict[str, dict[str, Any]]) -> set[str]:
    """All names in the code that is named so, and in what that code names, and so on."""
    values = defaultdict(list)
    for name, value in chain.from_iterable(list(space.items()) for space in spaces.values()):
        values[name].append(value)
    found: set[str] = set()
    seen: dict[int, Any] = {}
    waiting = [name for each in references if (name := split(each or "")[1])]
    while waiting:
        name = waiting.pop()
        if name not in found:
            found.add(name)
            for each in chain.from_iterable(_within(v, spaces, seen) for v in values[name]):
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


def _mark(value: Any) -> Any:
    """Of what is no plain value, without its parts: the same for the same."""
    if isinstance(value, np.ndarray):
        some = value.flat[:: max(1, value.size // SAMPLE)]
        return value.shape, str(value.dtype), some.tobytes()
    return (type(value), len(value)) if isinstance(value, CONTAINERS) else type(value)


def _reference(value: Any) -> Any:
    """To a part: the same for the same."""
    return (type(value), value) if isinstance(value, PLAIN) else id(value)


def _within(value: Any, spaces: dict[str, Any], seen: dict[int, Any]) -> Iterator[Any]:
    """It, and what it consists of, nearest first and LOOKS at most, without what was `seen`."""
    waiting = deque([value])
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
        yield from _items(value) if isinstance(value, dict) else list(islice(value, LOOKS))
    if isinstance(value, CellType):
        with suppress(ValueError):  # it is empty
            yield value.cell_contents
    if isinstance(value, REFERRING) and (is_users or not isinstance(value, FunctionType)):
        yield from (getattr(value, name, None) for name in REFERENCES)
    if isinstance(value, type):
        yield from (*value.__bases__, *_items(vars(value))) if is_users else ()
        return
    if is_users:
        yield type(value)
    attributes = getattr(value, "__dict__", {})
    if not _is_opaque(value):
        yield from _items(attributes)
        if is_users:
            yield from (getattr(value, name, None) for name in _slots(value))
    elif "__wrapped__" in attributes:  # a tf.function
        yield attributes["__wrapped__"]


def _slots(value: Any) -> Iterator[str]:
    for kind in type(value).__mro__:
        names = vars(kind).get("__slots__", ())
        for name in (names,) if isinstance(names, str) else names:
            is_private = name.startswith("__") and not name.endswith("__")
            yield f"_{kind.__name__.lstrip('_')}{name}" if is_private else name


def _items(values: Mapping[Any, Any]) -> list[Any]:
    """Keys and values, at once: a thread of theirs may change it."""
    return list(chain.from_iterable(islice(values.items(), LOOKS)))


def _is_opaque(value: Any) -> bool:
    package = type(value).__module__.partition(".")[0]
    return isinstance(value, OPAQUE) or package in FRAMEWORKS or package == "keras"
