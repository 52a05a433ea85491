"""The live view at every width: whole lines, bars and ranking that are true, ASCII where needed."""

import io

import pytest
from demonstration import LIMIT, MIB, events
from rich.console import Console

from autobatch.protocol import (
    Benchmark,
    Contest,
    Diverged,
    Evaluation,
    Fits,
    JobFinished,
    JobProgress,
    JobStarted,
    OutOfMemory,
    Probe,
    StageExpects,
    StageStarted,
    Trained,
    Trial,
)
from autobatch.ui.display import Display
from autobatch.ui.live import MOST_LINES, view
from autobatch.ui.progress import Progress

WIDTHS = (40, 80, 120)


def frames(width, *, height=24, ascii_only=False):
    """What a terminal shows after each of the demonstration's events, line by line."""
    progress = Progress()
    for event, _ in events():
        progress.update(event)
        console = Console(file=io.StringIO(), force_terminal=True, width=width, color_system=None)
        console.print(view(progress, width=width, height=height, ascii_only=ascii_only))
        yield console.file.getvalue().splitlines()


def drawn(progress, width=80):
    return view(progress, width=width, height=24).plain.splitlines()


@pytest.mark.parametrize("width", WIDTHS)
def test_no_line_is_wider_than_the_terminal_and_there_are_few(width):
    for lines in frames(width):
        assert all(len(line) <= width for line in lines)
        assert len(lines) <= MOST_LINES


@pytest.mark.parametrize("height", [2, 4, 8])
def test_it_is_never_higher_than_a_low_terminal(height):
    assert all(len(lines) <= max(2, height - 2) for lines in frames(80, height=height))


@pytest.mark.parametrize("width", WIDTHS)
def test_where_the_encoding_is_ascii_so_is_all_that_is_drawn(width):
    assert all("".join(lines).isascii() for lines in frames(width, ascii_only=True))


@pytest.mark.parametrize("width", WIDTHS)
def test_every_stage_shows_its_table_at_every_width(width):
    text = "\n".join("\n".join(lines) for lines in frames(width))
    for words in ("peak of 1.0 GiB", "out of memory", "samples/s", "fastest", "val_loss", "yours"):
        assert words in text


def probed(size, outcome):
    task = Probe(batch_size=size, limit_bytes=LIMIT)
    return JobFinished(
        stage="probe",
        label=str(size),
        answer="out of memory",
        seconds=1,
        reused=False,
        task=task,
        outcome=outcome,
    )


def test_the_jobs_that_are_done_are_counted_of_those_expected_where_there_is_room():
    progress = Progress()
    progress.update(StageStarted(stage="probe", jobs=12, expected_seconds=9, limit_bytes=LIMIT))
    for size in (1, 2, 4):
        progress.update(probed(size, OutOfMemory(evidence="OOM")))
    assert "  3 of about 12, 0 s" in drawn(progress)[0]
    progress.update(StageExpects(stage="probe", jobs_left=4, seconds_left=9))
    progress.update(JobStarted(stage="probe", label="8"))
    progress.update(JobProgress(done=9, total=10))
    assert "  3 of about 7, 0 s, 9 s to go" in drawn(progress)[0]
    assert drawn(progress, width=40)[0].endswith("  0 s, 9 s to go")


def test_one_job_is_not_counted():
    progress = Progress()
    progress.update(StageStarted(stage="inspect", jobs=1, expected_seconds=9))
    assert "of about" not in drawn(progress)[0]


def test_in_80_columns_there_is_room_for_the_count_in_every_stage_of_several_jobs():
    lines = [line for line, *_ in frames(80) if line and "inspect" not in line]
    assert {line.split()[0] for line in lines} == {"probe", "benchmark", "trials"}
    assert all(" of about " in line for line in lines)


def test_memory_bars_are_as_long_as_the_share_of_the_limit():
    progress = Progress()
    progress.update(StageStarted(stage="probe", jobs=9, expected_seconds=9, limit_bytes=LIMIT))
    for size in (1, 2, 4):
        peak = size * 256 * MIB
        fits = Fits(peak_bytes=peak, least_peak_bytes=peak, full_steps=3, steps=3, step_seconds=1)
        progress.update(probed(size, fits))
    progress.update(probed(8, OutOfMemory(evidence="OOM")))
    rows = drawn(progress)[3:]
    assert [row.count("█") / (row.count("█") + row.count("·")) for row in rows[:3]] == [
        0.25,
        0.5,
        1.0,
    ]
    assert "8  out of memory" in rows[3]


