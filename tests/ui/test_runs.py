"""Runs that are interrupted, or asked something else: nothing measured is lost."""

import fcntl
import json
import os
import shutil
import signal
import subprocess
import termios

import psutil
import pytest
from commands import (
    COMMAND,
    ENDING_SECONDS,
    FAST,
    HERE,
    autobatch_here,
    lines,
    measured_in,
    settings,
    start,
    wait_for,
)
from pretend import PretendExecutor, inspected

from autobatch import opening
from autobatch.engine.record_file import FILE_NAME
from autobatch.engine.runs import RunSummary
from autobatch.protocol import Trained, changed


def test_a_changed_model_in_the_same_run_directory_is_refused_unless_fresh(
    recipe, tmp_path, monkeypatch
):
    monkeypatch.setattr(opening, "LocalExecutor", PretendExecutor)
    common = ("--run-dir", "run", "--quiet", *settings("batch_sizes.max=8"))
    assert autobatch_here("probe", recipe, *common, cwd=tmp_path)[0] == 0
    other = (*common, *settings("args={width: 9}"))
    code, _, stderr = autobatch_here("probe", recipe, *other, cwd=tmp_path)
    assert code == 5
    assert "args.width was not set and is 9" in stderr
    assert autobatch_here("probe", recipe, *other, "--fresh", cwd=tmp_path)[0] == 0
    assert (tmp_path / "run.old-1" / FILE_NAME).exists()


class SlowTrials(PretendExecutor):
    """Trains as it does, but takes longer."""

    def _trial(self, task):
        trained = super()._trial(task)
        if isinstance(trained, Trained):
            return changed(trained, train_seconds=2 * trained.train_seconds)
        return trained


def seconds_trained(lines):
    outcomes = [json.loads(line)["outcome"] for line in lines if '"type":"trained"' in line]
    return sum(outcome["train_seconds"] for outcome in outcomes)


def test_trials_that_are_trained_anew_are_the_same_and_so_is_the_answer(
    recipe, tmp_path, monkeypatch
):
    answers, told = [], []
    for executor, anew in ((PretendExecutor, []), (SlowTrials, ["--fresh-trials"])):
        monkeypatch.setattr(opening, "LocalExecutor", executor)
        arguments = ("recommend", recipe, "--run-dir", "run", "--json", *anew)
        code, stdout, stderr = autobatch_here(*arguments, cwd=tmp_path)
        assert code == 0, stderr
        answers.append(json.loads(stdout))
        told.append((tmp_path / "run" / FILE_NAME).read_text().splitlines())
    assert "What was measured before is kept in run.old-1." in " ".join(stderr.split())
    assert (tmp_path / "run.old-1" / FILE_NAME).read_text().splitlines() == told[0]
    assert measured_in(told[1]) == measured_in(told[0])
    assert seconds_trained(told[1]) == pytest.approx(2 * seconds_trained(told[0]))
    names = ("batch_size", "learning_rate", "candidates", "noise_scale", "speedup", "verdict")
    first, again = ({name: answer[name] for name in names} for answer in answers)
    assert again == first


class Edited(PretendExecutor):
    """Of code that is not as it was."""

    def __init__(self, target, logs, **_):
        super().__init__(target, logs, facts=inspected(code_fingerprint="edited"))


def test_where_trials_cannot_be_trained_anew_for_what_was_edited_the_old_run_is_in_its_place(
    recipe, tmp_path, monkeypatch
):
    arguments = ("recommend", recipe, "--run-dir", "run")
    monkeypatch.setattr(opening, "LocalExecutor", PretendExecutor)
    assert autobatch_here(*arguments, cwd=tmp_path)[0] == 0
    there = {path.name for path in tmp_path.iterdir()}
    files = {path: path.read_bytes() for path in (tmp_path / "run").iterdir() if path.is_file()}
    monkeypatch.setattr(opening, "LocalExecutor", Edited)
    code, _, stderr = autobatch_here(*arguments, "--fresh-trials", cwd=tmp_path)
    assert code == 5
    told = " ".join(stderr.split())
    assert "What was measured before is in run again." in told
    assert "a Python file of yours has changed, or one that it imports" in told
    assert {path.name for path in tmp_path.iterdir()} == there
    assert {path: path.read_bytes() for path in files} == files


