"""The README's tutorial, and all that is to be seen of its recommendation: JSON, table, page.

Its run is killed on the way, and the same command goes on from there: what is to be seen of a
recommendation must be so of one that came about in two parts, too.
"""

import json
import re
import runpy
from dataclasses import dataclass
from pathlib import Path
from typing import get_args, get_type_hints

import msgspec
import psutil
import pytest
from commands import (
    ENDING_SECONDS,
    FAST,
    as_told,
    autobatch_here,
    lines,
    measured_in,
    run_shown,
    settings,
    shown_in,
    start_shown,
    wait_for,
)
from test_annealed_trials import ANNEALED, pasted

from autobatch.engine.local import LocalExecutor
from autobatch.engine.record_file import FILE_NAME, read_record
from autobatch.protocol import ProbePoint, ProbeResult, Recommendation, Trained

README = (Path(__file__).parent.parent.parent / "README.md").read_text()
TUTORIAL = README[README.index("## Your own model") : README.index("## Commands")]


@dataclass
class Tutorial:
    """What the tutorial came to, up to its recommendation."""

    folder: Path
    before_the_kill: list[str]  # lines of the record
    left_behind: list[psutil.Process]
    recommended: tuple[int, str, str]  # exit code, JSON, what was told
    fast: tuple[str, ...]  # settings, of all its commands

    @property
    def answer(self):
        return self.recommended[1]


@pytest.fixture(scope="module")
def tutorial(tmp_path_factory):
    folder = tmp_path_factory.mktemp("recommended")
    (code,) = re.findall(r"```python\n# train\.py\n(.*?)```", TUTORIAL, re.DOTALL)
    (folder / "train.py").write_text(code)
    for command in shown_in(TUTORIAL):
        if " recommend " in command:
            break
        status, _, stderr = run_shown(command, folder)
        assert status == 0, f"{command}: {stderr}"
    process = start_shown(command, folder)
    wait_for(lambda: len(lines(folder)) >= 6)
    workers = psutil.Process(process.pid).children(recursive=True)
    process.kill()
    process.communicate()
    left_behind = psutil.wait_procs(workers, timeout=ENDING_SECONDS)[1]
    before = lines(folder)
    budget, again = as_told(lambda *more: run_shown(f"{command} --json", folder, (*FAST, *more)))
    return Tutorial(folder, before, left_behind, again, (*FAST, *budget))


def test_a_killed_run_leaves_no_worker_and_repeats_no_finished_measurement(tutorial):
    assert not tutorial.left_behind
    found = lines(tutorial.folder)
    measured = measured_in(found)
    assert len(measured) == len(set(measured))
    assert found[: len(tutorial.before_the_kill)] == tutorial.before_the_kill


def test_recommend_prints_the_whole_recommendation_as_json(tutorial):
    code, stdout, stderr = tutorial.recommended
    assert code == 0, stderr
    result = msgspec.json.decode(stdout, type=Recommendation)
    assert result.batch_size in {point.batch_size for point in result.benchmark.points}
    assert result.peak_bytes > 0
    assert result.reasons
    assert result.environment["versions"]["keras"]


STABLE = {
    "": "batch_size learning_rate optimizer learning_rate_rule gradient_accumulation_steps "
    "per_replica_batch_size baseline val_loss speedup verdict confidence noise_scale "
    "candidates tied_with probe benchmark reasons warnings environment wall_seconds "
    "schema_version",
    "baseline": "batch_size learning_rate val_loss",
    "speedup": "value low high",
    "noise_scale": "value low high",
    "candidates": "batch_size learning_rate seeds val_loss time_to_target_seconds status",
    "probe": "largest_fitting ceiling limit_bytes headroom bounded_by verified probes wall_seconds",
    "probe probes": "batch_size outcome peak_bytes seconds",
    "benchmark": "points knee best bound_by wall_seconds",
    "benchmark points": "batch_size samples_per_second low high device_samples_per_second "
    "step_seconds peak_bytes",
}
STABLE_VALUES = {
    (ProbePoint, "outcome"): "fits predicted out_of_memory over_budget user_code_failed timed_out "
    "crashed",
    (ProbeResult, "bounded_by"): "memory host_memory samples range failure time trials",
    (Recommendation, "verdict"): "better tie inconclusive",
}


def test_the_stable_names_are_all_there(tutorial):
    for place, names in STABLE.items():
        found = json.loads(tutorial.answer)
        for name in place.split():
            found = found[name]
        parts = found if isinstance(found, list) else [found]
        assert parts and all(set(names.split()) <= each.keys() for each in parts), place


