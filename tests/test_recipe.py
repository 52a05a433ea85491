"""What a recipe may say, and what is said to whoever got one wrong."""

import json
import pickle
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec
import pytest
import yaml
from commands import autobatch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from autobatch import errors
from autobatch.core import more_seeds
from autobatch.errors import RecipeError
from autobatch.recipe import (
    Recipe,
    is_section,
    load_recipe,
    make_recipe,
    recipe_schema,
    refuse_unsupported,
)
from autobatch.recipe_keys import (
    Baseline,
    BatchSizes,
    BenchmarkSettings,
    Device,
    Section,
    Trials,
    Wishes,
)
from autobatch.units import ByteSize, Duration, Share

REPOSITORY = Path(__file__).parent.parent
EVERY_KEY = """\
model: digits.py:build_model      # paths are relative to the recipe's folder
data: digits.py:load_data
args: {width: 128}
callbacks: digits.py:callbacks
class_weight: {"0": 1, "1": 4.5}
backend: tensorflow
baseline: {batch_size: 64, learning_rate: 0.001}
device:
  kind: cpu
  memory_limit: 8GiB
  headroom: 20%
  replicas: 2
batch_sizes: {min: 8, max: 4096}
benchmark: {sizes: [32, 64], seconds: 500ms}
trials:
  budget: 1h30min
  seeds: 5
  learning_rate: none
  schedule: warmup_stable_decay
  metric: val_accuracy
  sharpness: true
recommend: {prefer: large, effective_batch: 1024}
engine: local
time_limit: 2h
seed: 7
"""
PREDICTING = """\
model: digits.py:build_model
recommend: {replicas: [1, 2, 4]}  # not beside device.replicas
"""
TOP_KEYS = (
    "model, data, args, callbacks, class_weight, backend, baseline, device, batch_sizes, "
    "benchmark, trials, recommend, engine, time_limit, seed"
)


@pytest.fixture(autouse=True)
def in_an_empty_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def load(text: str | bytes, *overrides: str) -> Recipe:
    path = Path("r.yaml")
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    return load_recipe(path, overrides)


def load_with_model(text: str, *overrides: str) -> Recipe:
    """`text` begins in line 2."""
    return load(f"model: m.py:f\n{text}", *overrides)


def complaint(text: str | bytes, *overrides: str) -> str:
    with pytest.raises(RecipeError) as caught:
        load(text, *overrides)
    return str(caught.value)


def complaint_with_model(text: str, *overrides: str) -> str:
    return complaint(f"model: m.py:f\n{text}", *overrides)


# --- what is read ----------------------------------------------------------------------------


def test_class_weights_are_given_as_fit_takes_them() -> None:
    weights = {0: 1.0, 12: 4.5}
    assert load_with_model("class_weight: {0: 1, 12: 4.5}").class_weight == weights
    assert load("model: m.py:f", "class_weight={0: 1, '12': 4.5}").class_weight == weights
    assert "0 is given twice" in complaint_with_model("class_weight: {0: 1, '0': 2}")
    assert "the key no is not text" in complaint_with_model("class_weight: {no: 1}")
    assert "the key 0 is not text" in complaint_with_model("args: {0: 1}")


def test_every_key_of_the_format_is_read() -> None:
    assert load(EVERY_KEY) == Recipe(
        model="digits.py:build_model",
        data="digits.py:load_data",
        args={"width": 128},
        callbacks="digits.py:callbacks",
        class_weight={0: 1.0, 1: 4.5},
        backend="tensorflow",
        baseline=Baseline(batch_size=64, learning_rate=0.001),
        device=Device(
            kind="cpu", memory_limit=ByteSize(8 * 1024**3), headroom=Share(0.2), replicas=2
        ),
        batch_sizes=BatchSizes(min=8, max=4096),
        benchmark=BenchmarkSettings(sizes=[32, 64], seconds=Duration(0.5)),
        trials=Trials(
            budget=Duration(5400),
            seeds=5,
            learning_rate="none",
            schedule="warmup_stable_decay",
            metric="val_accuracy",
            sharpness=True,
        ),
        recommend=Wishes(prefer="large", effective_batch=1024),
        engine="local",
        time_limit=Duration(7200),
        seed=7,
    )
    assert load(PREDICTING).recommend == Wishes(replicas=[1, 2, 4])


