"""YAML -> Recipe, with errors that name the line.

`load_recipe(Path("recipe.yaml"), ["device.kind=cpu"])` reads a file and the `--set` options over
it; `make_recipe({"model": "train.py:build_model"})` does the same without a file. Whatever is
unknown, of a wrong type or impossible is a RecipeError that says where, what is allowed, and which
key was meant. A Recipe stays as written: paths are relative to its folder, and nobody has looked
whether they exist, but for those of options (`as_typed`).
"""

import difflib
import json
import re
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeGuard, TypeVar, get_args

import msgspec

from autobatch.errors import RecipeError, one_line
from autobatch.locator import file_of, reached, what_to_give
from autobatch.protocol import split
from autobatch.recipe_keys import AssumedBaseline as AssumedBaseline
from autobatch.recipe_keys import Recipe as Recipe
from autobatch.recipe_keys import Section

if TYPE_CHECKING:
    from autobatch.recipe_source import KeyPath, Origins  # which imports yaml

AnySection = TypeVar("AnySection", bound=Section)


def load_recipe(path: Path, overrides: Sequence[str] = ()) -> Recipe:
    """The recipe in the file at `path`, with `overrides` (`key.path=value`, as YAML) over it."""
    return read_recipe(path, overrides)[0]


def read_recipe(path: Path, overrides: Sequence[str] = ()) -> "tuple[Recipe, Origins]":
    """The same, with where each key was written."""
    from autobatch.recipe_source import read_recipe_file

    return _assemble(*read_recipe_file(path), overrides)


def make_recipe(data: dict[str, Any], overrides: Sequence[str] = ()) -> Recipe:
    """A recipe without a file: for `train.py` and the other targets."""
    return _assemble(data, {}, overrides)[0]


def as_typed(recipe: Recipe, folder: Path, overrides: Sequence[str]) -> Recipe:
    """With the files that `overrides` name as seen from `folder`, where they may lie here."""
    keys = {text.partition("=")[0].strip() for text in overrides} & {"model", "data", "callbacks"}
    named = {key: getattr(recipe, key) for key in keys}
    seen = {key: reached(name, folder) for key, name in named.items() if name}
    return msgspec.structs.replace(recipe, **seen)


def files_of(recipe: Recipe, folder: Path) -> dict[Path, str]:
    """Those that it names, each with its key; of modules, those that lie in the folder."""
    found: dict[Path, str] = {}
    for key in ("model", "data", "callbacks"):
        if (name := getattr(recipe, key)) and (path := file_of(split(name)[0], folder)):
            found.setdefault(path, key)
    return found


def refuse_unsupported(recipe: Recipe, origins: "Origins") -> None:
    """Keys of the format that this version cannot carry out are refused, never ignored."""
    asked = {
        "backend": (recipe.backend, (None, "jax", "torch", "tensorflow")),  # or of the environment
        "engine": (recipe.engine, ("local",)),
    }
    for key, (value, supported) in asked.items():
        if value not in supported:
            problem = f"is {value}, which autobatch does not support yet."
            raise _refused((key,), problem, origins, f"Use --set {key}={supported[-1]}.")
    replicas = recipe.device.replicas
    if recipe.backend == "torch" and replicas > 1:
        problem = f"is {replicas}, and Keras has no data parallelism within a process on PyTorch."
        hint = "Use --set backend=tensorflow or jax, or --set device.replicas=1."
        raise _refused(("device", "replicas"), problem, origins, hint)


def recipe_schema() -> dict[str, Any]:
    """JSON Schema of a recipe, for editors."""
    schema = msgspec.json.schema(Recipe, schema_hook=_unit_schema)
    _describe(Recipe, schema["$defs"])
    dialect = "https://json-schema.org/draft/2020-12/schema"
    return {"$schema": dialect, "title": "autobatch recipe", **schema}


