"""The commands as a user types them: real processes, real exit codes, both output streams."""

import json
import re

import msgspec
import pytest
from commands import FAST, HERE, QUICK, autobatch, lines, settings

from autobatch.engine.record_file import FILE_NAME
from autobatch.protocol import BenchmarkResult, ProbeResult, Recommendation, Verification


def test_probe_prints_one_json_object_and_tells_the_story_on_stderr(recipe, tmp_path):
    code, stdout, stderr = autobatch("probe", recipe, "--json", cwd=tmp_path)
    result = msgspec.json.decode(stdout, type=ProbeResult)
    assert code == 0
    assert (result.largest_fitting, result.bounded_by, result.verified) == (48, "samples", True)
    assert "probe: 32: fits" in stderr
    assert "\x1b" not in stdout + stderr


def test_probe_shows_a_size_that_fits_and_the_next_that_runs_out_of_memory(tmp_path):
    (tmp_path / "recipe.yaml").write_text(
        f"model: {HERE}/targets.py:wide_model\ndata: {HERE}/targets.py:much_data\n"
        "device: {memory_limit: 20MiB}\n"
    )
    code, stdout, _ = autobatch("probe", "recipe.yaml", "--json", "--quiet", cwd=tmp_path)
    result = msgspec.json.decode(stdout, type=ProbeResult)
    assert (code, result.bounded_by) == (0, "memory")
    at_limit = [p for p in result.probes if p.limit_bytes == result.limit_bytes]
    failed = {p.batch_size for p in at_limit if p.outcome == "out_of_memory"}
    assert failed and result.largest_fitting < min(failed) <= result.largest_fitting * 1.03
    assert result.ceiling_peak_bytes <= 0.9 * result.limit_bytes


def test_benchmark_measures_the_sizes_asked_for_and_tells_those_it_cannot(recipe, tmp_path):
    arguments = ("benchmark", recipe, "--sizes", "16,24,99", "--json", *settings(*QUICK))
    code, stdout, _ = autobatch(*arguments, cwd=tmp_path)
    result = msgspec.json.decode(stdout, type=BenchmarkResult)
    assert code == 0
    assert [point.batch_size for point in result.points] == [16, 24, 32]  # with the baseline's
    assert result.skipped == ("99: there are 48 training samples",)


def test_benchmark_measures_powers_of_two_and_the_ceiling(recipe, tmp_path):
    code, stdout, _ = autobatch("benchmark", recipe, "--json", *settings(*QUICK), cwd=tmp_path)
    result = msgspec.json.decode(stdout, type=BenchmarkResult)
    assert code == 0
    assert [point.batch_size for point in result.points] == [8, 16, 32, 48]
    assert all(p.low <= p.samples_per_second <= p.high for p in result.points)


@pytest.fixture(scope="module")
def recommended(tmp_path_factory):
    folder = tmp_path_factory.mktemp("recommended")
    path = folder / "recipe.yaml"
    path.write_text(f"model: {HERE}/targets.py:model\ndata: {HERE}/targets.py:much_data\n")
    return folder, autobatch("recommend", path, "--json", *settings(*FAST), cwd=folder)


@pytest.mark.xdist_group("recommended")  # one process has what they share
def test_recommend_prints_the_whole_recommendation_as_json(recommended):
    _, (code, stdout, stderr) = recommended
    assert code == 0, stderr
    result = msgspec.json.decode(stdout, type=Recommendation)
    assert result.batch_size in {point.batch_size for point in result.benchmark.points}
    assert result.peak_bytes > 0
    assert result.reasons
    assert result.environment["versions"]["keras"]


@pytest.mark.xdist_group("recommended")
def test_a_recommendation_is_verified_from_its_file(recommended):
    folder, _ = recommended
    (path,) = folder.glob("autobatch-runs/*/recommendation.json")
    apart = folder / "verified"
    code, stdout, stderr = autobatch("verify", path, "--json", "--run-dir", apart, cwd=folder)
    result = msgspec.json.decode(stdout, type=Verification)
    assert result.outcome == "fits", stderr
    assert result.differences == ()
    assert code == (0 if result.holds else 6)  # the machine may be slower by now
    code, stdout, _ = autobatch("runs", folder / "autobatch-runs", cwd=folder)
    assert (code, "learning rate" in stdout) == (0, True)


@pytest.mark.xdist_group("recommended")
def test_the_stable_names_are_all_there(recommended):
    _, (_, stdout, _) = recommended
    names = (
        "batch_size learning_rate optimizer learning_rate_rule gradient_accumulation_steps "
        "per_replica_batch_size baseline val_loss speedup verdict confidence noise_scale "
        "candidates tied_with probe benchmark reasons warnings environment wall_seconds "
        "schema_version"
    )
    found = json.loads(stdout)
    assert set(names.split()) <= found.keys()
    probe = "largest_fitting ceiling limit_bytes headroom bounded_by verified probes wall_seconds"
    assert set(probe.split()) <= found["probe"].keys()
    point = "batch_size samples_per_second low high device_samples_per_second step_seconds"
    assert {*point.split(), "peak_bytes"} <= found["benchmark"]["points"][0].keys()


