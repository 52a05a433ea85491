"""`autobatch report` as typed: where pages go, and one clear message for what cannot be."""

import json
import os
import subprocess
import sys

import pytest
from commands import COMMAND, autobatch_here
from pretend import PretendDevice, session

from autobatch import tuner
from autobatch.engine.record_file import FILE_NAME, FORMAT_VERSION


@pytest.fixture
def run(tmp_path):
    directory = tmp_path / "autobatch-runs" / "mine"
    with session(directory, PretendDevice()) as opened:
        tuner.probe(opened)
    return directory


@pytest.mark.parametrize("named", ["mine", "autobatch-runs/mine"])
def test_the_page_goes_into_the_run_and_its_path_to_stdout(run, tmp_path, named):
    code, stdout, stderr = autobatch_here("report", named, cwd=tmp_path)
    assert (code, stdout, stderr) == (0, "autobatch-runs/mine/report.html\n", "")
    assert (run / "report.html").read_text().startswith("<!doctype html>")


def test_json_has_the_path_of_the_page(run, tmp_path):
    code, stdout, stderr = autobatch_here("report", "mine", "--json", cwd=tmp_path)
    assert (code, json.loads(stdout)) == (0, {"path": "autobatch-runs/mine/report.html"})
    assert stderr == ""


def damage(path):
    lines = path.read_text().splitlines()
    path.write_text("\n".join([*lines[:6], lines[6][:20], *lines[7:]]) + "\n")


def make_newer(path):
    path.write_text(
        path.read_text().replace(f'"format_version":{FORMAT_VERSION}', '"format_version":99')
    )


def make_empty(path):
    path.write_text(path.read_text().splitlines()[0] + "\n")


@pytest.mark.parametrize(
    ("spoil", "code", "words"),
    [
        (damage, 5, "record.jsonl:7: this line is damaged"),
        (make_newer, 5, f"format version 99; this autobatch reads {FORMAT_VERSION} alone"),
        (make_empty, 2, "holds no measurement yet"),
        (lambda path: path.unlink(), 2, "is not a run directory"),
    ],
)
def test_a_record_that_gives_no_page_is_refused_with_one_message(run, tmp_path, spoil, code, words):
    spoil(run / FILE_NAME)
    found, stdout, stderr = autobatch_here("report", "mine", cwd=tmp_path)
    assert (found, stdout) == (code, "")
    assert words in stderr and "Traceback" not in stderr
    assert not (run / "report.html").exists()


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["report", "mien"], "There is no run mien.\nDid you mean mine?"),
        (["report", "mine", "--output", "there.html"], "there.html exists already.\nGive --force"),
        (["report", "mine", "--output", "."], "is a directory"),
        (["report", "mine", "--output", "no/where.html"], "No such file or directory"),
        (["report", "mine", "--output", "/dev/full", "--force"], "No space left on device"),
        (["report", "mine", "mine"], "Expected one run; received 2."),
        (["report", "--compare", "mine"], "Expected two runs to compare; received 1."),
    ],
)
def test_mistakes_get_one_clear_message(run, tmp_path, arguments, words):
    (tmp_path / "there.html").write_text("theirs")
    code, stdout, stderr = autobatch_here(*arguments, cwd=tmp_path)
    assert (code, stdout) == (2, "")
    assert words in stderr and "Traceback" not in stderr
    assert (tmp_path / "there.html").read_text() == "theirs"


def test_force_replaces_a_file(run, tmp_path):
    (tmp_path / "there.html").write_text("theirs")
    arguments = ("report", "mine", "--output", "there.html", "--force")
    assert autobatch_here(*arguments, cwd=tmp_path)[:2] == (0, "there.html\n")
    assert "<!doctype html>" in (tmp_path / "there.html").read_text()


def test_compare_takes_two_runs_in_either_place(run, tmp_path):
    for arguments in (["--compare", "mine", "mine"], ["mine", "--compare", "mine"]):
        code, stdout, _ = autobatch_here("report", *arguments, cwd=tmp_path)
        assert (code, stdout) == (0, "autobatch-runs/mine/compared-with-mine.html\n")


@pytest.mark.skipif(sys.platform == "darwin", reason="file names are UTF-8 there")
def test_a_path_that_is_not_utf_8_is_kept_as_it_is(run, tmp_path):
    odd = run.rename(tmp_path / os.fsdecode(b"odd-\xff"))
    command = [*COMMAND, "report", odd]
    ran = subprocess.run(command, cwd=tmp_path, capture_output=True, check=True)
    assert ran.stdout == os.fsencode(odd / "report.html") + b"\n"
    ran = subprocess.run([*command, "--json"], cwd=tmp_path, capture_output=True, check=True)
    assert json.loads(ran.stdout)["path"].endswith("odd-?/report.html")
    assert "odd-\N{REPLACEMENT CHARACTER}" in (odd / "report.html").read_text()
    (odd / FILE_NAME).unlink()
    refused = subprocess.run(command, cwd=tmp_path, capture_output=True)
    assert refused.returncode == 2 and b"is not a run directory" in refused.stderr


def test_names_in_the_record_do_not_reach_the_shell_of_the_page(run, tmp_path):
    path = run / FILE_NAME
    lines = path.read_text().splitlines()
    header = json.loads(lines[0])
    header["target"]["model"] = "<script>alert(1)</script>"
    path.write_text("\n".join([json.dumps(header), *lines[1:]]) + "\n")
    assert autobatch_here("report", "mine", cwd=tmp_path)[0] == 0
    assert "<script>alert(1)" not in (run / "report.html").read_text()
