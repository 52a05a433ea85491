"""The commands as a user types them: exit codes, both output streams.

In this process, but for the workers; in one of their own in test_streams.py and test_runs.py.
"""

import json
import os
import re
from functools import partial

import msgspec
import pytest
from commands import HERE, QUICK, autobatch_here, settings
from pretend import InspectingExecutor, PretendExecutor, inspected
from typer.main import get_command

from autobatch import opening
from autobatch.errors import UsageError
from autobatch.protocol import BenchmarkResult, ProbeResult
from autobatch.stages import probes
from autobatch.ui.cli import app
from autobatch.ui.windows import refuse_windows


def test_probe_prints_one_json_object_and_tells_the_story_on_stderr(recipe, tmp_path, capfd):
    code, stdout, stderr = autobatch_here("probe", recipe, "--json", cwd=tmp_path)
    result = msgspec.json.decode(stdout, type=ProbeResult)
    assert code == 0
    assert (result.largest_fitting, result.bounded_by, result.verified) == (48, "samples", True)
    assert "probe: 32: fits" in stderr
    assert "\x1b" not in stdout + stderr
    assert capfd.readouterr() == ("", "")  # nothing of the workers'


def test_probe_shows_a_size_that_fits_and_the_next_that_runs_out_of_memory(tmp_path, monkeypatch):
    monkeypatch.setattr(probes, "QUICK_SECONDS", 0.3)  # memory is what is to end it, not time
    for name in ("FINAL_SECONDS", "CONFIRM_SECONDS"):
        monkeypatch.setattr(probes, name, 1.0)
    (tmp_path / "recipe.yaml").write_text(
        f"model: {HERE}/targets.py:wide_model\ndata: {HERE}/targets.py:plenty\n"
        "device: {memory_limit: 20MiB}\n"
    )
    code, stdout, _ = autobatch_here("probe", "recipe.yaml", "--json", "--quiet", cwd=tmp_path)
    result = msgspec.json.decode(stdout, type=ProbeResult)
    assert (code, result.bounded_by) == (0, "memory")
    at_limit = [p for p in result.probes if p.limit_bytes == result.limit_bytes]
    failed = {p.batch_size for p in at_limit if p.outcome == "out_of_memory"}
    assert failed and result.largest_fitting < min(failed) <= result.largest_fitting * 1.03
    assert result.ceiling_peak_bytes <= 0.9 * result.limit_bytes


PACKAGE = {
    "__init__.py": "WIDTH = 3\n",
    "layers.py": "from keras.layers import Dense\n",
    "small.py": """
import keras
import numpy

from . import WIDTH
from .layers import Dense


def build():
    model = keras.Sequential([keras.Input((4,)), Dense(WIDTH), Dense(1)])
    model.compile("sgd", "mse")
    return model


def load_data():
    x = numpy.ones((40, 4), "float32")
    return (x[:30], x[:30, :1]), (x[30:], x[30:, :1])
""",
}


def test_a_function_in_a_package_is_found_as_it_is_imported(tmp_path, monkeypatch):
    monkeypatch.setattr(opening, "LocalExecutor", InspectingExecutor)
    (tmp_path / "nets").mkdir()
    for name, text in PACKAGE.items():
        (tmp_path / "nets" / name).write_text(text)
    code, stdout, stderr = autobatch_here("probe", "nets.small:build", "--json", cwd=tmp_path)
    result = msgspec.json.decode(stdout, type=ProbeResult)
    assert (code, result.largest_fitting, result.bounded_by) == (0, 30, "samples"), stderr
    assert "19 parameters" in stderr  # 4 x 3 + 3 + 3 + 1


def test_benchmark_measures_powers_of_two_and_the_ceiling_or_the_sizes_asked_for(
    recipe, tmp_path, monkeypatch
):
    facts = inspected(train_samples=48, validation_samples=16)
    monkeypatch.setattr(opening, "LocalExecutor", partial(PretendExecutor, facts=facts))
    arguments = ("benchmark", recipe, "--json", *settings(*QUICK))
    code, stdout, _ = autobatch_here(*arguments, cwd=tmp_path)
    result = msgspec.json.decode(stdout, type=BenchmarkResult)
    assert code == 0
    assert [point.batch_size for point in result.points] == [16, 32, 48]
    assert all(p.low <= p.samples_per_second <= p.high for p in result.points)
    code, stdout, stderr = autobatch_here(*arguments, "--sizes", "16,24,99", cwd=tmp_path)
    result = msgspec.json.decode(stdout, type=BenchmarkResult)
    assert code == 0
    assert [point.batch_size for point in result.points] == [16, 24, 32]  # with the baseline's
    assert result.skipped == ("99: there are 48 training samples",)
    assert re.search(r"benchmark: 16: .* \(from the record\)", stderr)