def left_out(kind: type[Section], *written: dict[str, Any]) -> Iterator[str]:
    """Keys of a section that none of these has."""
    for key in msgspec.structs.fields(kind):
        if is_section(key.type):
            yield from left_out(key.type, *(each.get(key.name, {}) for each in written))
        elif not any(key.name in each for each in written):
            yield f"{kind.__name__}.{key.name}"


def test_no_key_is_left_out_of_the_recipes_of_every_key() -> None:
    assert list(left_out(Recipe, yaml.safe_load(EVERY_KEY), yaml.safe_load(PREDICTING))) == []


def test_only_the_model_is_required_and_the_rest_has_defaults() -> None:
    recipe = load("model: m.py:f\n")
    assert (recipe.data, recipe.args, recipe.backend, recipe.engine, recipe.seed) == (
        None, {}, None, "local", 0,
    )  # fmt: skip
    assert (recipe.baseline.batch_size, recipe.baseline.learning_rate) == (32, None)
    assert recipe.device == Device(kind="auto", memory_limit=None, headroom=Share(0.1), replicas=1)
    assert (recipe.batch_sizes.min, recipe.batch_sizes.max) == (1, 65536)
    assert (recipe.benchmark.sizes, recipe.benchmark.seconds) == ("powers_of_two", 3)
    assert recipe.trials == Trials(
        budget=Duration(300), seeds=5, learning_rate="auto", metric="val_loss"
    )
    assert recipe.time_limit == 1200


@pytest.mark.parametrize("written", ["", "~", "null"])
def test_a_key_without_a_value_has_its_default(written: str) -> None:
    keys = ("data", "args", "device", "trials", "time_limit", "backend")
    recipe = load_with_model("".join(f"{key}: {written}\n" for key in keys))
    assert recipe == load("model: m.py:f")


@pytest.mark.parametrize(
    ("written", "rate"), [("1e-3", 1e-3), ("1E-3", 1e-3), (".5", 0.5), ("1", 1)]
)
def test_learning_rates_may_be_written_as_people_write_them(written: str, rate: float) -> None:
    assert load_with_model(f"baseline: {{learning_rate: {written}}}").baseline.learning_rate == rate


@pytest.mark.parametrize(
    ("written", "limit"), [("8GiB", ByteSize(8 * 1024**3)), ("1000000", ByteSize(1000000)),
                           ("80%", Share(0.8)), ("0.5", Share(0.5))]
)  # fmt: skip
def test_the_memory_limit_is_a_size_or_a_share(written: str, limit: ByteSize | Share) -> None:
    asked = load_with_model(f"device: {{memory_limit: {written}}}").device.memory_limit
    assert (type(asked), asked) == (type(limit), limit)


def test_arguments_are_read_as_plain_values() -> None:
    recipe = load_with_model(
        "args: {a: 1_000, b: [1.5, x], c: {d: yes}, e: ~, f: 2020-01-01, g: 0x1F}"
    )
    assert recipe.args == {
        "a": 1000, "b": [1.5, "x"], "c": {"d": True}, "e": None, "f": "2020-01-01", "g": 31,
    }  # fmt: skip


def test_aliases_and_a_byte_order_mark_are_read() -> None:
    text = "\ufeffmodel: m.py:f\nargs: {a: &sizes [1, 2], b: *sizes}"
    assert load(text).args == {"a": [1, 2], "b": [1, 2]}


def test_the_baseline_may_lie_outside_the_search_range() -> None:
    assert load_with_model("batch_sizes: {max: 16}").baseline.batch_size == 32


def test_a_recipe_needs_no_file() -> None:
    data = {"model": "train.py:build_model", "data": None}
    recipe = make_recipe(data, ["device.kind=cpu", "data=train.py:load_data"])
    assert (recipe.device.kind, recipe.data) == ("cpu", "train.py:load_data")
    assert data == {"model": "train.py:build_model", "data": None}


# --- what is refused: keys and values --------------------------------------------------------


def test_an_unknown_key_is_refused_with_its_place_and_the_nearest_one() -> None:
    assert complaint_with_model("device:\n  memry_limit: 8GiB") == (
        "r.yaml:3:3: device.memry_limit is not a known key.\n"
        "Did you mean memory_limit? Allowed here: kind, memory_limit, headroom, replicas."
    )