WRITTEN = """
import keras

def build_model():
    model = keras.Sequential([keras.Input((4,)), keras.layers.Dense(1)])
    model.compile("sgd", "mse")
    return model
"""


def test_an_edited_file_in_the_same_run_directory_is_refused_with_what_changed(tmp_path):
    file = tmp_path / "train.py"
    arguments = ("probe", "train.py", "--run-dir", "run", "--quiet", *settings("batch_sizes.max=8"))
    file.write_text(WRITTEN)
    assert autobatch_here(*arguments, cwd=tmp_path)[0] == 0
    measured = (tmp_path / "run" / FILE_NAME).read_text()
    file.write_text(WRITTEN + "\nWIDTH = 4\n")
    code, stdout, stderr = autobatch_here(*arguments, cwd=tmp_path)
    assert (code, stdout) == (5, "")
    assert "a Python file of yours has changed, or one that it imports" in stderr
    assert "--fresh" in stderr
    assert (tmp_path / "run" / FILE_NAME).read_text() == measured


def test_a_file_that_changes_while_it_is_measured_ends_the_run(tmp_path):
    changing = WRITTEN.replace("    return", "    open(__file__, 'a').write('# more')\n    return")
    (tmp_path / "train.py").write_text(changing)
    code, stdout, stderr = autobatch_here("probe", "train.py", "--quiet", cwd=tmp_path)
    assert (code, stdout) == (2, "")
    assert "train.py was changed while it was measured" in stderr
    assert len(lines(tmp_path)) == 1


def test_fresh_leaves_a_directory_that_is_no_run_alone(recipe, tmp_path):
    (tmp_path / "thesis").mkdir()
    (tmp_path / "thesis" / "chapter.txt").write_text("")
    code, _, stderr = autobatch_here(
        "probe", recipe, "--fresh", "--run-dir", "thesis", cwd=tmp_path
    )
    assert code == 2
    assert "is not a run directory" in stderr
    assert (tmp_path / "thesis" / "chapter.txt").exists()


def interrupted(recipe, folder, kind, *signals, as_json=False):
    """Start, wait for an answer of some kind, send signals; (stdout, stderr). None may live on."""
    few = settings(*FAST, "batch_sizes.max=32", "benchmark.sizes=[8]")
    arguments = ("recommend", recipe, *few, *(["--json"] if as_json else []))
    process = start(*arguments, cwd=folder)
    wait_for(lambda: any(f'"type":"{kind}"' in line for line in lines(folder)))
    children = psutil.Process(process.pid).children(recursive=True)
    for number in signals:
        process.send_signal(number)
    stdout, stderr = process.communicate(timeout=60)
    assert process.returncode == 130
    assert "Traceback" not in stderr
    assert "The same command goes on from there:\n  python -m autobatch recommend" in stderr
    assert not psutil.wait_procs(children, timeout=ENDING_SECONDS)[1]
    assert all(json.loads(line) for line in lines(folder))
    return stdout, stderr


def test_an_interrupted_run_tells_what_it_knows_and_goes_on_from_there(recipe, tmp_path):
    recipe.write_text(recipe.read_text().replace("targets.py:data", "targets.py:much_data"))
    stdout, stderr = interrupted(recipe, tmp_path, "fits", signal.SIGTERM, as_json=True)
    assert "Not verified" in stderr
    assert "no recommendation" in stderr
    assert stdout == ""
    probed = lines(tmp_path)
    interrupted(recipe, tmp_path, "measured", signal.SIGINT, signal.SIGINT)
    assert lines(tmp_path)[: len(probed)] == probed
    asked = measured_in(lines(tmp_path))
    assert len(asked) == len(set(asked))


SLOW = """
import time
from targets import data

def load():
    time.sleep(1.1)
    return data()
"""


def of_its_own_terminal():
    signal.signal(signal.SIGHUP, signal.SIG_DFL)  # the tests themselves may run under nohup
    fcntl.ioctl(0, termios.TIOCSCTTY, 0)


