"""What is not as a record has it, in words: measurements of both could not be compared."""

from pathlib import Path
from typing import Any

import msgspec

from autobatch.errors import WrongRunDirectoryError
from autobatch.protocol import Difference, Target

# Of which both values would tell nobody anything.
CHANGED = {
    "code_fingerprint": "a Python file of yours has changed, or one that it imports, or the saved "
    "model",
    "configuration": "a configuration file that your code reads has changed",
    "data_fingerprint": "the data has changed (shapes, types, or rows at its ends)",
}
UNCHANGED = "Nothing: versions, device, model and data are the same."
IN_WORDS = {
    "model_name": "the name of the model",
    "parameters": "the number of parameters",
    "train_samples": "the number of training samples",
    "device_name": "the device",
    "device": "the device",
    "optimizer": "the optimizer",
    "precision": "the precision",
    "replicas": "the number of replicas",
}


def refuse_other_target(directory: Path, recorded: Target, present: Target) -> None:
    """Raise if what is asked about differs, wherever it lies."""
    then, now = map(_content, (recorded, present))
    refuse_difference(directory, {"target": (then, now)})


def refuse_difference(directory: Path, pairs: dict[str, tuple[Any, Any]]) -> None:
    """Raise if any (recorded, present) pair differs, naming the innermost difference."""
    for name, (recorded, present) in pairs.items():
        if recorded == present:
            continue
        if isinstance(recorded, dict) and isinstance(present, dict):
            inner = {
                f"{name}.{key}": (recorded.get(key), present.get(key))
                for key in sorted(recorded.keys() | present.keys())
            }
            refuse_difference(directory, inner)
        raise WrongRunDirectoryError(
            f"New measurements could not be compared with those in {directory}: "
            f"{_difference(name, recorded, present)}.",
            hint="Start anew with --fresh (the old record is set aside), or give another directory "
            "with --run-dir DIR.",
        )


def _content(target: Target) -> dict[str, Any]:
    content: dict[str, Any] = msgspec.to_builtins(target)
    lies = ("folder", "data_is_optional")  # where data is missing, the inspection says so
    return {name: value for name, value in content.items() if name not in lies}


def in_words(difference: Difference) -> str:
    """A sentence; of one that matters, that the recommendation does not hold."""
    told = _phrase(difference.name, difference.then, difference.now)
    so = ", so that the recommendation does not hold" if difference.matters else ""
    return f"{told[0].upper() if told.startswith(('a ', 'the ')) else told[0]}{told[1:]}{so}."


def _difference(name: str, recorded: Any, present: Any) -> str:
    """In words, of the keys of the target as the recipe has them."""
    name = name.removeprefix("target.")
    if name.startswith("configuration."):
        file = name.removeprefix("configuration.")
        told = f"{file}, which your code reads, has changed"
        return told if present else f"your code no longer reads {file}"
    if name.startswith("versions."):
        name = f"the version of {name.removeprefix('versions.')}"
    if name.startswith("settings."):
        name = f"{name.removeprefix('settings.')}, in the environment,"
    was, is_ = ("not set" if value is None else repr(value) for value in (recorded, present))
    return _phrase(name, was, is_)


def _phrase(name: str, was: str, is_: str) -> str:
    return CHANGED.get(name) or f"{IN_WORDS.get(name, name)} was {was} and is {is_}"