def test_an_unknown_key_like_no_other_is_refused_with_those_there_are() -> None:
    expected = f"r.yaml:2:1: colour is not a known key.\nAllowed here: {TOP_KEYS}."
    assert complaint_with_model("colour: red") == expected
    assert complaint_with_model("colour:") == expected


@pytest.mark.parametrize(
    ("line", "place", "problem", "allowed"),
    [
        ("data: 3", "2:1", "data cannot be 3", "train.py:load_data"),
        ("data: ''", "2:1", 'data cannot be ""', "train.py:load_data"),
        ("args: [1]", "2:1", "args cannot be [1]", "keyword arguments"),
        ("callbacks: 3", "2:1", "callbacks cannot be 3", "list of Keras callbacks"),
        ("class_weight: {}", "2:1", "class_weight cannot be {}", "for each class"),
        ("class_weight: {'0': -1}", "2:1", 'class_weight cannot be {"0": -1}', "for each class"),
        ("class_weight: [1, 2]", "2:1", "class_weight cannot be [1, 2]", "for each class"),
        ("backend: mxnet", "2:1", 'backend cannot be "mxnet"', "tensorflow, jax or torch"),
        ("baseline: {batch_size: 0}", "2:12", "baseline.batch_size cannot be 0", "from 1"),
        ("baseline: {batch_size: 3.5}", "2:12", "baseline.batch_size cannot be 3.5", "from 1"),
        ("baseline: {batch_size: '8'}", "2:12", 'baseline.batch_size cannot be "8"', "from 1"),
        ("baseline: {learning_rate: 0}", "2:12", "baseline.learning_rate cannot be 0", "above 0"),
        ("device: gpu", "2:1", 'device cannot be "gpu"', "with the keys kind, memory_limit"),
        ("device: {kind: tpu}", "2:10", 'device.kind cannot be "tpu"', "auto, gpu or cpu"),
        ("device: {memory_limit: 8 apples}", "2:10", 'cannot be "8 apples"', "such as 8GiB"),
        ("device: {memory_limit: 0%}", "2:10", 'memory_limit cannot be "0%"', "such as 8GiB"),
        ("device: {headroom: 100%}", "2:10", 'device.headroom cannot be "100%"', "below 100%"),
        ("device: {replicas: 0}", "2:10", "device.replicas cannot be 0", "a whole number from 1"),
        ("batch_sizes: {max: 1e5}", "2:15", "batch_sizes.max cannot be 100000.0", "whole number"),
        ("benchmark: {sizes: all}", "2:13", 'benchmark.sizes cannot be "all"', "powers_of_two"),
        ("benchmark: {sizes: []}", "2:13", "benchmark.sizes cannot be []", "[32, 48, 64]"),
        ("benchmark: {sizes: [8, 0]}", "2:24", "benchmark.sizes[1] cannot be 0", "[32, 48, 64]"),
        ("trials: {budget: 5:30}", "2:10", 'trials.budget cannot be "5:30"', "90s, 5min, 1h30min"),
        ("trials: {seeds: 21}", "2:10", "trials.seeds cannot be 21", "from 1 to 20"),
        ("trials: {learning_rate: cubic}", "2:10", 'cannot be "cubic"', "linear, sqrt or none"),
        ("trials: {metric: loss}", "2:10", 'trials.metric cannot be "loss"', "such as val_loss"),
        ("engine: slurm", "2:1", 'engine cannot be "slurm"', "local or ray"),
        ("time_limit: 0", "2:1", "time_limit cannot be 0", "more than 0"),
        ("seed: -1", "2:1", "seed cannot be -1", "a whole number from 0"),
        ("seed: 4294967296", "2:1", "seed cannot be 4294967296", "2**31 - 1"),
        ("seed: 010", "2:1", 'seed cannot be "010"', "a whole number from 0"),
    ],
)  # fmt: skip
def test_an_impossible_value_is_refused_with_its_place_and_what_is_allowed(
    line: str, place: str, problem: str, allowed: str
) -> None:
    first, second = complaint_with_model(line).split("\n")
    assert first.startswith(f"r.yaml:{place}: ")
    assert first.endswith(f"{problem}.")
    assert second.startswith("Allowed: ")
    assert allowed in second


