"""YAML text -> plain data, and for every key where it was written.

Stricter than YAML where YAML surprises: plain words and numbers are read as YAML 1.2 does (1e-3 is
a number, 010 and 5:30 are text), duplicate keys, tags, merges and further documents are refused,
and so is what would exhaust memory. Everything that can go wrong is a RecipeError which begins
with the place, `recipe.yaml:7:3`. What the keys mean is not known here: see recipe.py.
"""

import math
import re
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

from autobatch.errors import FromOption, RecipeError, one_line
from autobatch.locator import look_at, neighbour

KeyPath = tuple[str | int, ...]  # ("benchmark", "sizes", 2)
Origins = dict[KeyPath, str]  # where each was written, as an error begins; in order of writing
Locate = Callable[[int, int], str]  # (line, column), both from 1 -> how an error names the place

MAX_BYTES = 256 * 1024  # a recipe has some 1 KiB; whoever names a data file should hear it at once
MAX_NODES = 10_000  # a few lines of aliases to aliases make billions of values
MAX_DEPTH = 20

_TAG = "tag:yaml.org,2002:"
# In this order: the first pattern that matches a plain scalar names its type.
_SCALARS: dict[str, tuple[re.Pattern[str], Callable[[str], object]]] = {
    f"{_TAG}null": (re.compile(r"(?:~|null|Null|NULL|)\Z"), lambda text: None),
    f"{_TAG}bool": (
        re.compile(r"(?:true|false|yes|no|on|off)\Z", re.IGNORECASE),
        lambda text: text.lower() in ("true", "yes", "on"),
    ),
    f"{_TAG}int": (
        re.compile(r"[-+]?(?:0|[1-9](?:_?[0-9])*|0x[0-9a-fA-F]+)\Z"),
        lambda text: int(text, 0),
    ),
    f"{_TAG}float": (
        re.compile(
            r"[-+]?(?:(?:[0-9]+\.[0-9]*|\.[0-9]+)(?:[eE][-+]?[0-9]+)?|[0-9]+[eE][-+]?[0-9]+"
            r"|\.(?:inf|Inf|INF))\Z|\.(?:nan|NaN|NAN)\Z"
        ),
        float,  # which refuses .inf and .nan, and so do we
    ),
}
_MERGE = (f"{_TAG}merge", re.compile(r"<<\Z"))  # recognised, so that it can be refused
_NOTHING = re.compile(r"(?!)")
NUMBERED = ("class_weight",)  # whose keys may be numbers, as those of `fit` are
_UNUSABLE = re.compile(r"[\x00-\x08\x0b-\x1f\x7f\ud800-\udfff]")  # in text: paths, JSON


class _Loader(yaml.SafeLoader):
    """Reads plain scalars by our patterns only."""


_Loader.yaml_implicit_resolvers = {  # None: whatever the first character
    None: [_MERGE, *((tag, pattern) for tag, (pattern, _) in _SCALARS.items())]
}


def read_recipe_file(path: Path) -> tuple[dict[str, object], Origins]:
    """The keys and values in the file at `path`."""
    text = _decode(path, _read_bytes(path))
    data, origins = read_yaml(text, lambda line, column: f"{path}:{line}:{column}")
    if data is None:
        hint = "A recipe needs at least `model: train.py:build_model`."
        raise RecipeError(f"{path} is empty.", hint=hint)
    if not isinstance(data, dict):
        raise RecipeError(
            f"{origins[()]}: a recipe consists of keys and values, and this does not.",
            hint="Its first line may be `model: train.py:build_model`.",
        )
    return data, origins


def read_yaml(text: str, locate: Locate, at: KeyPath = ()) -> tuple[object, Origins]:
    """The value written in `text`, which is to stand `at` a key; None for empty text."""
    try:
        node = yaml.compose(text, Loader=_Loader)
    except yaml.reader.ReaderError as error:
        at_character = error.position
        line = text.count("\n", 0, at_character) + 1
        where = locate(line, at_character - text.rfind("\n", 0, at_character))
        code = f"U+{ord(text[at_character]):04X}"
        raise RecipeError(
            f"{where}: the character {code} is not allowed in YAML.",
            hint='Remove it, or write it as an escape in double quotes, such as "\\u00E9".',
        ) from None
    except yaml.MarkedYAMLError as error:
        raise _syntax_error(error, locate) from None
    except RecursionError:
        raise RecipeError(f"{locate(1, 1)}: brackets or lists nest too deeply.") from None
    except (ValueError, OverflowError):  # PyYAML converts numbers unchecked: "\UFFFFFFFF"
        raise RecipeError(
            f"{locate(1, 1)}: an escape such as \\U0001F600, or a YAML version, is out of range."
        ) from None
    if node is None:
        return None, {}
    reader = _Reader(locate)
    return reader.value(node, at), reader.origins


def override(data: dict[str, Any], origins: Origins, text: str) -> tuple[dict[str, Any], Origins]:
    """`data` with one `key.path=value` over it, and origins that know it as the last written."""
    place = one_line(text.typed) if isinstance(text, FromOption) else f"--set {one_line(text)}"
    key, equals, written = text.partition("=")
    path = tuple(key.strip().split("."))
    if not equals or not all(path) or len(path) > MAX_DEPTH:
        hint = "For example --set trials.budget=10min."
        raise RecipeError(f"{place}: expected key=value.", hint=hint)
    value, inner = read_yaml(written, lambda line, column: place, path)
    outer: Origins = {path[:length]: place for length in range(1, len(path))}
    kept = {known: where for known, where in origins.items() if known[: len(path)] != path}
    return _put(data, path, value, place), {**outer, **kept, path: place, **inner}


