"""`autobatch init`: a commented recipe for a Python file or a saved model, after looking at it."""

import errno
import json
import os
import re
import shutil
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path

from autobatch import frameworks, locator
from autobatch.errors import RecipeError, UsageError
from autobatch.locator import DATA, MODEL, at_home, exists, is_directory, is_recipe, real_path
from autobatch.opening import files_of, open_session, read_target
from autobatch.protocol import Note, WrittenRecipe, ignore
from autobatch.recipe import Recipe
from autobatch.recipe_source import override, read_yaml
from autobatch.stages.ask import OnEvent
from autobatch.stages.inspection import inspect
from autobatch.units import format_bytes
from autobatch.users_file import TO_SPLIT, batch_sizes, builders, defined, loaders

PLAIN = re.compile(r"[\w./-]+(:\w+)?")  # what YAML takes for text without quotes
Line = tuple[str, str]  # (YAML, comment)


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
    target, named = _with_functions(target, data, on_event)
    overrides = [*named, *overrides]
    recipe, folder = read_target(target, overrides)
    path = output or folder / "recipe.yaml"
    if exists(path) and not force:
        raise UsageError(
            f"{path} exists already.", hint="Give another with --output FILE, or use --force."
        )
    _refuse_unwritable(path)
    scratch = Path(tempfile.mkdtemp(prefix="autobatch-init-"))  # stays, with its log, on failure
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
    there = path.resolve().parent
    has_data = inspected.train_samples is not None
    written = WrittenRecipe(
        path=_from_here(path),
        model=_seen_from(there, folder, recipe.model),
        data=_seen_from(there, folder, recipe.data or "") if has_data else None,
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
    text = _with_settings(text, overrides, lambda reference: _seen_from(there, folder, reference))
    try:
        path.write_text(text, encoding="utf-8")
    except OSError as error:
        raise _not_written(path, error.strerror) from None
    return written


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


def recipe_text(found: WrittenRecipe, backend: Line | None = None) -> str:
    """The recipe, with what was seen in its comments."""
    rate = "none" if found.learning_rate is None else f"{found.learning_rate:.4g}"
    metrics = ", ".join(name for name in found.metrics if name != "val_loss")
    data_line = (
        ("# data: train.py:load_data", "none found; recommend needs (train, validation)")
        if found.data is None
        else (
            f"data: {_yaml(found.data)}",
            f"{found.train_samples:,} training, {found.validation_samples or 0:,} validation "
            "samples",
        )
    )
    size_line = (
        (f"  batch_size: {found.batch_size}", "as your code gives fit: what you train with today")
        if found.batch_size
        else ("  # batch_size: 32", "SET THIS: what you train with today; default: Keras' own")
    )  # which then stays assumed, as the answer says
    bound = "" if found.data is None else f"; never above the {found.train_samples:,} samples"
    sections: list[list[Line]] = [
        [
            (
                "# What autobatch is to measure, and within which bounds. Only `model` must stay.",
                "",
            ),
            ("# `autobatch schema --markdown` lists all keys.", ""),
            (f"# Made by `autobatch init` on {time.strftime('%Y-%m-%d')}.", ""),
        ],
        [
            (
                f"model: {_yaml(found.model)}",
                f"{found.model_name}: {found.parameters:,} parameters, {found.optimizer}",
            ),
            data_line,
            ("# callbacks: train.py:callbacks", "function that returns yours, as a list"),
            ("# class_weight: {0: 1, 1: 4.5}", "as you give it to fit"),
            *([backend] if backend else ()),
        ],
        [
            ("baseline:", "the answer is compared with it"),
            size_line,
            ("  # learning_rate: 0.001", f"default: that of the compiled optimizer, {rate}"),
        ],
        [
            ("device:", ""),
            ("  kind: auto", f"auto, gpu (NVIDIA) or cpu; here: {found.device_name}"),
            (
                "  # memory_limit: 8GiB",
                f"or 80% of the default, {format_bytes(found.limit_bytes)}",
            ),
            ("  headroom: 10%", "of the limit, kept free by what is recommended"),
        ],
        [("batch_sizes: {min: 1, max: 65536}", f"to search{bound}")],
        [
            ("trials:", "short training runs that decide"),
            ("  budget: 5min", "training time of all of them together"),
            ("  seeds: 5", "of each finalist; more tell smaller differences"),
            ("  metric: val_loss", f"or {metrics}" if metrics else ""),
        ],
        [
            ("time_limit: 20min", "of the whole run; then the best so far, if any"),
            ("seed: 0", ""),
        ],
    ]
    return "\n\n".join("\n".join(map(_written, lines)) for lines in sections) + "\n"


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


def _with_settings(text: str, overrides: Sequence[str], seen: Callable[[str], str]) -> str:
    """The recipe with what --set says, each section that this changes in one line."""
    written, origins = read_yaml(text, lambda line, column: f"recipe.yaml:{line}:{column}")
    assert isinstance(written, dict)
    changed = written
    for each in overrides:
        changed, origins = override(changed, origins, each)
    for key, value in changed.items():
        if key in ("model", "data") or value == written.get(key):
            continue  # those two are there, as seen from the recipe
        value = seen(value) if key == "callbacks" and value else value
        line = _written((f"{key}: {json.dumps(value, ensure_ascii=False)}", "by --set"))
        if section := re.search(rf"^{key}:.*(\n +.*)*", text, re.MULTILINE):
            text = text[: section.start()] + line + text[section.end() :]
        else:
            text += f"{line}\n"
    return text


def _written(line: Line) -> str:
    yaml, comment = line
    return f"{yaml:<35} # {comment}" if comment else yaml


def _yaml(text: str) -> str:
    return text if PLAIN.fullmatch(text) else json.dumps(text, ensure_ascii=False)


def _seen_from(there: Path, folder: Path, reference: str) -> str:
    """A reference relative to `folder`, for a recipe that lies in another one."""
    source, colon, name = reference.partition(":")
    if not source.endswith((".py", ".keras")) or there == folder:
        return reference
    return os.path.relpath(folder / source, there) + colon + name


def _with_functions(target: str, data: str | None, on_event: OnEvent) -> tuple[str, list[str]]:
    """The target with its functions named, where those of a Python file have other names."""
    source, name = locator.split(target)
    path = real_path(at_home(Path(source)))
    if path.suffix != ".py" or is_directory(path) or not os.access(path, os.R_OK):
        return target, [f"data={json.dumps(data)}"] if data else []
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
    if data and ":" not in data:
        data = f"{path.name}:{data}"
    overrides = [f"data={json.dumps(data)}"] if data else []
    return (f"{source}:{name}" if name else target), overrides


def _only_one(found: list[str], problem: str, hint: str, there: list[str]) -> str:
    if len(found) == 1:
        return found[0]
    told = f"; {' and '.join(found)} compile models" if found else ""
    listed = ", ".join(there) or "none"
    raise RecipeError(f"{problem}{told}. Its functions: {listed}.", hint=hint)
