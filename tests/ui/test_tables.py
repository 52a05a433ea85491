"""Results on terminals of any width: nothing is cut off that could be left out whole."""

import html
import re
import shutil
from io import StringIO
from pathlib import Path

import msgspec
import pytest
from rich.console import Console

from autobatch.engine.record_file import FILE_NAME, read_record
from autobatch.protocol import changed
from autobatch.ui import gains, notebook, tables, words
from autobatch.ui.charts.ranking import ranking_chart, ranking_table
from autobatch.ui.console import console_for
from autobatch.ui.run_commands import show

RECORD = Path(__file__).parent.parent / "engine" / "records" / "recommended.jsonl"


@pytest.fixture(scope="module")
def recommendation(tmp_path_factory):
    folder = tmp_path_factory.mktemp("run")
    shutil.copy(RECORD, folder / FILE_NAME)
    return read_record(folder).recommendation


def shown(renderable, width):
    console = Console(width=width, file=StringIO())
    console.print(renderable, crop=False)
    return console.file.getvalue()


@pytest.mark.parametrize("width", [40, 44, 60, 80, 120])
def test_no_cell_is_cut_off_and_no_line_too_long(recommendation, width):
    last = recommendation.probe.probes[-1]
    failed = changed(
        last, batch_size=123456, verify=True, outcome="out_of_memory", peak_bytes=1023 << 30
    )
    found = changed(recommendation.probe, probes=(*recommendation.probe.probes, failed))
    above = changed(recommendation.benchmark, ceiling=recommendation.benchmark.points[0].batch_size)
    for table in (
        tables.recommendation_table(changed(recommendation, snippet="pass")),
        tables.benchmark_table(recommendation.benchmark),
        tables.benchmark_table(above),
        tables.probe_table(recommendation.probe),
        probed := tables.probe_table(found),
    ):
        text = shown(table, width)
        assert "…" not in text
        assert max(map(len, text.splitlines())) <= width
    assert "123456" in shown(probed, width)


def test_lines_to_paste_are_whole_however_long(recommendation, capsys):
    comment = f"# in the model: keras.layers.BatchNormalization(momentum=0.9{'9' * 90})"
    long = changed(recommendation, snippet=f"{comment}\n{recommendation.snippet}")
    show(long, json=False)
    for text in (capsys.readouterr().out, html.unescape(notebook.html(long))):
        lines = [re.sub("<.*?>", "", line).strip() for line in text.splitlines()]
        assert "\n".join(lines).count(long.snippet) == 1


def test_in_a_notebook_all_can_be_read_on_white_and_on_black(recommendation):
    colors = re.findall(r"[ \"]color: #(\w{6})", notebook.html(recommendation))
    assert colors
    for color in colors:
        red, green, blue = bytes.fromhex(color)
        assert 25 < 0.299 * red + 0.587 * green + 0.114 * blue < 200, color


def test_where_there_is_room_nothing_is_left_out(recommendation):
    text = shown(tables.recommendation_table(recommendation), 120)
    for heading in (
        *("batch", "rate", "val_loss", "at equal steps", "at equal samples", "reached in"),
        *("sooner", "95 % interval", "95 % intervals hold for all finalists together"),
    ):
        assert heading in text
    assert "sharpness" not in text  # it was not asked for


@pytest.mark.parametrize("width", [80, 100])
def test_losses_after_equal_steps_and_samples_stand_beside_the_time(recommendation, width):
    table = shown(tables.candidates_table(recommendation), width).partition("no room")[0]
    assert all(head in table for head in ("reached", "sooner", "steps", "samples"))
    finalist = next(c for c in recommendation.candidates if c.is_finalist)
    losses = finalist.val_loss_at_equal_steps, finalist.val_loss_at_equal_samples
    assert all(f" {loss:.4g} " in table for loss in losses)


def test_what_a_narrow_terminal_has_no_room_for_is_named_beneath(recommendation):
    def left_out(width):
        text = re.sub(r"\s+", " ", shown(tables.candidates_table(recommendation), width))
        found = re.search(r"no room here for: (.+) \(autobatch report has all\)", text)
        return found[1] if found else None

    assert left_out(120) is None
    assert left_out(70) == "95 % interval"
    assert left_out(55) == "at equal steps, at equal samples, 95 % interval"


def test_what_an_update_and_an_epoch_have_of_samples_is_shown(recommendation):
    accumulated = changed(recommendation, batch_size=64, gradient_accumulation_steps=4)
    text = shown(tables.recommendation_table(changed(accumulated, ragged_samples=29)), 140)
    assert "over 4 batches: 256 samples an update" in text
    assert "(the last of 29)" in text
    assert "an update" not in shown(tables.recommendation_table(recommendation), 140)


