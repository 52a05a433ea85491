"""Pipes that nobody reads any more, full disks, streams that are not there: no run ends of it."""

import os
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor

import msgspec
import pytest
from commands import COMMAND, PRETENDING, lines, settings

from autobatch.protocol import ProbeResult
from autobatch.ui.console import LastingFile

FEW = settings("batch_sizes.max=8")
PRETEND_COMMAND = [sys.executable, "-c", f"{PRETENDING}main()"]


def shell(line, recipe, folder, command=PRETEND_COMMAND):
    """(exit code, stdout, stderr) of a line in which `$@` is a probe."""
    words = ["sh", "-c", line, "sh", *command, "probe", str(recipe), *FEW]
    ran = subprocess.run(words, cwd=folder, capture_output=True, text=True, timeout=300)
    return ran.returncode, ran.stdout, ran.stderr


def test_a_story_without_room_costs_no_answer(recipe, tmp_path):
    code, stdout, _ = shell('"$@" --json 2>/dev/full', recipe, tmp_path)
    assert (code, msgspec.json.decode(stdout, type=ProbeResult).largest_fitting) == (0, 8)


def test_an_answer_without_room_is_told_when_all_else_is_done(recipe, tmp_path):
    code, _, stderr = shell('"$@" --quiet >/dev/full', recipe, tmp_path)
    told = "The answer could not be written to stdout: No space left on device.\n"
    assert (code, stderr.startswith(f"autobatch: {told}")) == (2, True), stderr
    assert '"answer"' in lines(tmp_path)[-1]


def test_a_run_without_streams_is_whole(recipe, tmp_path):
    """With the processes that measure."""
    assert shell('"$@" >&- 2>&-', recipe, tmp_path, COMMAND)[0] == 0
    assert '"answer"' in lines(tmp_path)[-1]


def test_whoever_reads_no_more_ends_no_run(recipe, tmp_path):
    assert read_no_more("probe", recipe, *FEW, cwd=tmp_path, command=PRETEND_COMMAND) == 0
    assert '"answer"' in lines(tmp_path)[-1]


@pytest.mark.parametrize("arguments", [["schema"], ["--help"], ["runs", "nowhere"]])
def test_whoever_reads_no_more_changes_no_exit_code(tmp_path, arguments):
    assert read_no_more(*arguments, cwd=tmp_path) == (2 if "nowhere" in arguments else 0)


def read_no_more(*arguments, cwd, command=COMMAND):
    """The exit code of a command whose streams go to a pipe without a reader."""
    reader, writer = os.pipe()
    os.close(reader)
    ran = subprocess.run([*command, *arguments], cwd=cwd, stdout=writer, stderr=writer, timeout=300)
    os.close(writer)
    return ran.returncode


def test_a_stream_that_does_not_block_takes_all():
    """As others set a terminal that they share."""
    reader, writer = os.pipe()
    os.set_blocking(writer, False)
    told = "x" * 300_000  # more than a pipe holds
    with os.fdopen(reader) as end, ThreadPoolExecutor() as pool:
        read = pool.submit(end.read, len(told))
        with LastingFile(writer, "w") as file:
            rest = told.encode()
            while rest:
                rest = rest[file.write(rest) :]
        assert read.result() == told
