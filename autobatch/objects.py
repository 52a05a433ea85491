"""Python objects as a target: what a script or a notebook defines, put where workers find it.

A function of another module is pickled by its name, one of the script or notebook itself with its
code and what it refers to. Workers import a small file beside the pickle, like any other target.
"""

import hashlib
import inspect
import io
import json
import os
import pickle
import re
import sys
from collections.abc import Callable
from pathlib import Path
from tempfile import TemporaryDirectory
from types import FunctionType, SimpleNamespace
from typing import Any

import cloudpickle
from cloudpickle.cloudpickle import _DYNAMIC_CLASS_TRACKER_BY_ID as TRACKED_CLASSES

from autobatch.engine.runs import RUNS
from autobatch.errors import FromOption, UsageError
from autobatch.locator import at_home
from autobatch.protocol import PASSED, split

FOLDER = "objects"  # beside the runs
WHAT = {"build_model": "The model", "load_data": "The data", "load_once": "What is loaded once"}
NAMING = ("data", "callbacks")  # keys of a recipe whose values name a function in a file
LIBRARIES = ("builtins", "jax", "keras", "numpy", "tensorflow", "torch")  # Keras finds these
# One pickle: its functions share their globals, as they do where they are defined.
FILE = '''"""What was passed to autobatch in Python, for its workers to import."""

import pickle
import sys
from pathlib import Path

sys.path.extend(path for path in {paths} if path not in sys.path)
{passed} = True
globals().update(pickle.loads(Path(__file__).with_suffix(".pickle").read_bytes()))  # {digest}
'''


def target_of(model: object, data: object, run_directory: Path | None) -> str:
    """The TARGET, as one would type it, of a path or of objects.

    `model` is a path, a function that returns the compiled model, or the compiled model itself;
    `data`, for the latter two, a function that loads it, or (train, validation) as it returns them.
    Raises UsageError for what cannot be sent to another process.
    """
    if isinstance(model, str | Path):
        if data is not None:
            raise UsageError(
                f"data= was given beside {model}, a path: it goes with a function or a model.",
                hint='Name the function: overrides=["data=train.py:load_data"], or `data:` in the '
                "recipe. Or pass a function as the model, too.",
            )
        return str(model)
    given = {"build_model": model} | ({} if data is None else {"load_data": data})
    if (once := _loads_once(data)) is not None:
        given["load_once"] = once
    functions, digests = {}, {}
    for name, each in given.items():
        functions[name], digests[name] = _sent(each, WHAT[name])
    digest = hashlib.sha256("".join(digests.values()).encode()).hexdigest()[:16]
    # A Path may be in it, which the import system passes over.
    paths = [path for path in sys.path if path and isinstance(path, str)]
    text = FILE.format(paths=paths, digest=digest, passed=PASSED)
    named = hashlib.sha256(text.encode()).hexdigest()[:8]  # what other runs read stays as it is
    folder = (run_directory.parent if run_directory else RUNS) / FOLDER / named
    try:
        folder.mkdir(parents=True, exist_ok=True)
        _replace(folder / "python.pickle", _pickled(functions))
        _replace(folder / "python.py", text.encode())
    except OSError as error:
        raise UsageError(
            f"Cannot write into {folder}: {error.strerror}.",
            hint='Give another directory: run_directory="...".',
        ) from None
    return f"{folder / 'python.py'}:build_model"


def seen_from_here(setting: str) -> str:
    """A `key=value` over a recipe: a file that it names lies where the script runs, not beside
    what is put for the workers."""
    key, _, value = setting.partition("=")
    reference = value.strip(" \"'")
    if key.strip() not in NAMING or not split(reference)[0].endswith(".py"):
        return setting
    there = json.dumps(str(at_home(Path(reference)).absolute()), ensure_ascii=False)
    return FromOption(f"{key}={there}", typed=f"--set {setting}")


def _loads_once(data: Any) -> object:
    """The `load_once` beside the function that loads their data, if it is given what that loads."""
    function = _function(data)
    if function is None or "loaded" not in inspect.signature(data).parameters:
        return None
    once = function.__globals__.get("load_once")
    is_given = "loaded" in getattr(data, "keywords", {})  # by a partial()
    return once if callable(once) and not is_given else None


def _function(given: Any) -> FunctionType | None:
    """What is called in the end, through decorators, partial(), methods and objects."""
    if not callable(given):
        return None
    for name in ("__wrapped__", "__func__", "func"):
        if hasattr(given, name):
            return _function(getattr(given, name))
    called = given if isinstance(given, FunctionType) else type(given).__call__
    return called if isinstance(called, FunctionType) else None


def _replace(path: Path, content: bytes) -> None:
    """At once: the workers of another run may be reading the same."""
    aside = path.with_suffix(f".{os.getpid()}")
    aside.write_bytes(content)
    aside.replace(path)