def test_sharpness_is_shown_where_it_was_asked_for(recommendation):
    first, *others = recommendation.candidates
    asked = msgspec.structs.replace(
        recommendation, candidates=(msgspec.structs.replace(first, sharpness=12.34), *others)
    )
    text = shown(tables.recommendation_table(asked), 140)
    assert "sharpness" in text and "12.34" in text


def test_finalists_of_one_seed_are_shown_and_trials_that_failed_counted(recommendation):
    single = [changed(c, seeds=1) for c in recommendation.candidates]
    failed = changed(single[-1], status="failed", failure="out of memory")
    text = shown(
        tables.candidates_table(changed(recommendation, candidates=(*single, failed))), 120
    )
    rates = [f"{c.learning_rate:.4g}" for c in single if c.is_finalist]
    assert len(rates) > 2
    assert all(rate in text for rate in rates)
    assert "1 failed" in text


def test_every_reason_and_every_warning_is_told(recommendation):
    text = " ".join(shown(tables.recommendation_table(recommendation), 80).split())
    assert recommendation.reasons and recommendation.warnings
    for sentence in (*recommendation.reasons, *recommendation.warnings):
        assert " ".join(sentence.split()) in text


def test_names_with_brackets_are_shown_as_they_are(recommendation):
    odd = msgspec.structs.replace(recommendation, metric="val_[/]")
    assert "val_[/]" in shown(tables.recommendation_table(odd), 100)


def test_only_a_size_that_passed_is_called_verified(recommendation):
    fits, fails = (
        changed(recommendation.probe.probes[0], verify=True, outcome=outcome)
        for outcome in ("fits", "out_of_memory")
    )
    assert words.outcome(fits) == "fits (verified)"
    assert words.outcome(fails) == "out of memory (when verified)"
    assert words.outcome(changed(fails, verify=False)) == "out of memory"


def benchmark_of(recommendation, *bound):
    """Its sizes, bound by these causes in turn."""
    points = [
        changed(point, bound_by=cause, evidence=f"evidence of {point.batch_size}", advice=cause)
        for point, cause in zip(recommendation.benchmark.points, bound, strict=False)
    ]
    return changed(
        recommendation.benchmark,
        points=tuple(points),
        knee=points[1].batch_size,
        best=points[-1].batch_size,
        bound_by=bound[-1],
    )


def test_sizes_that_are_held_back_by_the_same_are_told_together(recommendation):
    found = benchmark_of(recommendation, "step_overhead", "step_overhead", "compute", "memory")
    first, knee, third, last = (point.batch_size for point in found.points)
    text = shown(tables.benchmark_table(found), 120)
    assert text.count("held back by") == text.count("try ") == 3
    assert f"batch {first}, {knee}: the fixed cost of each step" in text
    assert f"at batch {knee}, evidence of {knee}" in text  # of the knee, where it is among them
    assert f"batch {third}: computation" in text
    assert f"batch {last}: memory" in text


def test_sizes_above_one_without_memory_are_shown_as_such(recommendation):
    found = recommendation.benchmark
    assert "above ceiling" not in shown(tables.benchmark_table(found), 120)
    lowered = changed(found, knee=found.points[0].batch_size, ceiling=found.points[1].batch_size)
    text = shown(tables.benchmark_table(lowered), 120)
    assert text.count("above ceiling") == len(found.points) - 2


def test_joules_are_shown_where_they_were_counted(recommendation):
    found = recommendation.benchmark
    assert "J/sample" not in shown(tables.benchmark_table(found), 120)
    points = [changed(point, joules_per_sample=0.01234) for point in found.points]
    text = shown(tables.benchmark_table(changed(found, points=tuple(points))), 120)
    assert text.count("0.0123") == len(points)
    assert "J/sample" in text


def test_one_cause_of_all_sizes_names_none(recommendation):
    text = shown(tables.benchmark_table(benchmark_of(recommendation, *["compute"] * 4)), 120)
    assert "held back by  computation: the device is busy" in text


def test_a_range_of_sizes_is_named_by_its_ends_only_where_all_are_in_it(recommendation):
    found = benchmark_of(recommendation, "compute", "step_overhead", "compute", "compute")
    sizes = ", ".join(str(found.points[i].batch_size) for i in (0, 2, 3))
    assert f"batch {sizes}: computation" in shown(tables.benchmark_table(found), 120)
    found = benchmark_of(recommendation, "step_overhead", "compute", "compute", "compute")
    ends = f"batch {found.points[1].batch_size} to {found.points[3].batch_size}: computation"
    assert ends in shown(tables.benchmark_table(found), 120)


