"""YAML -> Recipe, with errors that name the line.

`load_recipe(Path("recipe.yaml"), ["device.kind=cpu"])` reads a file and the `--set` options over
it; `make_recipe({"model": "train.py:build_model"})` does the same without a file. Whatever is
unknown, of a wrong type or impossible is a RecipeError that says where, what is allowed, and which
key was meant. A Recipe stays as written: paths are relative to its folder, and nobody has looked
whether they exist. Each field's description is both the schema's and the errors' text.
"""

import difflib
import json
import re
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal, TypeVar, get_args

import msgspec
from msgspec import Meta, field

from autobatch.errors import RecipeError, one_line
from autobatch.units import Duration, MemoryLimit, Share

if TYPE_CHECKING:
    from autobatch.recipe_source import KeyPath, Origins  # which imports yaml

Count = Annotated[int, Meta(ge=1, description="a whole number from 1")]


class Section(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Base of a recipe's parts."""

    # Below, defaults of types of our own are factories: msgspec's schema cannot write them out.


class Baseline(Section, frozen=True, kw_only=True):
    """What you train with today."""

    batch_size: Count = 32
    learning_rate: Annotated[
        Annotated[float, Meta(gt=0)] | None,
        Meta(description="a number above 0 (default: that of the compiled optimizer)"),
    ] = None


class Device(Section, frozen=True, kw_only=True):
    """Where to train, and how much of its memory to use."""

    kind: Annotated[
        Literal["auto", "gpu", "cpu"], Meta(description="auto, gpu or cpu (auto: a GPU if any)")
    ] = "auto"
    memory_limit: Annotated[
        MemoryLimit | None,
        Meta(description="a size such as 8GiB, or a share such as 80% (default: all that is free)"),
    ] = None
    headroom: Share = field(default_factory=partial(Share, 0.1))  # of the limit, kept free
    replicas: Count = 1  # data-parallel, on this host


class BatchSizes(Section, frozen=True, kw_only=True):
    """The range of batch sizes to search."""

    min: Count = 1
    max: Count = 65536


class BenchmarkSettings(Section, frozen=True, kw_only=True):
    """Which sizes to time, and for how long."""

    sizes: Annotated[
        Literal["powers_of_two"] | Annotated[list[Count], Meta(min_length=1)],
        Meta(description="powers_of_two, or a list of whole numbers from 1 such as [32, 48, 64]"),
    ] = "powers_of_two"
    seconds: Duration = field(default_factory=partial(Duration, 3))  # per size


class Trials(Section, frozen=True, kw_only=True):
    """The short training runs that decide."""

    budget: Duration = field(default_factory=partial(Duration, 5 * 60))  # all trials together
    seeds: Annotated[
        int, Meta(ge=1, le=20, description="a whole number from 1 to 20 (seeds per finalist)")
    ] = 3
    learning_rate: Annotated[
        Literal["auto", "linear", "sqrt", "none"],
        Meta(description="auto, linear, sqrt or none (scaling rule; auto: by the optimizer)"),
    ] = "auto"
    metric: Annotated[
        str,
        Meta(pattern=r"^val_.+", description="val_ and a metric, such as val_loss or val_accuracy"),
    ] = "val_loss"


class Wishes(Section, frozen=True, kw_only=True):
    """What the recommendation is to be for."""

    prefer: Annotated[
        Literal["small", "large"],
        Meta(description="small or large: which of the sizes that are equally good"),
    ] = "small"
    effective_batch: Annotated[
        Count | None, Meta(description="samples per update, by accumulation where they do not fit")
    ] = None
    replicas: Annotated[
        list[Count], Meta(description="numbers of devices to predict the speedup of: [1, 2, 4, 8]")
    ] = []


class Recipe(Section, frozen=True, kw_only=True):
    """What autobatch is to measure, and within which bounds."""

    model: Annotated[
        str,
        Meta(min_length=1, description="train.py:build_model, package.module:name or model.keras"),
    ]
    data: Annotated[
        Annotated[str, Meta(min_length=1)] | None,
        Meta(description="train.py:load_data or package.module:name"),
    ] = None
    args: Annotated[
        dict[str, Any],
        Meta(description="keyword arguments of the model's callable, such as {width: 128}"),
    ] = {}
    callbacks: Annotated[
        Annotated[str, Meta(min_length=1)] | None,
        Meta(description="train.py:callbacks, which returns a list of Keras callbacks"),
    ] = None
    class_weight: Annotated[
        Annotated[
            dict[Annotated[int, Meta(ge=0)], Annotated[float, Meta(ge=0)]], Meta(min_length=1)
        ]
        | None,
        Meta(description='a weight for each class, such as {"0": 1, "1": 4.5}'),
    ] = None
    backend: Annotated[
        Literal["tensorflow", "jax", "torch"] | None,
        Meta(description="tensorflow, jax or torch (default: your Keras configuration)"),
    ] = None
    baseline: Baseline = Baseline()
    device: Device = field(default_factory=Device)
    batch_sizes: BatchSizes = BatchSizes()
    benchmark: BenchmarkSettings = field(default_factory=BenchmarkSettings)
    trials: Trials = field(default_factory=Trials)
    recommend: Wishes = field(default_factory=Wishes)
    engine: Annotated[Literal["local", "ray"], Meta(description="local or ray")] = "local"
    time_limit: Duration = field(default_factory=partial(Duration, 20 * 60))  # of the whole run
    seed: Annotated[int, Meta(ge=0, lt=2**31, description="a whole number from 0 to 2**31 - 1")] = 0


AnySection = TypeVar("AnySection", bound=Section)


def load_recipe(path: Path, overrides: Sequence[str] = ()) -> Recipe:
    """The recipe in the file at `path`, with `overrides` (`key.path=value`, as YAML) over it."""
    from autobatch.recipe_source import read_recipe_file

    data, origins = read_recipe_file(path)
    return _assemble(data, origins, overrides)


def make_recipe(data: dict[str, Any], overrides: Sequence[str] = ()) -> Recipe:
    """A recipe without a file: for `train.py` and the other targets."""
    return _assemble(data, {}, overrides)


def refuse_unsupported(recipe: Recipe) -> None:
    """Keys of the format that this version cannot carry out are refused, never ignored."""
    asked = {
        "backend": (recipe.backend, (None, "torch", "tensorflow")),
        "device.replicas": (recipe.device.replicas, (1,)),
        "engine": (recipe.engine, ("local",)),
    }
    for key, (value, supported) in asked.items():
        if value not in supported:
            raise RecipeError(
                f"{key} is {value}, which this version of autobatch does not do yet.",
                hint=f"The key is part of the format; for now, use --set {key}={supported[-1]}.",
            )


def recipe_schema() -> dict[str, Any]:
    """JSON Schema of a recipe, for editors."""
    schema = msgspec.json.schema(Recipe, schema_hook=_unit_schema)
    dialect = "https://json-schema.org/draft/2020-12/schema"
    return {"$schema": dialect, "title": "autobatch recipe", **schema}


def _assemble(data: dict[str, Any], origins: "Origins", overrides: Sequence[str]) -> Recipe:
    if overrides:
        from autobatch.recipe_source import override

        for text in overrides:
            data, origins = override(data, origins, text)
    recipe = _read(Recipe, data, (), origins)
    _check(recipe, origins)
    return recipe


def _check(recipe: Recipe, origins: "Origins") -> None:
    """What no field can say by itself."""
    for name in recipe.args:
        if not name.isidentifier():
            raise _refused(("args", name), "cannot be a keyword argument.", origins)
    sizes = recipe.batch_sizes
    if sizes.min > sizes.max:
        keys: list[KeyPath] = [("batch_sizes", "min"), ("batch_sizes", "max")]
        last_written = next((path for path in reversed(origins) if path in keys), keys[1])
        problem = f"makes the range {sizes.min} to {sizes.max}, which holds no size."
        hint = "Swap min and max, or drop max: memory bounds the search too."
        raise _refused(last_written, problem, origins, hint)


def _read(kind: type[AnySection], data: object, at: "KeyPath", origins: "Origins") -> AnySection:
    """`data` as a section. A key without a value (`data:`, `~`) is as good as not written."""
    known = {info.name: info for info in msgspec.structs.fields(kind)}
    if not isinstance(data, dict):
        hint = f"Allowed: keys and values, with the keys {', '.join(known)}."
        raise _refused(at, f"cannot be {_show(data)}.", origins, hint)
    for key in data:
        if key not in known:
            near = difflib.get_close_matches(key, known, n=1)
            meant = f"Did you mean {near[0]}? " if near else ""
            hint = f"{meant}Allowed here: {', '.join(known)}."
            raise _refused((*at, key), "is not a known key.", origins, hint)
    values = {
        key: _value(known[key].type, value, (*at, key), origins)
        for key, value in data.items()
        if value is not None
    }
    for name, info in known.items():
        if info.required and name not in values:
            hint = f"Add {name}: {_allowed(info.type)}."
            raise _refused((*at, name), "is missing.", origins, hint)
    return kind(**values)


def _value(kind: Any, value: Any, at: "KeyPath", origins: "Origins") -> Any:
    if isinstance(kind, type) and issubclass(kind, Section):
        return _read(kind, value, at, origins)
    try:
        return msgspec.convert(value, kind, dec_hook=_parse, str_keys=True)  # of class_weight
    except msgspec.ValidationError as error:
        if item := re.search(r"\$\[(\d+)\]", str(error)):  # msgspec says which of a list
            at, value = (*at, int(item[1])), value[int(item[1])]
        hint = f"Allowed: {_allowed(kind)}."
        if isinstance(value, bool):
            hint += " In YAML, yes, no, on and off without quotes are true and false."
        raise _refused(at, f"cannot be {_show(value)}.", origins, hint) from None


def _unit_schema(kind: Any) -> dict[str, Any]:
    return {"type": ["number", "string"], "description": kind.form}


def _parse(kind: Any, value: object) -> object:
    return kind.parse(value)


def _allowed(kind: Any) -> str:
    """What a field may be: the phrase of our own types, or the description of an Annotated."""
    return str(kind.form if hasattr(kind, "form") else get_args(kind)[1].description)


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