TOO_LITTLE = ("device.memory_limit=1", "batch_sizes.max=1")


@pytest.mark.parametrize(
    ("arguments", "code", "words"),
    [
        (["probe", "nowhere.yaml"], 2, "There is no file nowhere.yaml"),
        (["probe", "."], 2, "is a directory"),
        (["probe", "recipe.yaml", "--set", "device.memry_limit=1GiB"], 2, "memory_limit"),
        (["probe", "recipe.yaml", "--set", "batch_sizes.min=1000"], 2, "there are 48"),
        (["probe", f"{HERE}/targets.py:modle"], 2, "Did you mean model?"),
        (["probe", f"{HERE}/targets.py:wide_model", *settings(*TOO_LITTLE)], 3, "Nothing fits"),
        (["probe", "recipe.yaml", "--run-dir", "recipe.yaml/run"], 2, "--run-dir"),
        (["recommend", f"{HERE}/targets.py:model"], 2, "recommend needs data"),
    ],
)
def test_mistakes_get_one_clear_message_and_their_exit_code(
    recipe, tmp_path, arguments, code, words
):
    found, stdout, stderr = autobatch_here(*arguments, "--quiet", cwd=tmp_path)
    assert (found, stdout) == (code, "")
    assert words in stderr
    assert "autobatch/" not in stderr.replace(f"{HERE}", "")  # no traceback of ours


@pytest.mark.parametrize(
    ("command", "typed", "problem"),
    [
        ("recommend", "--prefer huge", 'recommend.prefer cannot be "huge".\nAllowed: small or'),
        ("recommend", "--effective-batch 0", "recommend.effective_batch cannot be 0."),
        ("recommend", "--replicas 1,two", 'recommend.replicas[1] cannot be "two".'),
        ("recommend", "--replicas [1", "this is not valid YAML"),
        ("benchmark", "--sizes 16,0", "benchmark.sizes[1] cannot be 0."),
    ],
)
def test_what_is_wrong_in_an_option_is_said_of_the_option(
    recipe, tmp_path, command, typed, problem
):
    code, _, stderr = autobatch_here(command, recipe, *typed.split(), cwd=tmp_path)
    assert code == 2
    assert stderr.startswith(f"autobatch: {typed}: {problem}")


def test_an_error_in_the_users_code_is_shown_with_their_own_traceback(tmp_path):
    target = f"{HERE}/targets.py:raising_model"
    code, stdout, stderr = autobatch_here("probe", target, "--quiet", cwd=tmp_path)
    assert (code, stdout) == (4, "")
    assert "no such architecture" in stderr
    assert "In your code:" in stderr
    assert "in raising_model" in stderr
    assert "autobatch/" not in stderr.replace(f"{HERE}", "")


def test_schema_prints_a_json_schema(tmp_path):
    code, stdout, _ = autobatch_here("schema", cwd=tmp_path)
    assert code == 0
    assert "batch_sizes" in json.dumps(json.loads(stdout))
    assert autobatch_here("schema", "--json", cwd=tmp_path) == (0, stdout, "")
    code, stdout, stderr = autobatch_here("schema", "--json", "--markdown", cwd=tmp_path)
    assert (code, stdout) == (2, "")
    assert "do not go together" in stderr


def test_every_command_takes_json_and_quiet():
    for name, command in get_command(app).commands.items():
        assert {"json", "quiet"} <= {each.name for each in command.params}, name


@pytest.mark.parametrize(
    "arguments", [[], ["doctor", "recipe.yaml"], ["schema"], ["probe", "--help"], ["--version"]]
)
def test_what_measures_nothing_goes_on_windows(arguments):
    refuse_windows(arguments, "win32")


@pytest.mark.parametrize("command", ["recommend", "init", "runs"])
def test_windows_is_refused_with_one_sentence(command):
    with pytest.raises(UsageError, match="Windows cannot fork processes"):
        refuse_windows([command, "recipe.yaml"], "win32")
    refuse_windows([command, "recipe.yaml"], "linux")


def test_the_version_is_told_with_those_that_matter_to_results(tmp_path):
    code, stdout, _ = autobatch_here("--version", cwd=tmp_path)
    assert code == 0
    assert re.fullmatch(r"autobatch \d+\.\d+\.\d+ \(keras [\d.]+, .*Python [\d.]+\)\n", stdout)


def test_a_path_that_is_not_utf_8_gets_one_clear_message(tmp_path):
    folder = tmp_path / os.fsdecode(b"d\xff")
    folder.mkdir()
    (folder / "train.py").write_text("def build_model(): ...\n")
    code, stdout, stderr = autobatch_here("probe", "train.py", cwd=folder)
    assert (code, stdout) == (2, "")
    assert "is not valid UTF-8" in stderr
    assert "Traceback" not in stderr