def test_rates_and_steps_of_a_slow_model_are_told(recommendation):
    """A large one on a CPU: less than a sample a second."""
    slow = 1e-6
    points = [
        changed(
            point,
            samples_per_second=point.samples_per_second * slow,
            low=point.low * slow,
            high=point.high * slow,
            step_seconds=12.34,
        )
        for point in recommendation.benchmark.points
    ]
    rates = [f"{point.samples_per_second:.3g}" for point in points]
    assert max(map(float, rates)) < 1
    text = shown(tables.benchmark_table(changed(recommendation.benchmark, points=points)), 120)
    assert all(f" {rate} " in text for rate in rates)
    assert text.count(" 12.3 s") == len(points)
    told = words.throughput(changed(recommendation, samples_per_second=0.0123))
    assert told.startswith("0.0123 samples/s")


def test_what_a_step_takes_is_told_in_units_that_fit(recommendation):
    found = recommendation.benchmark.step_time
    slow = changed(
        found,
        overhead_seconds=changed(found.overhead_seconds, value=2.345),
        seconds_per_sample=changed(found.seconds_per_sample, value=0.01234),
    )
    assert words.step_time(slow).startswith("2.35 s + batch x 12.3 ms")


def test_a_large_speedup_has_no_exponent(recommendation):
    far = changed(recommendation.speedup, value=123.4, low=98.7, high=1234.5)
    much = changed(recommendation, verdict="better", speedup=far)
    assert words.verdict(much).startswith("120× sooner")
    assert "(95 % interval 99–over 1,000)" in words.verdict(much)


def test_an_interval_that_says_nothing_is_not_given_in_numbers(recommendation):
    wide = changed(recommendation.speedup, value=21.4, low=1e-13, high=7.8e13)
    some = changed(recommendation.candidates[0], speedup=wide)
    assert gains.told(some, recommendation) == ("21×", "0–over 1,000")
    found = changed(recommendation, candidates=(some, *recommendation.candidates[1:]))
    low, high = ranking_chart(found).figure["layout"]["xaxis"]["range"]
    assert (low > -3, high < 4) == (True, True)  # decades


@pytest.mark.parametrize(("reaching", "told"), [(0, "never"), (2, "2 of 3 seeds")])
@pytest.mark.parametrize(("metric", "better"), [("val_loss", 0.9), ("val_accuracy", 1.1)])
def test_of_seeds_that_reach_the_target_it_is_told_how_many(
    recommendation, metric, better, reaching, told
):
    goal = 0.5
    per_seed = [goal * better] * reaching + [goal / better] * (3 - reaching)
    some = changed(
        recommendation.candidates[-1],
        seeds=3,
        val_loss_per_seed=tuple(per_seed),
        time_to_target_seconds=None,
    )
    found = changed(recommendation, metric=metric, target_loss=goal, candidates=(some,))
    assert words.reached_in(some, found) == told


def test_the_time_to_the_target_is_that_of_the_last_seed(recommendation):
    found = changed(recommendation, target_seconds=4.8)
    assert words.target(found).endswith("reached by yours with every seed within 4.8 s")
    other = changed(found, baseline=changed(found.baseline, batch_size=16, instead_of=32))
    assert "reached by batch 16 with every seed within 4.8 s" in words.target(other)


def test_what_was_not_followed_up_is_not_called_slower(recommendation):
    assert "not followed up" in words.dropped(recommendation)
    assert "slower" not in words.dropped(recommendation)
    assert not any("slower" in row for row in ranking_table(recommendation).rows)


def test_what_it_was_measured_on_is_told_in_one_row(recommendation):
    environment = {
        "device": "NVIDIA H100",
        "precision": "float32",
        "versions": {"keras": "3.15.1", "NVIDIA driver": "550.90"},
        "measured": "2026-11-21",
    }
    text = shown(tables.recommendation_table(changed(recommendation, environment=environment)), 120)
    told = "NVIDIA H100, float32, keras 3.15.1, NVIDIA driver 550.90, 2026-11-21"
    assert f"measured on    {told}" in text


def test_what_stands_in_for_the_users_size_is_not_called_theirs_in_the_chart(recommendation):
    baseline = changed(recommendation.baseline, instead_of=4096)
    own, other = (
        ranking_chart(each) for each in (recommendation, changed(recommendation, baseline=baseline))
    )
    for chart, is_own in ((own, True), (other, False)):
        told = f"{chart.title} {chart.alt} {chart.caption} {chart.figure}"
        assert ("your" in told.replace("--yours", "")) is is_own
        assert ("the baseline" in told) is not is_own


def test_a_log_has_no_margin_where_colors_are_forced(monkeypatch, capsys):
    monkeypatch.setenv("FORCE_COLOR", "1")
    monkeypatch.setenv("COLUMNS", "60")
    console_for().print("x" * 110)
    assert "x" * 110 in capsys.readouterr().out
