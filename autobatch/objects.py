"""Python objects as a target: what a script or a notebook defines, put where workers find it.

A function of another module is pickled by its name, one of the script or notebook itself with its
code and what it refers to. Workers import a small file beside the pickles, like any other target.
"""

import hashlib
import os
import pickle
import re
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from autobatch.engine.runs import RUNS
from autobatch.errors import UsageError

FOLDER = "objects"  # beside the runs
FILE = '''"""What was passed to autobatch in Python, for its workers to import."""

import pickle
import sys
from pathlib import Path

sys.path.extend(path for path in {paths} if path not in sys.path)
'''
FUNCTION = (
    '{name} = pickle.loads((Path(__file__).parent / "{name}.pickle").read_bytes())  # {digest}\n'
)


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
    pickles = {"build_model": _pickled(model, "the model")}
    if data is not None:
        pickles["load_data"] = _pickled(data, "the data")
    digests = {
        name: _digest(given, pickles[name])
        for name, given in (("build_model", model), ("load_data", data))
        if name in pickles
    }
    name = hashlib.sha256("".join(digests.values()).encode()).hexdigest()[:8]
    folder = (run_directory.parent if run_directory else RUNS) / FOLDER / name
    text = FILE.format(paths=[path for path in sys.path if path])
    text += "".join(FUNCTION.format(name=each, digest=digest) for each, digest in digests.items())
    try:
        folder.mkdir(parents=True, exist_ok=True)
        for each, pickled in pickles.items():
            _replace(folder / f"{each}.pickle", pickled)
        _replace(folder / "python.py", text.encode())
    except OSError as error:
        raise UsageError(
            f"Cannot write into {folder}: {error.strerror}.",
            hint='Give another directory: run_directory="...".',
        ) from None
    return f"{folder / 'python.py'}:build_model"


def _replace(path: Path, content: bytes) -> None:
    """At once: the workers of another run may be reading the same."""
    aside = path.with_suffix(f".{os.getpid()}")
    aside.write_bytes(content)
    aside.replace(path)


def _pickled(given: Any, what: str) -> bytes:
    import cloudpickle

    try:
        is_function = callable(given) and not hasattr(given, "fit")  # a model is callable, too
        if not is_function:
            given = _afresh(cloudpickle.dumps(given))
        pickled: bytes = cloudpickle.dumps(given)
    except Exception as error:  # of any type: what cannot be pickled says so in its own way
        name = getattr(given, "__name__", type(given).__name__)
        raise UsageError(
            f"{what.capitalize()} ({name}) cannot be sent to another process: {error}.",
            hint="Pass a function that makes it, with all it needs made inside, or the file that "
            "has it: train.py.",
        ) from None
    return pickled


def _digest(given: Any, pickled: bytes) -> str:
    """The same for the same, whenever and by whichever process it was pickled.

    A model is saved with the time of it; of a notebook's cell the file is named by the kernel's
    process.
    """
    if hasattr(given, "get_compile_config"):
        configs = repr((given.get_config(), given.get_compile_config())).encode()
        content = b"".join([configs, *(weight.tobytes() for weight in given.get_weights())])
    else:
        content = re.sub(rb"ipykernel_[0-9]+", b"", pickled)
    return hashlib.sha256(content).hexdigest()[:16]


def _afresh(pickled: bytes) -> Callable[[], Any]:
    """A function that returns what was pickled, another copy each time."""
    return lambda: pickle.loads(pickled)
