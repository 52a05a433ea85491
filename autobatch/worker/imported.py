"""The user's modules, imported from files or by name. One that trains meanwhile is refused.

`users_file.py` sees before anything runs what trains plainly; this is for all else: methods of a
class, `app.run(main)`, or a module that theirs imports.
"""

import importlib
import importlib.util
import sys
import traceback
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import ModuleType
from typing import Any

import keras

from autobatch.worker.mistakes import TargetError


def imported(source: str, folder: Path) -> ModuleType:
    """The module of a file in the folder, or of that name."""
    with _nothing_trained():
        return _file(folder / source) if source.endswith(".py") else _module(source)


@contextmanager
def _nothing_trained() -> Iterator[None]:
    """Within, no model trains: each process that measures would, and write over what that saves."""
    keras_own = keras.Model.make_train_function  # which `fit` and `train_on_batch` both begin with

    def refuse(*_: Any, **__: Any) -> None:
        frames = (frame for frame, _ in traceback.walk_stack(None))
        at = next(frame for frame in frames if frame.f_code.co_name == "<module>")
        raise TargetError(
            f"{Path(at.f_code.co_filename).name} trains when it is imported (line {at.f_lineno}), "
            "and every process that measures imports it.",
            hint='Put what trains under `if __name__ == "__main__":`.',
        )

    keras.Model.make_train_function = refuse
    try:
        yield
    finally:
        keras.Model.make_train_function = keras_own


def _file(path: Path) -> ModuleType:
    if not path.is_file():
        there = sorted(p.name for p in path.parent.glob("*.py")) if path.parent.is_dir() else []
        raise TargetError(
            f"There is no file {path}.",
            hint=f"Python files in {path.parent}: {', '.join(there) or 'none'}.",
        )
    name = path.stem
    if name in sys.modules and getattr(sys.modules[name], "__file__", None) == str(path):
        return sys.modules[name]
    sys.path.insert(0, str(path.parent))
    specification = importlib.util.spec_from_file_location(name, path)
    assert specification is not None and specification.loader is not None
    module = importlib.util.module_from_spec(specification)
    sys.modules[name] = module  # as an import would: its classes can be pickled and saved
    specification.loader.exec_module(module)
    flags = sys.modules.get("absl.flags")
    if flags is not None and not flags.FLAGS.is_parsed():
        flags.FLAGS.mark_as_parsed()  # all have their defaults
    return module


def _module(name: str) -> ModuleType:
    try:
        return importlib.import_module(name)
    except ModuleNotFoundError as error:
        if error.name is None or not f"{name}.".startswith(f"{error.name}."):
            raise  # the module is there; something it imports is not
        raise TargetError(
            f"There is no module {name}.",
            hint="Give a file (train.py:build_model) or a module importable from here.",
        ) from None
