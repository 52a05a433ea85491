"""The text of a recipe, as `autobatch init` writes it: with what was seen in its comments."""

import json
import re
import time
from collections.abc import Sequence

from autobatch.protocol import WrittenRecipe
from autobatch.recipe_source import override, read_yaml
from autobatch.units import format_bytes

PLAIN = re.compile(r"[\w./-]+(:\w+)?")  # what YAML takes for text without quotes
Line = tuple[str, str]  # (YAML, comment)


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


def with_settings(text: str, overrides: Sequence[str], callbacks: str) -> str:
    """The recipe with what --set says, each section that this changes in one line."""
    written, origins = read_yaml(text, lambda line, column: f"recipe.yaml:{line}:{column}")
    assert isinstance(written, dict)
    changed = written
    for each in overrides:
        changed, origins = override(changed, origins, each)
    for key, value in changed.items():
        if key in ("model", "data") or value == written.get(key):
            continue  # those two are there, as seen from the recipe
        value = callbacks if key == "callbacks" and value else value
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