def _put(data: Any, path: tuple[str, ...], value: object, place: str) -> dict[str, Any]:
    """A copy of `data` with `value` at `path`; sections on the way are made where missing."""
    if data is not None and not isinstance(data, dict):
        raise RecipeError(
            f"{place}: {path[0]} cannot be set in {one_line(str(data))}, which is a value.",
            hint="`autobatch schema --markdown` lists all keys.",
        )
    section: dict[str, Any] = data or {}
    key, *rest = path
    inner = _put(section.get(key), tuple(rest), value, place) if rest else value
    return {**section, key: inner}


@dataclass
class _Reader:
    """Turns one document's nodes into values, notes where they are, and knows when to stop."""

    locate: Locate
    origins: Origins = field(default_factory=dict)
    visited: int = 0

    def value(self, node: yaml.Node, path: KeyPath) -> object:
        self.visited += 1
        if self.visited > MAX_NODES or len(path) > MAX_DEPTH:
            raise self.refused(
                node,
                f"a recipe holds at most {MAX_NODES} values, at most {MAX_DEPTH} levels deep",
                hint="Aliases (*name) count each time. Large tables belong in your Python file.",
            )
        self.origins.setdefault(path, self.place(node))
        match node:
            case yaml.ScalarNode():
                return self.scalar(node)
            case yaml.SequenceNode(tag="tag:yaml.org,2002:seq"):
                return [self.value(item, (*path, i)) for i, item in enumerate(node.value)]
            case yaml.MappingNode(tag="tag:yaml.org,2002:map"):
                return self.mapping(node, path)
        raise self.refused_tag(node, "a value")

    def mapping(self, node: yaml.MappingNode, path: KeyPath) -> dict[str, object]:
        values: dict[str, object] = {}
        for key_node, value_node in node.value:
            key = self.key(key_node, path)
            if key in values:
                raise self.refused(
                    key_node,
                    f"{one_line(key)} is given twice, first at {self.origins[(*path, key)]}",
                    hint="Keep one of the two.",
                )
            self.origins[(*path, key)] = self.place(key_node)
            values[key] = self.value(value_node, (*path, key))
        return values

    def key(self, node: yaml.Node, path: KeyPath) -> str:
        if isinstance(node, yaml.ScalarNode):
            key = self.scalar(node)
            if isinstance(key, str):
                return key
            if path == NUMBERED and type(key) is int:
                return str(key)
        written = f"{one_line(node.value)} " if isinstance(node, yaml.ScalarNode) else ""
        raise self.refused(
            node,
            f"the key {written}is not text",
            hint="Keys are words. In quotes, numbers and yes, no, on, off are words too.",
        )

    def scalar(self, node: yaml.ScalarNode) -> object:
        text: str = node.value
        if node.tag == f"{_TAG}str":
            if character := _UNUSABLE.search(text):
                raise self.refused(node, f"{character[0]!r} is not allowed in text")
            return text
        pattern, convert = _SCALARS.get(node.tag, (_NOTHING, str))
        if not pattern.match(text):  # a tag that we do not know, or one that does not suit
            raise self.refused_tag(node, one_line(text))
        try:
            value = convert(text)
        except ValueError:  # also from an integer of more than 4300 digits
            value = math.inf
        if isinstance(value, int | float) and abs(value) >= 2**63:
            raise self.refused(node, f"{one_line(text)} is no number that a recipe can hold")
        return value

    def place(self, node: yaml.Node) -> str:
        mark = node.start_mark
        return self.locate(mark.line + 1, mark.column + 1)

    def refused(self, node: yaml.Node, problem: str, hint: str | None = None) -> RecipeError:
        return RecipeError(f"{self.place(node)}: {problem}.", hint=hint)

    def refused_tag(self, node: yaml.Node, what: str) -> RecipeError:
        tag = one_line(node.tag.replace(_TAG, "!!"))
        return self.refused(node, f"{what} of the type {tag} is not allowed in a recipe")


def _read_bytes(path: Path) -> bytes:
    try:
        with path.open("rb") as file:
            content = file.read(MAX_BYTES + 1)
    except FileNotFoundError:
        raise RecipeError(f"There is no file {path}.", hint=neighbour(path)) from None
    except IsADirectoryError:
        raise RecipeError(f"{path} is a directory.", hint="Give the recipe file in it.") from None
    except OSError as error:
        raise RecipeError(f"{path} cannot be read: {error.strerror}.", hint=look_at(path)) from None
    if len(content) > MAX_BYTES:
        raise RecipeError(
            f"{path} is larger than {MAX_BYTES // 1024} KiB, too large for a recipe.",
            hint="Is it another file, of data perhaps?",
        )
    return content


def _decode(path: Path, content: bytes) -> str:
    try:
        return content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = content.count(b"\n", 0, error.start) + 1
        column = error.start - content.rfind(b"\n", 0, error.start)
        raise RecipeError(
            f"{path}:{line}:{column}: byte 0x{content[error.start]:02x} is not UTF-8.",
            hint="Save the file with the encoding UTF-8.",
        ) from None


def _syntax_error(error: yaml.MarkedYAMLError, locate: Locate) -> RecipeError:
    mark = error.problem_mark or error.context_mark
    where = locate(mark.line + 1, mark.column + 1) if mark else locate(1, 1)
    problem = one_line(", ".join(filter(None, (error.context, error.problem))), 200)
    hint = "Look at quotes, brackets, indentation and `---`, there and in the line above."
    if r"'\t'" in problem:
        hint = "Indent with spaces: YAML allows no tabs there."
    return RecipeError(f"{where}: this is not valid YAML: {problem}.", hint=hint)
