"""Which runs there are, and how far each came."""

import os
import shutil
from pathlib import Path

import msgspec
import pytest

from autobatch.engine.record_file import FILE_NAME, Entry
from autobatch.engine.runs import find_run, runs_in
from autobatch.errors import UsageError
from autobatch.opening import recommendation_in
from autobatch.protocol import Inspect, Ranged, RangeTest

RECORDS = Path(__file__).parent / "records"
RANGE_TEST = RangeTest(
    batch_size=32,
    learning_rate=0.1,
    lowest_factor=0.1,
    highest_factor=10.0,
    steps=100,
    seed=0,
)
TOOK = {"seconds": 1.0, "log": None}


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """Three runs and what is none, in the order they were worked on."""
    monkeypatch.chdir(tmp_path)
    runs = tmp_path / "autobatch-runs"
    for name in ("finished", "half", "damaged", "no-run"):
        (runs / name).mkdir(parents=True)
    shutil.copy(RECORDS / "recommended.jsonl", runs / "finished" / FILE_NAME)
    lines = (RECORDS / "recommended.jsonl").read_text().splitlines()
    (runs / "half" / FILE_NAME).write_text("\n".join(lines[:4]) + "\n")
    (runs / "damaged" / FILE_NAME).write_text("\n".join([*lines[:6], "x", *lines[7:]]) + "\n")
    return runs


def test_each_run_is_listed_with_how_far_it_came(folder):
    found = {run.name: run for run in runs_in(folder)}
    assert set(found) == {"finished", "half", "damaged"}
    assert found["finished"].state == "recommended"
    assert found["finished"].answer == "batch 16, learning rate 0.3753: 33× sooner"
    assert found["finished"].spent_seconds > 10
    assert (found["half"].state, found["half"].jobs) == ("unfinished", 3)
    assert found["damaged"].state == "unreadable"
    assert "record.jsonl:7" in found["damaged"].answer


def test_of_an_answer_that_is_not_for_certain_it_is_told_whether_anything_changes(folder):
    path = folder / "finished" / FILE_NAME
    *before, answer = path.read_text().splitlines()
    likely = answer.replace('"verdict":"better"', '"verdict":"inconclusive"')
    assert likely != answer
    path.write_text("\n".join([*before, likely]) + "\n")
    (found,) = (run for run in runs_in(folder) if run.name == "finished")
    assert found.answer == "batch 16, learning rate 0.3753: likely 33× sooner"


def test_the_last_job_of_a_run_is_named_in_words(folder):
    header = (folder / "half" / FILE_NAME).read_text().splitlines()[0]
    for task, told in ((RANGE_TEST, "range test"), (Inspect(batch_size=32), "inspect")):
        entry = Entry(task=task, outcome=Ranged(factors=(), losses=(), broke_down=True), **TOOK)
        lines = f"{header}\n{msgspec.json.encode(entry).decode()}\n"
        (folder / "half" / FILE_NAME).write_text(lines)
        (found,) = (run for run in runs_in(folder) if run.name == "half")
        assert found.answer == f"last job: {told}"


def test_where_there_is_no_folder_there_are_no_runs(tmp_path):
    assert runs_in(tmp_path / "nowhere") == ()


def test_a_run_is_found_by_its_path_or_its_name(folder):
    assert find_run("half").samefile(folder / "half")
    assert find_run(str(folder / "half")) == folder / "half"


@pytest.mark.parametrize("text", ["train.py", "train", "train-0000000b"])
def test_of_a_target_the_run_worked_on_last_is_found(folder, text):
    lines = (RECORDS / "recommended.jsonl").read_text()
    for name, model in (
        ("train-0000000a", "train.py:build_model"),
        ("train-0000000b", "train.py:build_model"),
        ("train-v2-0000000c", "train.py:v2"),
    ):
        (folder / name).mkdir()
        (folder / name / FILE_NAME).write_text(lines.replace("digits.py:build_mlp", model, 1))
    os.utime(folder / "train-0000000a" / FILE_NAME, (1, 1))
    assert find_run(text).name == "train-0000000b"
    assert find_run("train.py:v2").name == "train-v2-0000000c"


@pytest.mark.parametrize("begun_since", ["half", "damaged"])
def test_a_run_begun_since_does_not_hide_what_a_target_was_recommended(folder, begun_since):
    for age, name in enumerate((begun_since, "finished")):
        moved = (folder / name).rename(folder / f"train-0000000{age}")
        os.utime(moved / FILE_NAME, (9 - age, 9 - age))
    assert find_run("train").name == "train-00000000"
    assert recommendation_in("train").batch_size == 16


def test_a_file_of_the_same_name_elsewhere_has_other_runs(folder, tmp_path):
    (folder / "train-0000000a").mkdir()
    shutil.copy(RECORDS / "recommended.jsonl", folder / "train-0000000a" / FILE_NAME)
    (tmp_path / "train.py").write_text("")
    with pytest.raises(UsageError, match="There is no run"):
        find_run("train.py")  # that run is of a folder far away


@pytest.mark.parametrize(("name", "hint"), [("finishd", "Did you mean finished"), ("x", "lists")])
def test_a_run_that_is_not_there_is_refused_with_the_nearest(folder, name, hint):
    with pytest.raises(UsageError, match="There is no run") as refused:
        find_run(name)
    assert hint in str(refused.value)
