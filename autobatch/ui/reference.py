"""Every key of a recipe, in Markdown, from the definitions that read it: docs/recipe.md."""

from typing import Any

import msgspec

from autobatch.recipe import Recipe, allowed

HEAD = """# The recipe

A recipe says a job once, so that it can be repeated and shared. It is YAML; every key but `model`
may be left out. Paths are relative to the recipe's folder. An unknown key, a wrong type or an
impossible value is refused with file, line, what is allowed, and the nearest known key.
`--set key=value` overrides a key for one command: `--set trials.budget=10min`.

This page is what `autobatch schema --markdown` prints; `autobatch schema` prints the JSON Schema,
for editors. `engine: ray` is part of the format, but refused as yet.
"""
EXAMPLE = """
## An example

```yaml
model: digits.py:build_mlp
data: digits.py:load_flat
args: {width: 256}
device: {memory_limit: 8GiB, headroom: 15%}
trials: {budget: 10min, seeds: 5, metric: val_accuracy}
time_limit: 30min
```
"""


def recipe_reference() -> str:
    """A table of the keys at the top, then one for each section."""
    lines = [*HEAD.splitlines(), "", "| key | allowed | default |", "| --- | --- | --- |"]
    sections: list[tuple[str, type[msgspec.Struct]]] = []
    for info in msgspec.structs.fields(Recipe):
        if isinstance(info.type, type) and issubclass(info.type, msgspec.Struct):
            sections.append((info.name, info.type))
        else:
            lines.append(_row(info.name, info))
    for name, kind in sections:
        lines += ["", f"## `{name}`", "", (kind.__doc__ or "").strip(), ""]
        lines += ["| key | allowed | default |", "| --- | --- | --- |"]
        lines += [_row(f"{name}.{info.name}", info) for info in msgspec.structs.fields(kind)]
    return "\n".join(line.rstrip() for line in lines) + "\n" + EXAMPLE


def _row(key: str, info: msgspec.structs.FieldInfo) -> str:
    told = allowed(info.type).replace("|", "\\|")
    return f"| `{key}` | {told} | {_default(info)} |"


def _default(info: msgspec.structs.FieldInfo) -> str:
    if info.required:
        return "(must be given)"
    value = info.default
    if info.default_factory is not msgspec.NODEFAULT:
        value = info.default_factory()
    if value is None or value in ({}, []):
        return ""
    return f"`{_written(value)}`"


def _written(value: Any) -> str:
    from autobatch.units import Duration, Share, format_duration

    if isinstance(value, Share):
        return f"{value:.0%}"
    if isinstance(value, bool):
        return str(value).lower()
    return (
        format_duration(value).replace(" 00 s", "") if isinstance(value, Duration) else str(value)
    )
