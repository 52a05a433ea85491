"""The story from events: plain lines in a log, one live line on a terminal."""

import io

from rich.console import Console

from autobatch.protocol import (
    JobFinished,
    JobProgress,
    JobStarted,
    Note,
    StageExpects,
    StageFinished,
    StageStarted,
)
from autobatch.ui.display import Display

EVENTS = [
    StageStarted(stage="probe", jobs=3, expected_seconds=12, detail="limit 1 GiB"),
    JobStarted(stage="probe", label="32"),
    JobProgress(done=1, total=2),
    JobFinished(stage="probe", label="32", answer="fits, [peak] 1 MiB", seconds=2, reused=False),
    Note(text="[bold]not markup[/]"),
    StageFinished(stage="probe", answer="largest 32"),
]


class AsciiStream(io.StringIO):
    encoding = "ascii"


def shown(*, terminal, quiet=False, width=100, events=EVENTS, stream=None):
    stream = stream or io.StringIO()
    console = Console(file=stream, force_terminal=terminal, width=width, color_system=None)
    with Display(console, quiet=quiet, animate=terminal) as display:
        for event in events:
            display.show(event)
    return stream.getvalue()


def test_a_log_gets_plain_lines_without_control_characters():
    text = shown(terminal=False)
    assert "probe: 3 jobs expected, about 12 s (limit 1 GiB)\n" in text
    assert "probe: 32: fits, [peak] 1 MiB (2.0 s)\n" in text
    assert "[bold]not markup[/]" in text
    assert "\x1b" not in text


def test_a_log_is_told_only_what_changes_the_plans():
    more = [
        EVENTS[0],
        StageExpects(stage="probe", jobs_left=2, seconds_left=13),
        StageExpects(stage="probe", jobs_left=9, seconds_left=120),
        StageExpects(stage="probe", jobs_left=8, seconds_left=110),
    ]
    text = shown(terminal=False, events=more)
    assert text.count(" to go") == 1
    assert "probe: about 9 more jobs, 2 min 00 s to go\n" in text


def test_one_job_is_not_called_several():
    one = StageStarted(stage="inspect", jobs=1, expected_seconds=10)
    assert "inspect: 1 job expected, about 10 s\n" in shown(terminal=False, events=[one])


def test_a_terminal_keeps_the_end_of_each_stage():
    text = shown(terminal=True)
    assert "✓ probe     largest 32" in text


def test_a_stage_that_was_left_off_has_no_check_mark():
    told = StageFinished(stage="probe", answer="so far: 32 fits", is_whole=False)
    assert "\n- probe     so far: 32 fits" in shown(terminal=False, events=[EVENTS[0], told])


def test_quiet_says_nothing():
    assert shown(terminal=False, quiet=True) == ""
    assert shown(terminal=True, quiet=True) == ""


def test_a_log_has_whole_lines_whatever_is_told_and_however_long():
    told = "a \x1b[31mred\nanswer\r" + "word " * 60
    more = [
        EVENTS[0],
        JobFinished(stage="probe", label="32", answer=told, seconds=2, reused=False),
        Note(text=told),
        StageFinished(stage="probe", answer=told),
    ]
    text = shown(terminal=False, width=40, events=more)
    assert len(text.splitlines()) == len(more)
    assert all(line.isprintable() for line in text.splitlines())


def test_colours_asked_for_in_a_log_bring_no_animation(monkeypatch):
    monkeypatch.setenv("FORCE_COLOR", "1")
    stream = io.StringIO()
    with Display(Console(file=stream)) as display:
        for event in EVENTS:
            display.show(event)
    assert "probe: 3 jobs expected" in stream.getvalue()
    assert "\x1b[?25" not in stream.getvalue()
    assert "\r" not in stream.getvalue()


def test_a_dumb_terminal_gets_plain_lines(monkeypatch):
    monkeypatch.setenv("TERM", "dumb")
    assert "\x1b" not in shown(terminal=True)
    assert "probe: 3 jobs expected" in shown(terminal=True)


def test_all_is_spelled_in_ascii_where_the_stream_knows_no_more():
    told = StageFinished(stage="probe", answer="1,203 samples/s ± 2% – 3×")
    text = shown(terminal=False, events=[EVENTS[0], told], stream=AsciiStream())
    assert "ok probe     1,203 samples/s +- 2% - 3x" in text
    assert text.isascii()