@pytest.mark.parametrize("word", ["no", "on", "Yes", "true"])
@pytest.mark.parametrize("key", ["model", "seed", "time_limit", "engine"])
def test_an_unquoted_yes_or_no_is_refused_and_explained(key: str, word: str) -> None:
    first, second = complaint(f"{key}: {word}").split("\n")
    assert first == f"r.yaml:1:1: {key} cannot be {'false' if word == 'no' else 'true'}."
    assert second.endswith("In YAML, yes, no, on and off without quotes are true and false.")


def test_a_recipe_without_a_model_is_told_what_to_add() -> None:
    for text in ("seed: 1", "model: ~"):
        first, second = complaint(text).split("\n")
        assert first == "r.yaml:1:1: model is missing."
        assert second.startswith("Add model: train.py:build_model, ")


def test_a_range_that_holds_no_size_is_refused_where_it_was_last_written() -> None:
    expected = "batch_sizes.max makes the range 8 to 4, which holds no size.\nSwap min and max"
    assert f"r.yaml:4:3: {expected}" in complaint_with_model("batch_sizes:\n  min: 8\n  max: 4")
    found = complaint_with_model("batch_sizes: {max: 4}", "batch_sizes.min=8")
    assert found.startswith("--set batch_sizes.min=8: batch_sizes.min makes the range 8 to 4, ")
    found = complaint_with_model("batch_sizes: {min: 70000}")
    assert found.startswith("r.yaml:2:15: batch_sizes.min makes the range 70000 to 65536, ")


def test_an_argument_that_python_could_not_name_is_refused() -> None:
    assert complaint_with_model("args: {my-width: 3}") == (
        "r.yaml:2:8: args.my-width cannot be a keyword argument.\n"
        "Give the name of an argument of the function that builds the model."
    )


NAME = "Name a function that returns it:"


@pytest.mark.parametrize(
    ("text", "place", "hint"),
    [
        ("model: build_model", "1:1: model", "Write model: FILE.py:build_model."),
        ("model: train.py", "1:1: model", "Write model: train.py:FUNCTION."),
        ("model: train.py:net\ndata: load_data", "2:1: data", "Write data: train.py:load_data."),
        ("model: train.py:net\ndata: my.py", "2:1: data", "Write data: my.py:FUNCTION."),
        ("model: m.keras\ncallbacks: mine", "2:1: callbacks", "Write callbacks: FILE.py:mine."),
        ("model: train.py:net\ndata: data/train", "2:1: data", f"{NAME} data: train.py:FUNCTION."),
        ("model: m.keras\ndata: data.npz", "2:1: data", f"{NAME} data: FILE.py:FUNCTION."),
        ("model: package.net", "1:1: model", f"{NAME} model: FILE.py:FUNCTION."),
        ("model: model.h5", "1:1: model", "Save it as .keras: "),
        ("model: nb.ipynb", "1:1: model", "Make a Python file of it, "),
    ],
)
def test_what_names_no_function_is_refused_with_what_is_meant(
    text: str, place: str, hint: str
) -> None:
    first, second = complaint(text).split("\n")
    assert first.startswith(f"r.yaml:{place} is ")
    assert first.endswith(", which names no function in a file or module.")
    assert second.startswith(hint)


def test_long_values_are_shortened_in_errors() -> None:
    first = complaint_with_model(f"engine: {'x' * 500}\n").split("\n")[0]
    assert first == f'r.yaml:2:1: engine cannot be "{"x" * 58}….'


# --- what is refused: YAML -------------------------------------------------------------------