def test_the_stable_values_are_those_there_are():
    for (kind, name), values in STABLE_VALUES.items():
        assert {*get_args(get_type_hints(kind)[name])} == set(values.split()), name


def test_a_second_start_gives_the_same_answer_from_the_record(tutorial):
    folder, first = tutorial.folder, tutorial.answer
    measured = measured_in(lines(folder))
    again = autobatch_here(
        "recommend", folder / "recipe.yaml", *settings(*tutorial.fast), "--json", cwd=folder
    )
    code, stdout, _ = again
    assert code == 0
    assert json.loads(stdout)["candidates"] == json.loads(first)["candidates"]
    assert measured_in(lines(folder)) == measured


def test_recommend_leaves_a_page_and_loses_nothing_where_it_cannot(tutorial):
    folder, (_, first, told) = tutorial.folder, tutorial.recommended
    (page,) = folder.glob("autobatch-runs/*/report.html")
    assert f"report: {page.relative_to(folder)}" in told
    assert f"{json.loads(first)['learning_rate']:.4g}" in page.read_text()
    page.unlink()
    page.mkdir()
    fast = settings(*tutorial.fast)
    arguments = ("recommend", folder / "recipe.yaml", *fast, "--json", "--quiet")
    code, stdout, stderr = autobatch_here(*arguments, cwd=folder)
    page.rmdir()
    assert (code, json.loads(stdout)["candidates"]) == (0, json.loads(first)["candidates"])
    assert stderr.startswith("note: the report was not written: ")


def test_a_trial_that_is_trained_anew_reports_the_same_losses(tutorial, tmp_path):
    record = read_record(next(tutorial.folder.glob(f"*/*/{FILE_NAME}")).parent)
    trials = [each for each in record.entries if isinstance(each.outcome, Trained)]
    last_of = {each.task.batch_size: each for each in trials}
    executor = LocalExecutor(record.header.target, tmp_path)
    for entry in last_of.values():  # on a slow machine of one size alone
        again = executor.run(entry.task, deadline_seconds=120)
        assert again.evaluations == entry.outcome.evaluations


def test_the_table_names_the_answer_and_the_reasons(tutorial):
    folder, first = tutorial.folder, tutorial.answer
    arguments = ("recommend", folder / "recipe.yaml", *settings(*tutorial.fast), "--quiet")
    _, stdout, stderr = autobatch_here(*arguments, cwd=folder)
    assert stderr == ""
    for words in ("batch size", "learning rate", "memory", "Why", "model.fit(x, y, batch_size="):
        assert words in stdout
    assert f"batch_size={json.loads(first)['batch_size']})" in stdout


def test_the_rest_of_the_tutorial_works_too(tutorial):
    shown = shown_in(TUTORIAL)
    for command in shown[next(i for i, each in enumerate(shown) if " recommend " in each) :]:
        status, stdout, stderr = run_shown(command, tutorial.folder, tutorial.fast)
        if " verify " in command:  # the machine may be slower by now
            assert status in (0, 6), stderr
            assert ("does not hold" if status else "holds") in stdout
        else:
            assert status == 0, f"{command}: {stderr}"
        assert stdout


def test_a_second_answer_is_for_annealed_trials_and_what_is_pasted_trains_by_them(tutorial):
    """Of the same measurements but for the trials; the last test, since the run then has both."""
    folder = tutorial.folder
    few = ("batch_sizes.max=32", "trials.learning_rate=none")
    annealed = settings(*tutorial.fast, *few, ANNEALED)
    more = ("--json", "--quiet", "--tensorboard", "events")
    code, stdout, stderr = autobatch_here("recommend", "recipe.yaml", *annealed, *more, cwd=folder)
    assert (code, stderr) == (0, "")
    found = json.loads(stdout)
    assert found["learning_rate_schedule"] == "warmup_stable_decay"
    assert "rose over the first 10% of the steps" in " ".join(found["reasons"])
    written = [each.name.endswith("-warmup_stable_decay") for each in folder.glob("events/*/*")]
    assert {*written} == {True, False}
    users = runpy.run_path(str(folder / "train.py"))
    (x, y), _ = users["load_data"]()
    rates = pasted(found["snippet"], users["build_model"](), x=x, y=y, EPOCHS=2)
    assert len(rates) == 2 * found["steps_per_epoch"]
    assert 0 < min(rates) < max(rates) == pytest.approx(found["learning_rate"])