def _sent(given: Any, what: str) -> tuple[Callable[..., Any], str]:
    """(the function that workers call, a digest of what it is or returns)"""
    try:
        if callable(given) and not hasattr(given, "fit"):  # a model is callable, too
            return given, _digest(given)
        return _afresh(given), _digest(given)
    except Exception as error:  # of any type: what cannot be pickled says so in its own way
        name = getattr(given, "__name__", type(given).__name__)
        raise UsageError(
            f"{what} ({name}) cannot be sent to another process: {error}.",
            hint="Pass a function that makes it, with all it needs made inside, or the file that "
            "has it: train.py.",
        ) from None


def _digest(contents: Any) -> str:
    """The same for the same, whenever and in whichever process."""
    digest = hashlib.sha256()
    _Contents(SimpleNamespace(write=digest.update)).dump(contents)
    return digest.hexdigest()


class _Contents(cloudpickle.Pickler):  # type: ignore[misc]  # it has no types
    """Pickles without what differs between processes that have the same code and data."""

    def persistent_id(self, value: Any) -> object:
        """What is written in place of `value`, unless that is None."""
        if type(value) in (set, frozenset):  # in an order of their own in each process
            return [type(value), sorted(value, key=repr)]
        if _is_saveable(value):
            return [_saved(value), _state(value), _own(value)]
        if type(value) is str:
            if value in TRACKED_CLASSES:  # drawn at random for each class
                return "class"
            if "ipykernel_" in value:  # the file of a notebook's cell: of the kernel's process
                return re.sub("ipykernel_[0-9]+", "", value)
        return None


class _Pickler(cloudpickle.Pickler):  # type: ignore[misc]  # it has no types
    """Pickles Keras' objects with what of the user's they are made of."""

    def reducer_override(self, value: Any) -> Any:
        """How `value` is pickled, or NotImplemented for as usual."""
        if _is_saveable(value):
            return _afresh(value), ()
        return super().reducer_override(value)


def _pickled(given: object) -> bytes:
    with io.BytesIO() as file:
        _Pickler(file).dump(given)
        return file.getvalue()


def _is_saveable(given: object) -> bool:
    """Whether Keras pickles it by saving it: models, layers, losses, metrics and optimizers."""
    return hasattr(type(given), "_unpickle_model")


def _afresh(given: Any) -> Callable[[], Any]:
    """A function that returns what was given, another copy each time.

    Keras finds classes and functions of the user's by name, and workers run no decorator again.
    It is pickled with its code, since it is defined in here: workers need not import this module.
    """
    if not _is_saveable(given):
        pickled = _pickled(given)
        return lambda: pickle.loads(pickled)
    unpickle, (file,) = given.__reduce__()
    saved, own = file.getvalue(), _own(given)

    def load() -> Any:
        with sys.modules["keras"].saving.custom_object_scope(own):
            return unpickle(io.BytesIO(saved))

    return load


def _saved(value: Any) -> str:
    return repr(sys.modules["keras"].saving.serialize_keras_object(value))


def _parts(value: Any) -> list[Any]:
    """Itself and, where it has any, its layers."""
    return list(value._flatten_layers()) if hasattr(value, "_flatten_layers") else [value]


def _state(value: Any) -> list[Any]:
    """What its parts save of themselves: variables, and files, such as of a vocabulary.

    Not all that Keras saves of it, which has the time, and what the metrics of a model counted.
    """
    found: list[Any] = []
    to_numpy = sys.modules["keras"].ops.convert_to_numpy
    for part in _parts(value):
        variables: dict[str, Any] = {}
        if hasattr(part, "save_own_variables"):
            part.save_own_variables(variables)
        found.append({name: to_numpy(each) for name, each in variables.items()})
        if hasattr(part, "save_assets"):
            with TemporaryDirectory() as folder:
                part.save_assets(folder)
                files = sorted(path for path in Path(folder).rglob("*") if path.is_file())
                found.append({path.name: path.read_bytes() for path in files})
    return found


def _own(value: Any) -> dict[str, Any]:
    """The user's classes and functions that it is made of, by the names that it is saved with.

    They are those of its layers and of what it is compiled with, and of these' own attributes.
    """
    keras, saved = sys.modules["keras"], _saved(value)
    compiled = getattr(value, "_compile_config", None)
    parts = _parts(value) + keras.tree.flatten(compiled.config if compiled else [])
    found = {}
    for part in parts:
        for each in (part, *getattr(part, "__dict__", {}).values()):
            one = each if isinstance(each, FunctionType) else type(each)
            if one.__module__.split(".")[0] not in LIBRARIES:
                for name in (one.__name__, keras.saving.get_registered_name(one)):
                    if repr(name) in saved:
                        found[name] = one
    return found
