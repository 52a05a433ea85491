"""What a TARGET, as a user types it, means: which folder, which file in it, which function."""

import os
import re
import shlex
from difflib import get_close_matches
from pathlib import Path

from autobatch.protocol import split

MODEL, DATA = "build_model", "load_data"  # functions that need not be named
FILES = (".py", ".keras")
TARGETS = (
    "Give recipe.yaml, train.py, train.py:build_model, package.module:callable or model.keras."
)


def is_recipe(target: str) -> bool:
    return Path(target).suffix in (".yaml", ".yml")


def place_of(target: str) -> tuple[Path, str] | None:
    """(folder, model as a recipe in that folder names it); None where it names no model."""
    source, name = split(target)
    path = real_path(at_home(Path(source)))
    if path.suffix == ".py":
        return path.parent, f"{path.name}:{name or MODEL}"
    if path.suffix == ".keras":
        return path.parent, path.name
    parts = (*source.split("."), name)
    if path.suffix != ".ipynb" and all(part.isidentifier() for part in parts):
        return Path.cwd(), target
    return None


def file_of(source: str, folder: Path) -> Path | None:
    """The file that is named, or the module's, where that lies in the folder; None if elsewhere."""
    if Path(source).suffix in FILES:
        return folder / source
    for above in (folder, folder / "src"):
        module = above.joinpath(*source.split("."))
        for path in (module / "__init__.py", module.with_name(f"{module.name}.py")):
            if exists(path):
                return path
    return None


def seen_from(there: Path, folder: Path, reference: str) -> str:
    """A reference to a file, which is relative to `folder`, relative to `there`."""
    source, name = split(reference)
    if there == folder or Path(source).suffix not in FILES:
        return reference
    seen = os.path.relpath(folder / source, there)
    return f"{seen}:{name}" if name else seen


def reached(reference: str, folder: Path) -> str:
    """What was typed, as seen from `folder`: a file that is not there, but here, is meant."""
    source, name = split(reference)
    here = at_home(Path(source))
    if not source.endswith(FILES) or exists(folder / source) or not exists(here):
        return reference
    seen = os.path.relpath(here, folder)
    return f"{seen}:{name}" if name else seen


def real_path(path: Path) -> Path:
    """What a link leads to, as Python sees a script, unless that has another suffix (as in DVC)."""
    real = path.resolve()
    return real if real.suffix == path.suffix else path.parent.resolve() / path.name


def at_home(path: Path) -> Path:
    """With ~ as the shell reads it."""
    try:
        return path.expanduser()
    except RuntimeError:  # nobody has that name
        return path


# False, and no error (unlike those of `Path`), where a folder above may not be looked into.
is_directory, exists = os.path.isdir, os.path.exists


def run_name(target: str) -> str:
    """What the names of a TARGET's runs begin with: train, train-my_model, recipe."""
    source, name = split(target)
    return "-".join(filter(None, (Path(source).stem, name)))


def neighbour(path: Path) -> str:
    """A hint for a file that is not there."""
    try:
        names = [entry.name for entry in path.parent.iterdir()]
    except OSError:
        return f"There is no folder {path.parent} either."
    if near := get_close_matches(path.name, names, n=1):
        return f"Did you mean {path.parent / near[0]}?"
    return f"It was looked for in {path.parent.absolute()}."


def elsewhere(target: str) -> str | None:
    """A hint in place of what is no path on this system; None where it may be one."""
    if re.match(r"[A-Za-z]:.*[\\/.]", target):
        drive = f"/mnt/{target[0].lower()}"
        return f"WSL2 has that drive as {drive}: give {drive}/..., with / in place of \\."
    if re.match(r"[\w+.-]+://", target):
        return "Download it, and give the file."
    return None


def what_to_give(source: str, otherwise: str = TARGETS) -> str:
    """A hint in place of what is no model; `otherwise` where nothing more is known of it."""
    match Path(source).suffix:
        case ".h5" | ".hdf5":
            return (
                "Save it as .keras: keras.saving.load_model(FILE).save('model.keras'); or load it "
                "in build_model() of a Python file, and give that."
            )
        case ".pb":
            return (
                "Keras 3 does not train a SavedModel: save the model as .keras where it is made, "
                "or give the Python file that builds it."
            )
        case ".ipynb":
            return (
                "Make a Python file of it, jupyter nbconvert --to script "
                f"{shlex.quote(source)}; or call autobatch.recommend(build_model, data=load_data) "
                "in the notebook."
            )
    return otherwise


def look_at(path: Path) -> str:
    """A hint for a file that is there and cannot be read."""
    return f"See what it is, and who may read it: ls -ld {shlex.quote(str(path))}"
