"""Signals: the first asks for the end, the second is it; and what to type afterwards."""

import os
import re
import signal
import sys

import pytest
from pretend import PretendDevice, session
from test_interruption import Stopped, of
from test_interruption import session as session_that_may_end

from autobatch import tuner
from autobatch.errors import AutobatchError, InterruptedRunError, UsageError, UserCodeError
from autobatch.protocol import Benchmark, Note, StageFinished
from autobatch.ui.interruption import interruptible, resume_command

INSPECTED = StageFinished(stage="inspect", answer="")


@pytest.fixture(autouse=True)
def heeded():
    """As on a terminal: whoever runs the tests in the background has some ignored."""
    numbers = (signal.SIGINT, signal.SIGHUP)
    before = {each: signal.signal(each, signal.default_int_handler) for each in numbers}
    yield
    for each, handler in before.items():
        signal.signal(each, handler)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_the_first_signal_asks_and_the_second_ends_at_once(number):
    before = signal.getsignal(number)
    with pytest.raises(InterruptedRunError), interruptible(quiet=True) as interruption:
        interruption.watching(lambda event: None)(INSPECTED)
        os.kill(os.getpid(), number)
        assert interruption.is_asked()
        os.kill(os.getpid(), number)
        pytest.fail("it went on")
    assert signal.getsignal(number) is before


def test_a_closed_terminal_asks_however_often_it_is_told():
    with interruptible(quiet=True) as interruption:
        interruption.watching(lambda event: None)(INSPECTED)
        for _ in range(2):
            os.kill(os.getpid(), signal.SIGHUP)
        assert interruption.is_asked()
    assert signal.getsignal(signal.SIGHUP) is signal.default_int_handler


def test_while_nothing_is_known_the_first_signal_ends_at_once():
    with pytest.raises(InterruptedRunError), interruptible(quiet=True):
        os.kill(os.getpid(), signal.SIGINT)
        pytest.fail("it went on")


@pytest.mark.parametrize("when", ["at once", "asked"])
def test_of_what_cannot_be_resumed_nothing_is_said_to_be_kept(when):
    with pytest.raises(InterruptedRunError) as end, interruptible(quiet=True, resumable=False):
        if when == "asked":
            raise InterruptedRunError
        os.kill(os.getpid(), signal.SIGINT)
    assert end.value.message == "Interrupted."
    assert "begins anew" in end.value.hint


@pytest.mark.parametrize("kind", [UserCodeError, UsageError, AutobatchError])
def test_what_is_known_is_shown_before_an_error_unless_quiet(kind, capsys, tmp_path):
    with session(tmp_path, PretendDevice()) as opened:
        found = tuner.probe(opened)
    for quiet in (False, True):
        with pytest.raises(kind), interruptible(quiet=quiet):
            error = kind("It failed.")
            error.so_far = (found,)
            raise error
        shown = capsys.readouterr()
        assert shown.out == ""
        assert (f"largest that fits  {found.largest_fitting}" in shown.err) == (not quiet)


def test_an_interrupted_benchmark_shows_what_was_measured_and_what_was_not(capsys, tmp_path):
    device = Stopped(of(Benchmark), 2)
    with (
        pytest.raises(InterruptedRunError),
        interruptible(quiet=False),
        session_that_may_end(tmp_path, device, device.is_stopped) as opened,
    ):
        tuner.benchmark(opened)
    shown = capsys.readouterr()
    assert shown.out == ""
    assert "Samples per second" in shown.err
    assert re.search(r"not measured: \d+: the run was interrupted", shown.err)


def test_a_signal_that_was_ignored_from_the_start_still_is():
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        with interruptible(quiet=True) as interruption:
            os.kill(os.getpid(), signal.SIGINT)
            assert not interruption.is_asked()
    finally:
        signal.signal(signal.SIGINT, before)


@pytest.mark.parametrize("anew", [(), ("--fresh",), ("--fresh-trials",)])
def test_the_command_to_resume_can_be_pasted_and_sets_nothing_aside(anew):
    given = ["probe", "my recipe.yaml", *anew, "--set", "args={width: 9}"]
    shown = "probe 'my recipe.yaml' --set 'args={width: 9}'"
    assert resume_command(["/site/autobatch/__main__.py", *given]) == f"python -m autobatch {shown}"
    assert resume_command(["./bin/autobatch", "probe"]) == "./bin/autobatch probe"


@pytest.mark.parametrize("begun", [False, True])
def test_what_is_to_be_set_aside_is_named_again_until_it_was(begun, monkeypatch):
    monkeypatch.setattr(sys, "argv", ["./autobatch", "probe", "train.py", "--fresh"])
    with pytest.raises(InterruptedRunError) as end, interruptible(quiet=True) as interruption:
        if begun:
            interruption.watching(lambda event: None)(Note(text="The backend is tensorflow."))
        os.kill(os.getpid(), signal.SIGINT)
    assert ("--fresh" in end.value.hint) == (not begun)
