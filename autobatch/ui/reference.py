"""Every key of a recipe, in Markdown, from the definitions that read it: docs/recipe.md."""

from typing import Any

import msgspec

from autobatch.recipe import Recipe, allowed, is_section, meaning

HEAD = """# The recipe

A recipe describes one job in a YAML file, so that it can be repeated and shared. Every key but
`model` may be left out. Paths are relative to the recipe's folder. An unknown key, a wrong type or
an impossible value is refused: the message names the file, the line, what is allowed, and the
nearest known key. `--set key=value` overrides a key for one command: `--set trials.budget=10min`.

This page is what `autobatch schema --markdown` prints; `autobatch schema` prints the JSON Schema,
for editors.
"""
COLUMNS = ("| key | what it means | allowed | default |", "| --- | --- | --- | --- |")
EXAMPLE = """
## An example

```yaml
model: digits.py:build_mlp
data: digits.py:load_flat
args: {width: 256}
device: {memory_limit: 8GiB, headroom: 15%}
trials: {budget: 10min, seeds: 8, metric: val_accuracy}
time_limit: 30min
```
"""


def recipe_reference() -> str:
    """A table of the keys at the top, then one for each section."""
    keys = msgspec.structs.fields(Recipe)
    lines = [*HEAD.splitlines(), "", *COLUMNS]
    lines += [_row(info.name, info) for info in keys if not is_section(info.type)]
    for section in keys:
        if is_section(section.type):
            lines += ["", f"## `{section.name}`", "", (section.type.__doc__ or "").strip(), ""]
            lines += COLUMNS
            lines += [
                _row(f"{section.name}.{info.name}", info)
                for info in msgspec.structs.fields(section.type)
            ]
    return "\n".join(line.rstrip() for line in lines) + "\n" + EXAMPLE


def _row(key: str, info: msgspec.structs.FieldInfo) -> str:
    return f"| `{key}` | {meaning(info.type)} | {allowed(info.type)} | {_default(info)} |"


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
    from autobatch.units import Duration, Share, format_duration, format_share

    if isinstance(value, Share):
        return format_share(value)
    if isinstance(value, bool):
        return str(value).lower()
    return (
        format_duration(value).replace(" 00 s", "") if isinstance(value, Duration) else str(value)
    )