def test_a_key_given_twice_is_refused_with_both_places() -> None:
    assert complaint_with_model("device:\n  kind: cpu\n  kind: gpu") == (
        "r.yaml:4:3: kind is given twice, first at r.yaml:3:3.\nKeep one of the two."
    )


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("a: 'x", "r.yaml:1:6: this is not valid YAML: while scanning a quoted scalar, found "),
        ("a: b: c", "r.yaml:1:5: this is not valid YAML: mapping values are not allowed here"),
        ("a: [1, 2", "r.yaml:1:9: this is not valid YAML: while parsing a flow sequence, "),
        ("a: *b", "r.yaml:1:4: this is not valid YAML: found undefined alias"),
        ("device:\n\tkind: cpu", "r.yaml:2:1: this is not valid YAML: "),
        ("a: 1\n---\nb: 1", "r.yaml:2:1: this is not valid YAML: expected a single document"),
        ("a: 1\nb: \x00", "r.yaml:2:4: the character U+0000 is not allowed in YAML"),
        (r'a: "\UFFFFFFFF"', "r.yaml:1:1: an escape such as "),
        (r'a: "\ud800"', r"r.yaml:1:4: '\ud800' is not allowed in text"),
        (r'a: "\0"', r"r.yaml:1:4: '\x00' is not allowed in text"),
        ("1: x", "r.yaml:1:1: the key 1 is not text"),
        ("no: x", "r.yaml:1:1: the key no is not text"),
        ("{a: 1}: x", "r.yaml:1:1: the key is not text"),
        ("a: !!int x", "r.yaml:1:4: x of the type !!int is not allowed in a recipe"),
        ("a: !!python/name:os.system x", "r.yaml:1:4: x of the type !!python/name:os.system is "),
        ("a: !!set {b}", "r.yaml:1:4: a value of the type !!set is not allowed in a recipe"),
        ("a: !mine [b]", "r.yaml:1:4: a value of the type !mine is not allowed in a recipe"),
        ("a: &a {}\n<<: *a", "r.yaml:2:1: << of the type !!merge is not allowed in a recipe"),
        ("seed: .nan", "r.yaml:1:7: .nan is no number that a recipe can hold"),
        ("seed: 1e999", "r.yaml:1:7: 1e999 is no number that a recipe can hold"),
        ("seed: 1" + "0" * 5000, "r.yaml:1:7: 10000000"),
        ("- model", "r.yaml:1:1: a recipe consists of keys and values, and this does not"),
        ("hello", "r.yaml:1:1: a recipe consists of keys and values, and this does not"),
        ("", "r.yaml is empty"),
        ("# nothing\n", "r.yaml is empty"),
    ],
)  # fmt: skip
def test_what_is_no_recipe_in_yaml_is_refused_with_its_place(text: str, expected: str) -> None:
    assert complaint(text).startswith(expected)


def test_tabs_are_refused_with_what_to_do() -> None:
    assert complaint("device:\n\tkind: cpu").endswith(
        "Indent with spaces: YAML allows no tabs there."
    )


@pytest.mark.parametrize(
    ("content", "place"),
    [(b"\xff\xfem\x00", "1:1: byte 0xff"), (b"a: 1\nb: \xe9", "2:4: byte 0xe9")],
)
def test_other_encodings_than_utf_8_are_refused(content: bytes, place: str) -> None:
    assert complaint(content) == (
        f"r.yaml:{place} is not UTF-8.\nSave the file with the encoding UTF-8."
    )


def test_an_alias_bomb_is_refused() -> None:
    layers = ["a0: &a0 [x, x, x, x, x, x, x, x, x]"]
    layers += [f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 9)}]" for n in range(1, 12)]
    assert "a recipe holds at most 10000 values" in complaint("\n".join(layers))


@pytest.mark.parametrize(
    "text", ["a: &a [*a]", "a: &a {b: *a}", "[" * 5_000, "a: " + "[" * 50 + "]" * 50]
)
def test_values_without_end_are_refused(text: str) -> None:
    told = complaint(text)
    assert "levels deep" in told or "nest too deeply" in told


# --- what is refused: files ------------------------------------------------------------------


def test_a_missing_file_is_refused_with_the_nearest_there_is() -> None:
    Path("digits.yaml").write_text("model: m.py:f")
    with pytest.raises(RecipeError) as caught:
        load_recipe(Path("digit.yaml"))
    assert str(caught.value) == "There is no file digit.yaml.\nDid you mean digits.yaml?"


def test_a_missing_file_among_others_is_refused_with_the_folder(tmp_path: Path) -> None:
    with pytest.raises(RecipeError, match=r"There is no file zzz\.yaml\.") as caught:
        load_recipe(Path("zzz.yaml"))
    assert str(tmp_path) in (caught.value.hint or "")
    with pytest.raises(RecipeError, match=r"There is no folder nowhere either\."):
        load_recipe(Path("nowhere/zzz.yaml"))