def _describe(kind: type[Section], definitions: dict[str, Any]) -> None:
    """Have the schema tell of each key both what it means and what may be written."""
    for key in msgspec.structs.fields(kind):
        written = definitions[kind.__name__]["properties"][key.name]
        if is_section(key.type):
            _describe(key.type, definitions)  # null: all that stands below it are comments
            written["anyOf"] = [{"$ref": written.pop("$ref")}, {"type": "null"}]
        else:
            told = meaning(key.type)
            written["description"] = f"{told[0].upper()}{told[1:]}. Allowed: {allowed(key.type)}."


def _assemble(
    data: dict[str, Any], origins: "Origins", overrides: Sequence[str]
) -> "tuple[Recipe, Origins]":
    if overrides:
        from autobatch.recipe_source import override

        for text in overrides:
            data, origins = override(data, origins, text)
    recipe = _read(Recipe, data, (), origins)
    _check(recipe, origins)
    if (data.get("baseline") or {}).get("batch_size") is None:
        assumed = AssumedBaseline(learning_rate=recipe.baseline.learning_rate)
        recipe = msgspec.structs.replace(recipe, baseline=assumed)
    return recipe, origins


def _check(recipe: Recipe, origins: "Origins") -> None:
    """What no field can say by itself."""
    refuse_unsupported(recipe, origins)
    for name in recipe.args:
        if not name.isidentifier():
            hint = "Give the name of an argument of the function that builds the model."
            raise _refused(("args", name), "cannot be a keyword argument.", origins, hint)
    _check_references(recipe, origins)
    sizes = recipe.batch_sizes
    if sizes.min > sizes.max:
        keys: list[KeyPath] = [("batch_sizes", "min"), ("batch_sizes", "max")]
        last_written = next((path for path in reversed(origins) if path in keys), keys[1])
        problem = f"makes the range {sizes.min} to {sizes.max}, which holds no size."
        hint = "Swap min and max, or drop max: memory bounds the search too."
        raise _refused(last_written, problem, origins, hint)
    if recipe.device.replicas > 1:
        _check_shares(recipe, origins)


def _check_references(recipe: Recipe, origins: "Origins") -> None:
    """That each names a function, but for a saved model."""
    written = {"model": recipe.model, "data": recipe.data, "callbacks": recipe.callbacks}
    home = split(recipe.model)[0]
    home = home if home.endswith(".py") else "FILE.py"
    for key, reference in written.items():
        source, name = split(reference or "")
        if name or reference is None or (key == "model" and source.endswith(".keras")):
            continue
        problem = f"is {_show(reference)}, which names no function in a file or module."
        raise _refused((key,), problem, origins, _how_to_name(key, source, home))


def _how_to_name(key: str, source: str, home: str) -> str:
    """A hint in place of what names no function, with one in the file `home`."""
    if source.endswith(".py"):
        return f"Write {key}: {source}:FUNCTION."
    if source.isidentifier():
        return f"Write {key}: {home}:{source}."
    named = f"Name a function that returns it: {key}: {home}:FUNCTION."
    return what_to_give(source, named) if key == "model" else named


def _check_shares(recipe: Recipe, origins: "Origins") -> None:
    """Every batch is shared by the replicas, in equal parts."""
    replicas = recipe.device.replicas
    listed = () if isinstance(recipe.benchmark.sizes, str) else recipe.benchmark.sizes
    sizes: dict[KeyPath, int] = {("baseline", "batch_size"): recipe.baseline.batch_size}
    sizes |= {("benchmark", "sizes", index): size for index, size in enumerate(listed)}
    for path, size in sizes.items():
        if size % replicas == 0:
            continue
        below = size // replicas * replicas
        near = " or ".join(str(each) for each in (below, below + replicas) if each)
        problem = f"is {size}, which {replicas} replicas cannot share in equal parts."
        hint = f"Sizes are of all replicas together: use {near}, or other device.replicas."
        raise _refused(path, problem, origins, hint)
    if recipe.recommend.replicas:
        problem = f"predicts from measurements on one device, but device.replicas is {replicas}."
        hint = "Leave one of the two out."
        raise _refused(("recommend", "replicas"), problem, origins, hint)


