"""`autobatch init`: a commented recipe for a Python file or a saved model, after looking at it."""

import errno
import json
import os
import shutil
import tempfile
from collections.abc import Sequence
from pathlib import Path

from autobatch import frameworks
from autobatch.errors import FromOption, RecipeError, UsageError
from autobatch.locator import (
    DATA,
    FILES,
    MODEL,
    at_home,
    exists,
    file_of,
    is_directory,
    is_recipe,
    real_path,
    seen_from,
)
from autobatch.opening import open_session, read_target
from autobatch.protocol import Note, WrittenRecipe, ignore, split
from autobatch.recipe import Recipe, files_of
from autobatch.recipe_text import Line, recipe_text, with_settings
from autobatch.stages.ask import OnEvent
from autobatch.stages.inspection import inspect
from autobatch.users_file import TO_SPLIT, batch_sizes, builders, defined, loaders


def write_recipe(
    target: str,
    output: Path | None = None,
    *,
    overrides: Sequence[str] = (),
    data: str | None = None,
    force: bool = False,
    on_event: OnEvent = ignore,
) -> WrittenRecipe:
    """Look at `target`, and write a recipe for it, beside it unless told otherwise.

    `data` names the function that loads the data: train.py:load_data, or load_data alone where it
    is in the target's own file. The recipe has what `overrides` set.
    """
    if is_recipe(target):
        raise UsageError(
            f"{target} is a recipe already.",
            hint="Give the Python file or the saved model: autobatch init train.py",
        )
    target, data = _with_functions(target, data, on_event)
    if data:
        setting = FromOption(f"data={json.dumps(data)}", typed=f"--data {data}")
        overrides = [setting, *overrides]
    recipe, folder = read_target(target, overrides)
    path = output or folder / "recipe.yaml"
    if exists(path) and not force:
        raise UsageError(
            f"{path} exists already.", hint="Give another with --output FILE, or use --force."
        )
    _refuse_unwritable(path)
    there = path.resolve().parent
    model, data, callbacks = (
        _seen_from(there, folder, each) for each in (recipe.model, recipe.data, recipe.callbacks)
    )
    scratch = _scratch()  # stays, with its log, on failure
    try:
        with open_session(
            target, overrides=overrides, run_directory=scratch / "run", on_event=on_event
        ) as session:
            inspected = inspect(session)
            limit_bytes, backend = session.limit_bytes, session.record.target.backend
    except KeyboardInterrupt:
        shutil.rmtree(scratch, ignore_errors=True)
        raise
    shutil.rmtree(scratch)
    has_data = inspected.train_samples is not None
    written = WrittenRecipe(
        path=_from_here(path),
        model=model,
        data=data if has_data else None,
        batch_size=_batch_size(recipe, folder),
        backend=backend,
        model_name=inspected.model_name,
        parameters=inspected.parameters,
        optimizer=inspected.optimizer,
        learning_rate=inspected.learning_rate,
        metrics=inspected.metrics,
        train_samples=inspected.train_samples,
        validation_samples=inspected.validation_samples,
        device_name=inspected.device_name,
        limit_bytes=limit_bytes,
    )
    text = recipe_text(written, _backend_line(recipe, folder))
    text = with_settings(text, overrides, callbacks)
    try:
        path.write_text(text, encoding="utf-8")
    except OSError as error:
        raise _not_written(path, error.strerror) from None
    return written


def _scratch() -> Path:
    try:
        return Path(tempfile.mkdtemp(prefix="autobatch-init-"))
    except OSError as error:
        raise UsageError(
            f"There is no room for a look at the model: {error}.",
            hint="Name a folder that can be written to: export TMPDIR=...",
        ) from None


def _from_here(path: Path) -> str:
    here = Path.cwd()
    return str(path.relative_to(here) if path.is_relative_to(here) else path)


def _refuse_unwritable(path: Path) -> None:
    """Before the model is looked at, which may take a minute."""
    if is_directory(path):
        raise _not_written(path, os.strerror(errno.EISDIR))
    if not is_directory(path.parent):
        raise _not_written(path, os.strerror(errno.ENOENT))
    if not os.access(path if exists(path) else path.parent, os.W_OK):
        raise _not_written(path, os.strerror(errno.EACCES))


def _not_written(path: Path, why: str | None) -> UsageError:
    return UsageError(f"Cannot write {path}: {why}.", hint="Give another with --output FILE.")


def _batch_size(recipe: Recipe, folder: Path) -> int | None:
    """The one number that all calls of `fit` in the user's files have, and that may be said."""
    files = [path for path in files_of(recipe, folder) if path.suffix == ".py"]
    found = set[int | None]().union(*map(batch_sizes, files))
    size = found.pop() if len(found) == 1 else None
    return size if size and size % recipe.device.replicas == 0 else None


def _backend_line(recipe: Recipe, folder: Path) -> Line | None:
    """None where another shell has it, too: from Keras' configuration."""
    if recipe.backend:
        return f"backend: {recipe.backend}", "framework that Keras runs on"
    backend, by = frameworks.users_backend(files=files_of(recipe, folder))
    if (backend, by) == frameworks.configured_backend():
        return None
    return f"backend: {backend}", f"framework that Keras runs on, by {by}"


def _seen_from(there: Path, folder: Path, reference: str | None) -> str:
    """A reference relative to `folder`, for a recipe that may lie in another one."""
    source = split(reference or "")[0]
    if there != folder and source and not source.endswith(FILES) and file_of(source, folder):
        raise UsageError(
            f"{source} is a module in {folder}, and only a recipe in that folder finds it.",
            hint="Leave --output out, or give a file there.",
        )
    return seen_from(there, folder, reference or "")


def _with_functions(target: str, data: str | None, on_event: OnEvent) -> tuple[str, str | None]:
    """The target, and its data, with functions of a Python file named that have other names."""
    source, name = split(target)
    path = real_path(at_home(Path(source)))
    if path.suffix != ".py" or is_directory(path) or not os.access(path, os.R_OK):
        return target, data
    functions, names, compiles = defined(path)
    if not name and MODEL not in names:
        found = builders(functions)
        hint = (
            f"Name the function that returns the compiled model: autobatch init {source}:FUNCTION"
        )
        if not found and compiles:
            hint = TO_SPLIT
        name = _only_one(found, f"{source} has no {MODEL}", hint, list(functions))
        on_event(Note(text=f"{source} has no {MODEL}: {name} is taken for it."))
    found = loaders(functions)
    if data is None and DATA not in names and len(found) == 1:
        data = found[0]
        on_event(
            Note(text=f"{source} has no {DATA}: {data} is taken for it (--data names another).")
        )
    if data and data.isidentifier():
        data = f"{path.name}:{data}"
    return (f"{source}:{name}" if name else target), data


def _only_one(found: list[str], problem: str, hint: str, there: list[str]) -> str:
    if len(found) == 1:
        return found[0]
    told = f"; {' and '.join(found)} compile models" if found else ""
    listed = ", ".join(there) or "none"
    raise RecipeError(f"{problem}{told}. Its functions: {listed}.", hint=hint)