@pytest.mark.xdist_group("recommended")
def test_a_second_start_gives_the_same_answer_from_the_record(recommended):
    folder, (_, first, _) = recommended
    again = autobatch("recommend", folder / "recipe.yaml", *settings(*FAST), "--json", cwd=folder)
    code, stdout, stderr = again
    assert code == 0
    assert json.loads(stdout)["candidates"] == json.loads(first)["candidates"]
    measured = [line for line in stderr.splitlines() if "probe:" in line or "trials:" in line]
    assert all("from the record" in line for line in measured if " expected" not in line)


@pytest.mark.xdist_group("recommended")
def test_recommend_leaves_a_page_and_loses_nothing_where_it_cannot(recommended):
    folder, (_, first, told) = recommended
    (page,) = folder.glob("autobatch-runs/*/report.html")
    assert f"report: {page.relative_to(folder)}" in told
    assert f"{json.loads(first)['learning_rate']:.4g}" in page.read_text()
    page.unlink()
    page.mkdir()
    arguments = ("recommend", folder / "recipe.yaml", *settings(*FAST), "--json", "--quiet")
    code, stdout, stderr = autobatch(*arguments, cwd=folder)
    page.rmdir()
    assert (code, json.loads(stdout)["candidates"]) == (0, json.loads(first)["candidates"])
    assert stderr.startswith("note: the report was not written: ")


@pytest.mark.xdist_group("recommended")
def test_another_run_on_the_same_measurements_has_the_same_trials_and_answer(recommended):
    folder, (_, first, _) = recommended
    again = folder / "again"
    again.mkdir()
    kept = [
        line
        for number, line in enumerate(lines(folder))
        if number == 0 or json.loads(line).get("task", {}).get("type") in ("probe", "benchmark")
    ]
    (again / FILE_NAME).write_text("\n".join(kept) + "\n")
    arguments = ("recommend", folder / "recipe.yaml", *settings(*FAST), "--json")
    code, stdout, stderr = autobatch(*arguments, "--run-dir", again, cwd=folder)
    assert code == 0, stderr
    names = ("batch_size", "learning_rate", "candidates", "noise_scale", "speedup", "verdict")
    assert {n: json.loads(stdout)[n] for n in names} == {n: json.loads(first)[n] for n in names}


@pytest.mark.xdist_group("recommended")
def test_the_table_names_the_answer_and_the_reasons(recommended):
    folder, (_, first, _) = recommended
    arguments = ("recommend", folder / "recipe.yaml", *settings(*FAST), "--quiet")
    _, stdout, stderr = autobatch(*arguments, cwd=folder)
    assert stderr == ""
    for words in ("batch size", "learning rate", "memory", "Why", "model.fit(x, y, batch_size="):
        assert words in stdout
    assert str(json.loads(first)["batch_size"]) in stdout


@pytest.mark.parametrize(
    ("arguments", "code", "words"),
    [
        (["probe", "nowhere.yaml"], 2, "There is no file nowhere.yaml"),
        (["probe", "."], 2, "is a directory"),
        (["probe", "recipe.yaml", "--set", "device.memry_limit=1GiB"], 2, "memory_limit"),
        (["probe", "recipe.yaml", "--set", "batch_sizes.min=1000"], 2, "there are 48"),
        (["probe", f"{HERE}/targets.py:modle"], 2, "Did you mean model?"),
        (["probe", f"{HERE}/targets.py:wide_model", "--set", "device.memory_limit=1"], 3, "fits"),
        (["probe", f"{HERE}/targets.py:raising_model"], 4, "no such architecture"),
        (["probe", "recipe.yaml", "--run-dir", "recipe.yaml/run"], 2, "--run-dir"),
        (["recommend", f"{HERE}/targets.py:model"], 2, "recommend needs data"),
    ],
)
def test_mistakes_get_one_clear_message_and_their_exit_code(
    recipe, tmp_path, arguments, code, words
):
    found, stdout, stderr = autobatch(*arguments, "--quiet", cwd=tmp_path)
    assert (found, stdout) == (code, "")
    assert words in stderr
    assert "autobatch/" not in stderr.replace(f"{HERE}", "")  # no traceback of ours


def test_the_users_own_traceback_is_shown(tmp_path):
    target = f"{HERE}/targets.py:raising_model"
    _, _, stderr = autobatch("probe", target, "--quiet", cwd=tmp_path)
    assert "In your code:" in stderr
    assert "in raising_model" in stderr


def test_schema_prints_a_json_schema(tmp_path):
    code, stdout, _ = autobatch("schema", cwd=tmp_path)
    assert code == 0
    assert "batch_sizes" in json.dumps(json.loads(stdout))


def test_the_version_is_told_with_those_that_matter_to_results(tmp_path):
    code, stdout, _ = autobatch("--version", cwd=tmp_path)
    assert code == 0
    assert re.fullmatch(r"autobatch \d+\.\d+\.\d+ \(keras [\d.]+, .*Python [\d.]+\)\n", stdout)