def _read(kind: type[AnySection], data: object, at: "KeyPath", origins: "Origins") -> AnySection:
    """`data` as a section. A key without a value (`data:`, `~`) is as good as not written."""
    known = {info.name: info for info in msgspec.structs.fields(kind)}
    if not isinstance(data, dict):
        hint = f"Allowed: keys and values, with the keys {', '.join(known)}."
        raise _refused(at, f"cannot be {_show(data)}.", origins, hint)
    for key in data:
        if key not in known:
            near = _elsewhere(key, at) or difflib.get_close_matches(key, known, n=1)
            meant = f"Did you mean {' or '.join(near)}? " if near else ""
            hint = f"{meant}Allowed here: {', '.join(known)}."
            raise _refused((*at, key), "is not a known key.", origins, hint)
    values = {
        key: _value(known[key].type, value, (*at, key), origins)
        for key, value in data.items()
        if value is not None
    }
    for name, info in known.items():
        if info.required and name not in values:
            hint = f"Add {name}: {allowed(info.type)}. Meaning: {meaning(info.type)}."
            raise _refused((*at, name), "is missing.", origins, hint)
    return kind(**values)


def _elsewhere(name: object, at: "KeyPath") -> list[str]:
    """Keys of that name in other sections: `seeds` is `trials.seeds` rather than `seed`."""
    sections = {
        info.name: {field.name for field in msgspec.structs.fields(info.type)}
        for info in msgspec.structs.fields(Recipe)
        if is_section(info.type)
    }
    top = [f"{name} outside of {at[0]}"] if at and name in Recipe.__struct_fields__ else []
    return [f"{section}.{name}" for section, keys in sections.items() if name in keys] + top


def _value(kind: Any, value: Any, at: "KeyPath", origins: "Origins") -> Any:
    if is_section(kind):
        return _read(kind, value, at, origins)
    try:
        return msgspec.convert(value, kind, dec_hook=_parse, str_keys=True)  # of class_weight
    except msgspec.ValidationError as error:
        if item := re.search(r"\$\[(\d+)\]", str(error)):  # msgspec says which of a list
            at, value = (*at, int(item[1])), value[int(item[1])]
        hint = f"Allowed: {allowed(kind)}. Meaning: {meaning(kind)}."
        if isinstance(value, bool):
            hint += " In YAML, yes, no, on and off without quotes are true and false."
        raise _refused(at, f"cannot be {_show(value)}.", origins, hint) from None


def _unit_schema(kind: Any) -> dict[str, Any]:
    return {"type": ["number", "string"], "description": kind.form}


def _parse(kind: Any, value: object) -> object:
    return kind.parse(value)


def is_section(kind: Any) -> TypeGuard[type[Section]]:
    return isinstance(kind, type) and issubclass(kind, Section)


def allowed(kind: Any) -> str:
    """What a field may be: the phrase of our own types, or its first description."""
    own, first, *_ = get_args(kind)
    return str(own.form if hasattr(own, "form") else first.description)


def meaning(kind: Any) -> str:
    """What a field means: its last description."""
    return str(get_args(kind)[-1].description)


def _refused(
    path: "KeyPath", problem: str, origins: "Origins", hint: str | None = None
) -> RecipeError:
    """An error on the key at `path`, which begins with the nearest place that is known."""
    enclosing = (path[:length] for length in range(len(path), -1, -1))
    place = next((f"{origins[outer]}: " for outer in enclosing if outer in origins), "")
    key = "".join(f"[{part}]" if isinstance(part, int) else f".{part}" for part in path)
    return RecipeError(f"{place}{one_line(key[1:])} {problem}", hint=hint)


def _show(value: object) -> str:
    return one_line(json.dumps(value, ensure_ascii=False, default=str))