def test_a_folder_is_refused() -> None:
    Path("recipes.yaml").mkdir()
    with pytest.raises(RecipeError, match=r"^recipes\.yaml is a directory\.\nGive the recipe file"):
        load_recipe(Path("recipes.yaml"))


def test_a_file_that_cannot_be_opened_is_refused_with_the_systems_reason() -> None:
    Path("loop.yaml").symlink_to("loop.yaml")
    with pytest.raises(RecipeError, match=r"^loop\.yaml cannot be read: Too many levels of symb"):
        load_recipe(Path("loop.yaml"))
    with pytest.raises(RecipeError, match=r" cannot be read: File name too long\.\nSee what it"):
        load_recipe(Path("x" * 300))


@pytest.mark.parametrize("path", ["secret.yaml", "locked/r.yaml"])
def test_a_file_without_permission_is_refused(path: str) -> None:
    Path("locked").mkdir(mode=0o000)
    Path("secret.yaml").touch(mode=0o000)
    code, _, stderr = autobatch("probe", path, cwd=".")
    assert code == 2
    assert f"{path} cannot be read: Permission denied.\nSee " in stderr


def test_a_file_too_large_for_a_recipe_is_refused_unread() -> None:
    with Path("large.yaml").open("wb") as file:
        file.truncate(2**40)  # sparse: reading it all would take an hour
    with pytest.raises(RecipeError, match=r"^large\.yaml is larger than 256 KiB"):
        load_recipe(Path("large.yaml"))


# --- --set -----------------------------------------------------------------------------------


def test_overrides_are_put_over_the_file_in_their_order() -> None:
    recipe = load(EVERY_KEY, "trials.budget=10min", "args.depth=3", "seed=1", "seed=2", "device={}")
    assert recipe.args == {"width": 128, "depth": 3}
    assert (recipe.trials.budget, recipe.trials.seeds, recipe.seed) == (600, 5, 2)
    assert recipe.device == Device()


def test_overrides_are_read_as_yaml() -> None:
    recipe = load_with_model("", "benchmark.sizes=[8, 16]", "baseline.learning_rate=1e-2", "data=~")
    assert (recipe.benchmark.sizes, recipe.baseline.learning_rate) == ([8, 16], 0.01)
    assert recipe.data is None


@pytest.mark.parametrize(
    ("override", "problem"),
    [
        ("device.kind=tpu", 'device.kind cannot be "tpu".\nAllowed: auto, gpu or cpu'),
        ("device.kin=cpu", "device.kin is not a known key.\nDid you mean kind? Allowed here: "),
        ("devise.kind=cpu", "devise is not a known key.\nDid you mean device? Allowed here: "),
        ("batch_size=64", "batch_size is not a known key.\nDid you mean baseline.batch_size? "),
        ("seeds=3", "seeds is not a known key.\nDid you mean trials.seeds? "),
        (
            "learning_rate=1",
            "learning_rate is not a known key.\n"
            "Did you mean baseline.learning_rate or trials.learning_rate? ",
        ),
        (
            "trials.time_limit=9",
            "trials.time_limit is not a known key.\nDid you mean time_limit outside of trials? ",
        ),
        ("benchmark.sizes=[8, 0]", "benchmark.sizes[1] cannot be 0.\nAllowed: "),
        ("device.kind.x=1", 'device.kind cannot be {"x": 1}.\nAllowed: auto, gpu or cpu'),
        ("seed.x=1", "x cannot be set in 3, which is a value."),
        ("model=", "model is missing.\nAdd model: "),
        ("seed=[1", "this is not valid YAML: while parsing a flow sequence, "),
        ("args={a: 1, a: 2}", "a is given twice, first at --set args={a: 1, a: 2}."),
        ("seed", "expected key=value.\nFor example --set trials.budget=10min."),
        ("=3", "expected key=value."),
        ("device..kind=cpu", "expected key=value."),
        (".".join("a" * 25) + "=1", "expected key=value."),
    ],
)
def test_what_is_wrong_in_an_override_is_said_of_the_override(override: str, problem: str) -> None:
    found = complaint_with_model("seed: 3", override)
    assert found.startswith(f"--set {override}: {problem}")


