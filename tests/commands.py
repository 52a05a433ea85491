"""Commands as a user types them, in real processes."""

import contextlib
import ctypes
import io
import json
import os
import re
import shlex
import signal
import subprocess
import sys
import time
from pathlib import Path

import psutil

from autobatch.engine.record_file import FILE_NAME
from autobatch.ui.cli import main

HERE = Path(__file__).parent
COMMAND = [sys.executable, "-m", "autobatch"]
MEASURING = ("probe", "benchmark", "recommend", "verify")
QUICK = ("benchmark.seconds=200ms", "batch_sizes.min=16")
# A command that measures in no process: to be run by `python -c`, its arguments after it.
PRETENDING = f"""
import sys
sys.path.append({str(HERE)!r})
from autobatch import opening, tuner
from autobatch.ui.cli import main
from pretend import PretendExecutor

opening.LocalExecutor = PretendExecutor
"""
FAST = (
    *("benchmark.seconds=200ms", "batch_sizes.min=32", "batch_sizes.max=64"),
    *("trials.budget=8s", "trials.seeds=2"),
)
ENDING_SECONDS = 60  # for processes that were killed: a busy machine takes its time
# Of Linux: prctl(2) and capabilities(7).
PR_CAPBSET_DROP, CAP_DAC_OVERRIDE, CAP_DAC_READ_SEARCH = 24, 1, 2


def settings(*overrides):
    return [part for override in overrides for part in ("--set", override)]


def start(*arguments, cwd):
    return subprocess.Popen(
        [*COMMAND, *map(str, arguments)],
        cwd=cwd,
        text=True,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        env=os.environ | {"COLUMNS": "100"},
        preexec_fn=_as_a_user,
    )


def _as_a_user():
    # Where the tests run in a shell's background, SIGINT is ignored, and would be by this, too.
    signal.signal(signal.SIGINT, signal.SIG_DFL)
    if os.geteuid() == 0:  # who is root may read everything, but for these capabilities
        for capability in (CAP_DAC_OVERRIDE, CAP_DAC_READ_SEARCH):
            ctypes.CDLL(None).prctl(PR_CAPBSET_DROP, capability, 0, 0, 0)


def autobatch(*arguments, cwd):
    return ended(start(*arguments, cwd=cwd))


def ended(process):
    """(exit code, standard output, standard error)"""
    stdout, stderr = process.communicate(timeout=300)
    return process.returncode, stdout, stderr


def autobatch_here(*arguments, cwd):
    """The same in this process, whose template has imported the frameworks before."""
    out, err = (
        io.TextIOWrapper(io.BytesIO(), encoding="utf-8", write_through=True) for _ in range(2)
    )
    here, argv = Path.cwd(), sys.argv
    os.chdir(cwd)
    sys.argv = ["autobatch", *map(str, arguments)]
    try:
        with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
            main()
    except SystemExit as end:
        return end.code or 0, *(each.buffer.getvalue().decode() for each in (out, err))
    finally:
        os.chdir(here)
        sys.argv = argv


def wait_for(condition, seconds=200):
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "it did not happen in time"
        time.sleep(0.05)


def wait_for_end(*pids):
    """Of processes that were killed; their parents may be gone before they are reaped."""
    wait_for(lambda: not any(map(is_alive, pids)), ENDING_SECONDS)


def is_alive(pid):
    try:
        return psutil.Process(pid).status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


def lines(folder):
    records = list(folder.glob("*/*/" + FILE_NAME))
    return records[0].read_text().splitlines() if records else []


def measured_in(lines):
    """The tasks in a record, as they stand there, sorted; but for inspections."""
    tasks = [json.loads(line)["task"] for line in lines if '"task"' in line]
    return sorted(json.dumps(task) for task in tasks if task["type"] != "inspect")


def shown_in(text):
    """The autobatch commands in the console blocks of a Markdown page."""
    blocks = re.findall(r"```console\n(.*?)```", text, re.DOTALL)
    return [line for block in blocks for line in re.findall(r"^\$ (autobatch .*)$", block, re.M)]


def start_shown(command, cwd):
    return start(*_words(command, FAST), cwd=cwd)


def run_shown(command, cwd, fast=FAST):
    return autobatch_here(*_words(command, fast), cwd=cwd)


def as_told(run):
    """(settings, what `run(*settings)` ends with): the budget that a slow machine is told to give.

    None, where FAST's buys enough; nor is it asked again for any other failure.
    """
    end = run()
    budget = re.findall(r"^Give at least --set (trials\.budget=\S+)", end[2], re.MULTILINE)
    return budget, run(*budget) if budget else end


def _words(command, fast):
    """As it is shown, but with what makes it quick where it measures."""
    words = shlex.split(command)[1:]
    return [*words, *(settings(*fast) if words[0] in MEASURING else [])]