def test_rates_of_less_than_a_sample_a_second_are_told():
    progress = Progress()
    progress.update(StageStarted(stage="benchmark", jobs=9, expected_seconds=9))
    task = Benchmark(batch_size=8, seconds=1.0)
    progress.update(JobStarted(stage="benchmark", label="8", task=task))
    progress.update(JobProgress(done=1, total=9, samples_per_second=0.0345))
    assert "0.0345" in drawn(progress)[-1]


def trial(size, rate, seed, *values):
    """The events of one trial, which diverges if it has no values."""
    task = Trial(
        batch_size=size,
        learning_rate=rate,
        steps=10,
        evaluate_at=(),
        validation_batch_size=8,
        seed=seed,
    )
    label = f"batch {size}"
    evaluations = tuple(Evaluation(step=1, metrics={"val_loss": value}) for value in values)
    outcome = Diverged(step=1, evaluations=())
    if values:
        outcome = Trained(evaluations=evaluations, steps=1, train_seconds=1)
    yield JobStarted(stage="trials", label=label, task=task)
    yield JobFinished(
        stage="trials",
        label=label,
        answer="",
        seconds=1,
        reused=False,
        task=task,
        outcome=outcome,
    )


def in_trials(*trials, maximise=False, anneals=False):
    contest = Contest(
        metric="val_loss", maximise=maximise, batch_size=32, learning_rate=0.01, anneals=anneals
    )
    progress = Progress()
    progress.update(StageStarted(stage="trials", jobs=9, expected_seconds=9, contest=contest))
    for each in trials:
        for event in each:
            progress.update(event)
    return progress


@pytest.mark.parametrize(("maximise", "order"), [(False, [64, 16, 32]), (True, [32, 16, 64])])
def test_settings_are_ranked_by_their_best_metric(maximise, order):
    tried = trial(32, 0.01, 0, 0.9), trial(64, 0.02, 0, 0.1), trial(16, 0.1, 0, 0.5)
    progress = in_trials(*tried, trial(128, 9.0, 0), maximise=maximise)
    assert [each.batch_size for each in progress.ranking()] == order
    lines = drawn(progress)
    assert "first trials: 3, 1 failed" in lines[2]
    assert [int(line.split()[0]) for line in lines[3:]] == order
    assert "yours" in lines[3 + order.index(32)]


@pytest.mark.parametrize(("anneals", "order"), [(False, [64, 32]), (True, [32, 64])])
def test_annealed_trials_are_ranked_by_where_they_end(anneals, order):
    tried = trial(32, 0.01, 0, 0.9, 0.4), trial(64, 0.02, 0, 0.1, 0.5)
    ranked = in_trials(*tried, anneals=anneals).ranking()
    assert [each.batch_size for each in ranked] == order
    assert {each.value for each in ranked} == {0.4, 0.5 if anneals else 0.1}


def test_finalists_are_ranked_by_the_mean_over_their_seeds_and_without_first_trials():
    first = trial(32, 0.01, 0, 0.9), trial(64, 0.02, 0, 0.1), trial(16, 0.1, 0, 0.5)
    finals = [trial(32, 0.01, seed, loss) for seed, loss in ((1, 0.5), (2, 0.3))]
    finals += [trial(64, 0.02, seed, loss) for seed, loss in ((1, 0.2), (2, 0.8))]
    found = in_trials(*first, *finals).ranking()
    assert [(each.batch_size, each.value, each.seeds) for each in found] == [
        (32, pytest.approx(0.4), 2),
        (64, pytest.approx(0.5), 2),
    ]


def test_the_present_trials_curve_falls_as_its_loss_does():
    progress = in_trials(trial(32, 0.01, 0, 1.0, 0.5))
    progress.update(next(trial(64, 0.02, 0)))
    for done, loss in enumerate((1.0, 0.7, 0.5)):
        progress.update(JobProgress(done=done, total=9, metrics={"val_loss": loss}))
    row = next(line for line in drawn(progress) if line.startswith("▸"))
    assert row.split()[1:] == ["64", "0.02", "█▄▁", "0.5"]


def test_a_job_after_its_stage_is_shown_too():
    progress = Progress()
    progress.update(JobStarted(stage="probe", label="verify 64"))
    assert "verify 64" in drawn(progress)[1]


def test_a_display_on_a_terminal_leaves_the_cursor_as_it_was():
    console = Console(file=io.StringIO(), force_terminal=True, width=80, color_system=None)
    with Display(console, animate=True) as display:
        display.show(StageStarted(stage="probe", jobs=1, expected_seconds=1))
        shown = console.file.getvalue()
    assert shown.rindex("\x1b[?25h") > shown.rindex("\x1b[?25l")  # also while it draws
