"""Commands that docs/ shows are run as they stand; the README's in ui/test_recommended.py.

Of `recommend`, which takes minutes, the options are parsed and the settings read into a recipe.
Of others, a worker looks at the model and the data, and a pretend device tells the rest.
"""

import re
import shlex
import shutil
import subprocess
import sys
from itertools import pairwise
from pathlib import Path

import msgspec
import pytest
from commands import autobatch_here, run_shown, shown_in
from pretend import InspectingExecutor

from autobatch import opening, protocol
from autobatch.core.learning_curves import evaluation_steps
from autobatch.core.scaling import RULES, rule_for
from autobatch.doctor import facts
from autobatch.engine import runs
from autobatch.engine.record_file import Entry
from autobatch.recipe import load_recipe
from autobatch.stages.probes import point_of
from autobatch.ui.reference import recipe_reference

ROOT = Path(__file__).parent.parent
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]
SHOWING = [page for page in PAGES[1:] if shown_in(page.read_text())]


def test_the_reference_of_recipes_is_the_real_one():
    assert (ROOT / "docs" / "recipe.md").read_text() == recipe_reference()


def anchors(page):
    """Of its headings, as GitHub makes them."""
    text = re.sub(r"^ *```.*?^ *```", "", page.read_text(), flags=re.DOTALL | re.MULTILINE)
    headings = re.findall(r"^#+ +(.+?) *$", text, re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


def test_links_between_pages_lead_somewhere():
    links = [
        (page, link)
        for page in PAGES
        for link in re.findall(r"\]\((?!http)([^)]+)\)", page.read_text())
    ]
    astray = []
    for page, link in links:
        path, _, anchor = link.partition("#")
        target = page.parent / path if path else page
        if not target.exists() or (anchor and anchor not in anchors(target)):
            astray.append(f"{page.name}: {link}")
    assert astray == []
    assert sum("#" in link for _, link in links) > 10


def test_there_are_commands_on_other_pages():
    assert {page.stem for page in SHOWING} >= {"budgets", "faq"}


@pytest.mark.parametrize("page", SHOWING, ids=lambda page: page.stem)
def test_commands_of_the_other_pages_are_right(page, tmp_path, monkeypatch):
    monkeypatch.setattr(opening, "LocalExecutor", InspectingExecutor)
    for name in ("digits.py", "digits_mlp.yaml"):
        shutil.copy(ROOT / "recipes" / name, tmp_path)
    (tmp_path / "digits_mlp.yaml").rename(tmp_path / "recipe.yaml")
    for command in shown_in(page.read_text()):
        if " recommend " in command:  # the tutorial runs it
            words = shlex.split(command)[1:]
            given = [value for option, value in pairwise(words) if option == "--set"]
            load_recipe(tmp_path / words[1], given)
            words[1] = "nowhere.yaml"
            status, _, stderr = autobatch_here(*words, cwd=tmp_path)
            assert (status, "no file nowhere.yaml" in stderr) == (2, True), command
        else:
            status, _, stderr = run_shown(command, tmp_path)
            assert status == 0, f"{command}: {stderr}"


def documented_in(page):
    """(name of the type, fields) of each table of docs/results.md that is a type's."""
    for part in page.split("\n## ")[1:]:
        heading, _, body = part.partition("\n")
        (name,) = re.findall(r": `(\w+)`$", heading)
        yield name, re.findall(r"^\| `(\w+)` \|", body, re.MULTILINE)


def test_the_fields_of_results_are_the_real_ones():
    documented = dict(documented_in((ROOT / "docs" / "results.md").read_text()))
    shown = {"Recommendation", "ProbeResult", "BenchmarkResult", "Verification", "Diagnosis"}
    assert shown <= documented.keys()
    for name, fields in documented.items():
        (kind,) = {vars(each)[name] for each in (protocol, facts, runs) if name in vars(each)}
        assert sorted(fields) == sorted(kind.__struct_fields__), name


PROBED = {
    "fits": protocol.Fits(
        peak_bytes=2, least_peak_bytes=1, full_steps=3, steps=3, step_seconds=0.01
    ),
    "predicted": protocol.Predicted(peak_bytes=2),
    "out_of_memory": protocol.OutOfMemory(evidence="OOM"),
    "over_budget": protocol.OverBudget(peak_bytes=2),
    "user_code_failed": protocol.UserCodeFailed(message="ValueError"),
    "timed_out": protocol.TimedOut(deadline_seconds=60.0),
    "crashed": protocol.Crashed(signal=11, exit_code=None, log_tail=""),
}


@pytest.mark.parametrize(("name", "outcome"), PROBED.items(), ids=PROBED)
def test_what_came_of_a_probe_has_the_name_that_results_say(name, outcome):
    page = (ROOT / "docs" / "results.md").read_text()
    told = re.search(r"^\| `outcome` \| `fits`, .*", page, re.MULTILINE)[0]
    assert re.findall(r"`(\w+)`", told)[1:] == [*PROBED]
    task = protocol.Probe(batch_size=8, limit_bytes=3)
    point = point_of(task, Entry(task=task, outcome=outcome, seconds=1.0, log=None))
    shown = msgspec.json.encode(point)
    assert msgspec.json.decode(shown)["outcome"] == name
    assert msgspec.json.decode(shown, type=protocol.ProbePoint) == point


def test_the_rules_by_optimizer_are_the_real_ones():
    page = (ROOT / "docs" / "how-it-works.md").read_text()
    rows = re.findall(r"^\| (.+?) \| `(\w+)` \|", page, re.MULTILINE)
    told = {name: rule for names, rule in rows for name in names.split(", ")}
    assert told.pop("all others") == rule_for("Unheard", "auto")[0]
    assert told == RULES


def test_trials_are_validated_as_often_as_the_page_on_budgets_says():
    page = (ROOT / "docs" / "budgets.md").read_text()
    told = re.search(r"trial is validated (\d+) times, a\s+first\s+trial (\d+) times", page)
    often, seldom = (len(evaluation_steps(1000, is_final=final)) for final in (True, False))
    assert told is not None and told.groups() == (str(often), str(seldom))


def test_the_benchmarks_that_are_named_are_there():
    named = set(re.findall(r"bench/\w+\.\w+", "".join(page.read_text() for page in PAGES)))
    assert "bench/gpu.py" in named
    assert [each for each in sorted(named) if not (ROOT / each).exists()] == []


@pytest.mark.parametrize("name", ["gpu.py", "regret.py"])
def test_benchmarks_of_hours_start_also_where_there_is_no_gpu(name):
    command = [sys.executable, ROOT / "bench" / name, "--help"]
    ended = subprocess.run(command, capture_output=True, text=True, check=False)
    assert ended.returncode == 0, ended.stderr
    assert "--keep" in ended.stdout