def test_what_is_wrong_in_the_file_is_said_of_the_file_under_overrides() -> None:
    found = complaint_with_model("device: {kind: tpu}", "device.replicas=1", "seed=1")
    assert found.startswith('r.yaml:2:10: device.kind cannot be "tpu".')
    assert load_with_model("device: {kind: tpu}", "device.kind=cpu").device.kind == "cpu"


# --- around it -------------------------------------------------------------------------------


def test_what_this_version_does_not_do_yet_is_refused() -> None:
    told = "engine is ray, which autobatch does not support yet.\nUse --set engine=local."
    assert complaint_with_model("engine: ray") == f"r.yaml:2:1: {told}"
    assert complaint_with_model("", "engine=ray") == f"--set engine=ray: {told}"


@pytest.mark.parametrize(
    ("text", "problem", "hint"),
    [
        (
            "baseline: {batch_size: 50}\ndevice: {replicas: 4}",
            "r.yaml:2:12: baseline.batch_size is 50, which 4 replicas cannot share in equal parts.",
            "use 48 or 52",
        ),
        (
            "device: {replicas: 3}",
            "r.yaml:1:1: baseline.batch_size is 32, which 3 replicas cannot share in equal parts.",
            "use 30 or 33",
        ),
        (
            "device: {replicas: 2}\nbenchmark: {sizes: [8, 9]}",
            "benchmark.sizes[1] is 9, which 2 replicas cannot share in equal parts.",
            "use 8 or 10",
        ),
        (
            "device: {replicas: 2}\nrecommend: {replicas: [4]}",
            "recommend.replicas predicts from measurements on one device",
            "Leave one of the two out.",
        ),
    ],
)
def test_a_batch_that_replicas_cannot_share_is_refused(text: str, problem: str, hint: str) -> None:
    found = complaint_with_model(text)
    assert problem in found
    assert hint in found


def test_replicas_are_refused_on_pytorch() -> None:
    found = complaint_with_model("backend: torch\ndevice: {replicas: 2}")
    assert found.startswith("r.yaml:3:10: device.replicas is 2, and Keras has no data parallelism ")
    load_with_model("backend: jax\ndevice: {replicas: 2}")
    recipe = load_with_model("device: {replicas: 2}")
    with pytest.raises(RecipeError, match=r"^device\.replicas is 2, and Keras has no data"):
        refuse_unsupported(msgspec.structs.replace(recipe, backend="torch"), {})  # of a shell, say


def test_what_this_version_does_is_not_refused() -> None:
    load_with_model("backend: tensorflow\nengine: local")
    load_with_model("backend: torch")
    load_with_model("backend: jax")


def test_the_schema_describes_every_key() -> None:
    schema = json.loads(json.dumps(recipe_schema()))
    recipe = schema["$defs"]["Recipe"]
    assert schema["title"] == "autobatch recipe"
    assert ", ".join(recipe["properties"]) == TOP_KEYS
    assert (recipe["required"], recipe["additionalProperties"]) == (["model"], False)
    assert schema["$defs"]["Device"]["properties"]["kind"]["enum"] == ["auto", "cpu", "gpu"]
    assert "5min" in schema["$defs"]["Trials"]["properties"]["budget"]["description"]


def test_every_key_says_what_it_means_in_the_schema_and_in_errors() -> None:
    definitions = recipe_schema()["$defs"]
    keys = [key for each in definitions.values() for key in each["properties"].items()]
    sections = {info.name for info in msgspec.structs.fields(Recipe) if is_section(info.type)}
    told = {name: key["description"] for name, key in keys if name not in sections}
    assert len(told) > 20
    assert [name for name, text in told.items() if ". Allowed: " not in text] == []
    assert told["budget"].startswith("Training time of all trials together. Allowed: a duration")
    assert complaint_with_model("trials: {budget: soon}").endswith(
        "more than 0. Meaning: training time of all trials together."
    )


def test_in_the_schema_too_a_section_may_have_comments_alone() -> None:
    text = "baseline:\n  # batch_size: 32\n"  # as `init` writes it
    assert load_with_model(text) == load_with_model("")
    keys = recipe_schema()["$defs"]["Recipe"]["properties"]
    assert keys["baseline"]["anyOf"] == [{"$ref": "#/$defs/Baseline"}, {"type": "null"}]


