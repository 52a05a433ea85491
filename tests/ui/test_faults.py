"""Faults of autobatch itself: exit code 1, what is to be reported, and nothing measured lost."""

import re
import subprocess
import sys

import msgspec
from commands import PRETENDING, autobatch_here, lines, settings
from pretend import PretendExecutor

from autobatch import opening
from autobatch.protocol import ProbeResult

# As if a worker lacked something of ours that it needs once it has imported the user's file.
WORKER_THAT_FAILS = """
import keras
from autobatch.worker.tasks import inspect

inspect.users_code = None


def build_model():
    model = keras.Sequential([keras.Input((4,)), keras.layers.Dense(1)])
    model.compile("sgd", "mse")
    return model
"""
# As if the command itself lacked what it does last, when all is measured.
COMMAND_THAT_FAILS = f"""
{PRETENDING}
tuner._keep = None
main()
"""
FEW = settings("batch_sizes.max=8")


def test_a_worker_that_fails_by_our_fault_is_told_with_the_log_to_report(tmp_path):
    (tmp_path / "train.py").write_text(WORKER_THAT_FAILS)
    code, stdout, stderr = autobatch_here("probe", "train.py", "--quiet", cwd=tmp_path)
    assert (code, stdout) == (1, "")
    told = "autobatch: A worker failed by a fault of autobatch: TypeError: 'NoneType' object"
    assert stderr.startswith(told)
    log = re.search(r"^Please report it with (.*)\.$", stderr, re.MULTILINE)[1]
    assert "Traceback (most recent call last)" in (tmp_path / log).read_text()


def test_a_command_that_fails_by_our_fault_shows_where_and_keeps_what_was_measured(
    recipe, tmp_path, monkeypatch
):
    ran = subprocess.run(
        [sys.executable, "-c", COMMAND_THAT_FAILS, "probe", recipe, *FEW],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=200,
    )
    assert (ran.returncode, ran.stdout) == (1, "")
    assert "Traceback (most recent call last)" in ran.stderr
    assert ran.stderr.rstrip().endswith("TypeError: 'NoneType' object is not callable")
    measured = lines(tmp_path)
    monkeypatch.setattr(opening, "LocalExecutor", PretendExecutor)
    code, stdout, _ = autobatch_here("probe", recipe, *FEW, "--json", "--quiet", cwd=tmp_path)
    assert (code, msgspec.json.decode(stdout, type=ProbeResult).largest_fitting) == (0, 8)
    added = [line for line in lines(tmp_path)[len(measured) :] if '"task"' in line]
    assert all('"task":{"type":"inspect"' in line for line in added)
