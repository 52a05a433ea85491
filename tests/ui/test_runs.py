"""Runs that are interrupted, killed, or asked something else: nothing measured is lost."""

import json
import signal

import psutil
from commands import FAST, autobatch, lines, settings, start, wait_for

from autobatch.engine.record_file import FILE_NAME


def test_a_changed_model_in_the_same_run_directory_is_refused_unless_fresh(recipe, tmp_path):
    common = ("--run-dir", "run", "--quiet", *settings("batch_sizes.max=8"))
    assert autobatch("probe", recipe, *common, cwd=tmp_path)[0] == 0
    changed = (*common, *settings("args={width: 9}"))
    code, _, stderr = autobatch("probe", recipe, *changed, cwd=tmp_path)
    assert code == 5
    assert "target.args.width was None and is 9" in stderr
    assert autobatch("probe", recipe, *changed, "--fresh", cwd=tmp_path)[0] == 0
    assert (tmp_path / "run.old-1" / FILE_NAME).exists()


def test_fresh_leaves_a_directory_that_is_no_run_alone(recipe, tmp_path):
    (tmp_path / "thesis").mkdir()
    (tmp_path / "thesis" / "chapter.txt").write_text("")
    code, _, stderr = autobatch("probe", recipe, "--fresh", "--run-dir", "thesis", cwd=tmp_path)
    assert code == 2
    assert "is not a run directory" in stderr
    assert (tmp_path / "thesis" / "chapter.txt").exists()


def test_an_interrupt_leaves_no_process_keeps_the_record_and_says_how_to_go_on(recipe, tmp_path):
    process = start("recommend", recipe, *settings(*FAST), cwd=tmp_path)
    wait_for(lambda: len(lines(tmp_path)) >= 3)
    children = psutil.Process(process.pid).children(recursive=True)
    process.send_signal(signal.SIGINT)
    _, stderr = process.communicate(timeout=60)
    assert process.returncode == 130
    assert "The same command goes on from there" in stderr
    assert "Traceback" not in stderr
    assert not psutil.wait_procs(children, timeout=10)[1]


def test_a_killed_run_leaves_no_worker_and_repeats_no_finished_measurement(recipe, tmp_path):
    recipe.write_text(recipe.read_text().replace("targets.py:data", "targets.py:much_data"))
    process = start("recommend", recipe, *settings(*FAST), cwd=tmp_path)
    wait_for(lambda: len(lines(tmp_path)) >= 6)
    children = psutil.Process(process.pid).children(recursive=True)
    process.kill()
    process.communicate()
    assert not psutil.wait_procs(children, timeout=10)[1]
    before = lines(tmp_path)
    code, _, stderr = autobatch("recommend", recipe, *settings(*FAST), cwd=tmp_path)
    assert code == 0, stderr
    tasks = [json.loads(line)["task"] for line in lines(tmp_path) if '"task"' in line]
    measured = [json.dumps(task) for task in tasks if task["type"] != "inspect"]
    assert len(measured) == len(set(measured))
    assert lines(tmp_path)[: len(before)] == before