def test_a_recipe_cannot_be_changed() -> None:
    recipe = load("model: m.py:f")
    with pytest.raises(AttributeError):
        recipe.seed = 1  # type: ignore[misc]
    assert msgspec.structs.replace(recipe, seed=1).seed == 1


def test_yaml_is_imported_only_to_read_a_file() -> None:
    code = (
        "import sys, autobatch.recipe as r; r.make_recipe({'model': 'x.py:f'}); print(*sys.modules)"
    )
    command = [sys.executable, "-c", code]
    found = subprocess.run(command, capture_output=True, text=True, check=True, cwd=REPOSITORY)
    assert "msgspec" in found.stdout.split()
    assert not {"yaml", "numpy", "keras"} & set(found.stdout.split())


def test_each_error_has_its_exit_code_and_says_what_to_do() -> None:
    codes = {
        kind.__name__: kind.exit_code
        for kind in vars(errors).values()
        if isinstance(kind, type) and issubclass(kind, errors.AutobatchError)
    }
    assert codes == {
        "AutobatchError": 1, "RecipeError": 2, "UsageError": 2, "NothingFitsError": 3,
        "UserCodeError": 4, "WrongRunDirectoryError": 5, "DoesNotHoldError": 6,
        "InterruptedRunError": 130, "OutsideError": 4,
    }  # fmt: skip
    assert str(errors.UsageError("What.", hint="Do this.")) == "What.\nDo this."
    assert str(errors.UsageError("What.")) == "What."


def test_an_error_survives_the_way_from_another_process() -> None:
    error = errors.UserCodeError("It failed.", hint="Mend it.", traceback="line 3")
    copy = pickle.loads(pickle.dumps(error))
    assert (str(copy), copy.traceback) == (str(error), "line 3")


def test_an_error_of_the_users_code_says_where_to_whoever_prints_it() -> None:
    error = errors.UserCodeError("It failed.", hint="Mend it.", traceback="  line 3\n")
    assert str(error) == "It failed.\nMend it.\nIn your code:\n  line 3"
    assert str(errors.UserCodeError("It failed.")) == "It failed."


# --- whatever is written ---------------------------------------------------------------------

KEYS = st.sampled_from([*TOP_KEYS.split(", "), "kind", "sizes", "min", "budget", "x", "<<"])
VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8) | st.dates(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(KEYS, inner, max_size=4),
)
TOKENS = st.sampled_from(
    ["model", "device", "args", ": ", ":", "- ", "\n", "\n  ", "\t", "{", "}", "[", "]", ", ",
     "&a ", "*a", "!!int ", "!x ", "? ", "| ", ">\n", "'", '"', "\\U", "FFFFFFFF", "#", "---",
     "...", "%YAML ", "%TAG ! !", "9" * 5000, "1e3", "~", "no", "<<", "\ufeff", "\x85", "\u2028",
     "é", "@", "`", "=", "8GiB"]
)  # fmt: skip
WRITTEN = (
    st.binary()
    | st.text().map(lambda text: text.encode())
    | st.lists(TOKENS).map(lambda tokens: "".join(tokens).encode())
    | st.dictionaries(KEYS, VALUES).map(lambda data: yaml.safe_dump(data).encode())
)


@settings(
    deadline=None, max_examples=300, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(written=WRITTEN, overrides=st.lists(st.text() | st.builds("{}={}".format, KEYS, st.text())))
def test_whatever_is_written_is_a_recipe_or_a_recipe_error(
    written: bytes, overrides: list[str]
) -> None:
    try:
        recipe = load(written, *overrides)
    except RecipeError as error:
        assert error.message
    else:
        assert msgspec.json.encode(recipe.args)


def test_as_many_seeds_as_a_reason_may_ask_for_can_be_set():
    def asking(seeds):
        return {"model": "a.py:b", "trials": {"seeds": seeds}}

    assert make_recipe(asking(more_seeds.MOST_SEEDS)).trials.seeds == more_seeds.MOST_SEEDS
    with pytest.raises(RecipeError):
        make_recipe(asking(more_seeds.MOST_SEEDS + 1))