def test_a_terminal_that_is_closed_ends_the_run_and_leaves_no_copy_of_the_data(recipe, tmp_path):
    (tmp_path / "slow.py").write_text(f"import sys; sys.path.append({str(HERE)!r})\n{SLOW}")
    recipe.write_text(recipe.read_text().replace(f"{HERE}/targets.py:data", "slow.py:load"))
    terminal, streams = os.openpty()
    command = [*COMMAND, "benchmark", str(recipe), *settings("benchmark.seconds=60s")]
    process = subprocess.Popen(
        command,
        cwd=tmp_path,
        stdin=streams,
        stdout=streams,
        stderr=streams,
        env=os.environ | {"TERM": "dumb"},  # no animation, which nobody reads here
        start_new_session=True,
        preexec_fn=of_its_own_terminal,
    )
    os.close(streams)
    wait_for(lambda: any('"type":"fits"' in line for line in lines(tmp_path)))
    kept = next(tmp_path.glob("*/*/logs/kept-data"))
    os.close(terminal)
    assert process.wait(timeout=240) == 130
    assert not kept.exists()


HANGING = """
import re
from pathlib import Path

def build_model():
    Path("begun").touch()
    re.match("(a+)+$", 40 * "a" + "b")
"""


def test_a_worker_that_hangs_in_c_ends_with_a_tool_that_is_killed(tmp_path):
    """In a regular expression no thread of its process runs."""
    (tmp_path / "train.py").write_text(HANGING)
    process = start("probe", "train.py", cwd=tmp_path)
    wait_for((tmp_path / "begun").exists)
    children = psutil.Process(process.pid).children(recursive=True)
    process.kill()
    process.communicate(timeout=60)
    alive = psutil.wait_procs(children, timeout=ENDING_SECONDS)[1]
    for each in alive:
        each.kill()
    assert children and not alive


@pytest.fixture
def kept(tmp_path):
    """A folder with one run, which came to its answer, as `autobatch runs` finds it."""
    run = tmp_path / "autobatch-runs" / "größe-1"
    run.mkdir(parents=True)
    shutil.copy(HERE / "engine" / "records" / "recommended.jsonl", run / FILE_NAME)
    return tmp_path


def piped(*arguments, cwd, encoding):
    """What comes out of a pipe of that encoding, as bytes."""
    command = ["env", f"PYTHONIOENCODING={encoding}", *COMMAND, *map(str, arguments)]
    return subprocess.run(command, cwd=cwd, capture_output=True, check=True).stdout


def test_json_is_whole_whatever_the_encoding_of_stdout(kept):
    whole = piped("runs", "--json", cwd=kept, encoding="utf-8")
    assert piped("runs", "--json", cwd=kept, encoding="ascii") == whole
    (found,) = json.loads(whole)
    assert (found["name"], found["state"]) == ("größe-1", "recommended")
    assert found.keys() == set(RunSummary.__struct_fields__)


def test_tables_are_spelled_in_ascii_where_the_encoding_knows_no_more(kept):
    assert b"33x sooner" in piped("runs", cwd=kept, encoding="ascii")
    told = piped("runs", cwd=kept, encoding="latin-1").decode("latin-1")
    assert "größe-1" in told and "33× sooner" in told


def test_lines_of_a_list_in_a_pipe_are_whole(kept, monkeypatch):
    monkeypatch.setenv("COLUMNS", "60")
    name = "a-long-name-of-a-model-" * 3
    (kept / "autobatch-runs" / "größe-1").rename(kept / "autobatch-runs" / name)
    _, stdout, _ = autobatch_here("runs", cwd=kept)
    assert name in stdout.splitlines()[0]
    assert stdout.splitlines()[0].endswith("s")  # the seconds that it took


def test_a_folder_that_is_not_there_is_a_mistake_and_an_empty_one_is_not(tmp_path):
    code, _, stderr = autobatch_here("runs", "typo", cwd=tmp_path)
    assert (code, stderr) == (2, "autobatch: There is no folder typo.\n")
    assert autobatch_here("runs", ".", cwd=tmp_path)[0] == 0
    assert autobatch_here("runs", cwd=tmp_path)[0] == 0
    assert autobatch_here("runs", "--quiet", cwd=tmp_path) == (0, "", "")
