"""The HTML page: its numbers are the record's, and nothing in it is taken for code."""

import json
import re
from html import unescape
from io import StringIO
from pathlib import Path

import msgspec
import pytest
from pages import Page
from pretend import PretendDevice, inspected, session
from rich.console import Console

from autobatch import tuner
from autobatch.core import learning_curves, ranking
from autobatch.engine.record_file import FILE_NAME, Entry, read_record
from autobatch.engine.runs import runs_in
from autobatch.errors import UsageError
from autobatch.protocol import Inspect, Interval, Probe, UserCodeFailed, changed
from autobatch.ui import gains
from autobatch.ui.compare import render_comparison
from autobatch.ui.findings import findings
from autobatch.ui.report import render, report
from autobatch.ui.tables import recommendation_table
from autobatch.ui.words import verdict
from autobatch.units import format_bytes, format_duration, ratio

RECORDS = Path(__file__).parent.parent / "engine" / "records"
EVIL = "</script><script>alert('1')</script><img src=x onerror=alert(2)>\"'&<b>"
EVIL_METRIC = f"{EVIL}_loss"


def run(directory, command=tuner.tune, overrides=(), **device):
    """The record of a whole run on a pretend device."""
    directory.mkdir(exist_ok=True)
    with session(directory, PretendDevice(**device), overrides) as opened:
        command(opened)
    return read_record(directory)


@pytest.fixture(scope="module")
def better(tmp_path_factory):
    return run(tmp_path_factory.mktemp("better"))


@pytest.fixture(scope="module")
def page(better):
    return Page(render(better, "better"))


def console_text(renderable):
    console = Console(width=200, file=StringIO())
    console.print(renderable)
    return console.file.getvalue()


def trace(page, chart, name):
    return next(t for t in page.figures[chart]["data"] if t["name"].startswith(name))


def test_the_answer_and_the_snippet_come_first(page, better):
    found = better.recommendation
    answer = page.text[: page.text.index("Memory")]
    assert f"batch size {found.batch_size} yours {found.baseline.batch_size}" in answer
    assert f"learning rate {found.learning_rate:.4g} yours 0.01" in answer
    assert f"{found.speedup.value:.2g}×" in answer
    assert "high: the trials and the model" in answer
    assert re.sub(r"\s+", " ", found.snippet) in answer


def test_a_large_speedup_has_no_exponent(better):
    far = changed(better.recommendation.speedup, value=123.4, low=98.7, high=1234.5)
    much = changed(better.recommendation, speedup=far)
    text = Page(render(changed(better, recommendation=much), "run")).text
    assert "sooner 120× 99–over 1,000" in text
    assert "e+" not in text


def test_a_verification_says_whether_the_recommendation_holds(tmp_path, better):
    def verify(opened):
        return tuner.verify(opened, better.recommendation)

    slower = run(tmp_path / "run", verify, step_seconds=lambda size: 0.005 + 5e-5 * size)
    text = Page(render(slower, "run")).text
    assert "does not hold" in text
    assert "slower for certain" in text
    assert "Not finished" not in text
    assert "autobatch verify recipe.yaml" not in text  # it takes a run


def test_a_verification_says_which_difference_matters(tmp_path, better):
    def verify(opened):
        return tuner.verify(opened, better.recommendation)

    facts = inspected(data_fingerprint="xyz", versions={"keras": "4.0"})
    text = Page(render(run(tmp_path / "run", verify, facts=facts), "run")).text
    assert "The data has changed (shapes, types, or rows at its ends), so that the" in text
    assert text.count("so that the recommendation does not hold") == 1
    assert "keras was 3.0 and is 4.0." in text


def test_a_verification_that_was_ended_is_called_one_and_is_not_said_to_go_on(tmp_path, better):
    def verify(opened):
        return tuner.verify(opened, better.recommendation)

    content = run(tmp_path / "run", verify)
    ended = changed(content, entries=content.entries[:3], verification=None)
    ended = Page(render(ended, "run")).text
    assert "This verification came to no answer" in ended
    assert "goes on from here" not in ended
    assert "How to repeat" not in ended


def test_sections_stand_in_the_readers_order(page):
    titles = [text for tags, text in page.texts if tags[-1:] == ("h2",)]
    expected = ["The answer", "Memory", "Throughput", "Trials", "Noise scale, and what it implies"]
    assert titles == [*expected, "Why", "What to mind", "Environment", "How to repeat"]


def test_reasons_and_warnings_are_those_of_the_recommendation(page, better):
    for sentence in (*better.recommendation.reasons, *better.recommendation.warnings):
        assert sentence in page.text


def test_throughput_is_that_of_the_record_in_chart_and_table(page, better):
    points = better.recommendation.benchmark.points
    shown = trace(page, "throughput", "delivered")
    assert shown["x"] == [p.batch_size for p in points]
    assert shown["y"] == [p.samples_per_second for p in points]
    highs = [y + up for y, up in zip(shown["y"], shown["error_y"]["array"], strict=True)]
    assert highs == pytest.approx([p.high for p in points])
    device = [p.device_samples_per_second for p in points]
    assert trace(page, "throughput", "the device")["y"] == device
    for p in points:
        assert [str(p.batch_size), f"{p.samples_per_second:,.0f}"] in [r[:2] for r in page.rows]


def test_memory_is_that_of_the_record_in_chart_and_table(page, better):
    probed = better.recommendation.probe
    fits = [t for t in page.figures["memory"]["data"] if t["name"] in ("fits", "fits, verified")]
    shown = {pair for t in fits for pair in zip(t["x"], t["y"], strict=True)}
    assert shown == {(p.batch_size, p.peak_bytes) for p in probed.probes if p.outcome == "fits"}
    levels = {shape["y0"] for shape in page.figures["memory"]["layout"]["shapes"]}
    assert levels == {probed.limit_bytes, round(0.9 * probed.limit_bytes)}
    for p in probed.probes:
        peak = "" if p.peak_bytes is None else format_bytes(p.peak_bytes)
        assert (str(p.batch_size), peak) in {(r[0], r[2]) for r in page.rows if len(r) == 5}


def test_every_candidate_is_in_the_ranking_with_its_interval(page, better):
    for c in better.recommendation.candidates:
        row = next(r for r in page.rows if r[:2] == [str(c.batch_size), f"{c.learning_rate:.4g}"]
                   and len(r) == 10 and r[3] == f"{c.val_loss:.4g}")  # fmt: skip
        if c.speedup:
            assert row[4:6] == [
                f"{c.val_loss_at_equal_steps:.4g}",
                f"{c.val_loss_at_equal_samples:.4g}",
            ]
            assert row[6] == format_duration(c.time_to_target_seconds)
            assert row[7:9] == [
                f"{ratio(c.speedup.value)}×",
                f"{ratio(c.speedup.low)}–{ratio(c.speedup.high)}",
            ]


def test_curves_of_finalists_reach_the_target_when_the_record_says_so(better):
    found, by_setting = better.recommendation, {}
    for curve in findings(better, "run").curves:
        points = list(zip(curve.seconds, curve.values, strict=True))
        by_setting.setdefault((curve.batch_size, curve.learning_rate), []).append(points)
    finalists = [c for c in found.candidates if c.time_to_target_seconds]
    assert len(finalists) > 2
    for c in finalists:
        curves = by_setting[c.batch_size, c.learning_rate]
        assert len(curves) == c.seeds
        times = [learning_curves.time_to(curve, found.target_loss) for curve in curves]
        assert ranking.geometric_mean(times) == pytest.approx(c.time_to_target_seconds)


def test_every_candidate_that_trained_has_its_line(page, better):
    trained = [c for c in better.recommendation.candidates if c.seeds]
    lines = page.figures["trials"]["data"]
    assert len(lines) >= sum(c.seeds for c in trained)
    assert sum(t.get("showlegend", True) for t in lines) < 10


def test_finalists_do_not_differ_by_colour_alone(page):
    lines = [t for t in page.figures["trials"]["data"] if t.get("showlegend", True)]
    told = {t["name"]: (t["line"]["dash"], t["line"]["width"]) for t in lines}
    assert len(told) > 4
    assert len(set(told.values())) == len(told)


def test_the_driver_is_in_the_environment(better):
    versions = {"keras": "3.0", "NVIDIA driver": "550.90"}
    environment = better.recommendation.environment | {"versions": versions}
    found = changed(better.recommendation, environment=environment)
    text = Page(render(changed(better, recommendation=found), "run")).text
    assert "versions keras 3.0, NVIDIA driver 550.90" in text


def test_figures_are_what_plotly_takes(page):
    go = pytest.importorskip("plotly.graph_objects")

    def plain(value):
        if isinstance(value, dict):
            return {key: plain(each) for key, each in value.items()}
        if isinstance(value, list):
            return [plain(each) for each in value]
        return "#123456" if str(value).startswith("--") else value

    for figure in page.figures.values():
        go.Figure(plain(figure))


# --- nothing from the user is taken for code --------------------------------------------------


def evil(content):
    """The same record, with markup wherever a text is the user's."""
    target = changed(content.header.target, model=EVIL, folder=EVIL, args={EVIL: EVIL})
    recommendation = changed(
        content.recommendation,
        metric=EVIL_METRIC,
        reasons=(EVIL,),
        warnings=(EVIL,),
        snippet=EVIL,
        environment={"recipe": {"model": EVIL}},
    )
    failure = UserCodeFailed(message=EVIL, traceback=f"</pre>{EVIL}", hint=EVIL)
    failed = Entry(task=Inspect(batch_size=1), outcome=failure, seconds=1.0, log=None)
    entries = [_renamed(entry, content.recommendation.metric) for entry in content.entries]
    return changed(
        content,
        header=changed(content.header, target=target),
        entries=(*entries, failed),
        recommendation=recommendation,
    )


def _renamed(entry, metric):
    if not hasattr(entry.outcome, "evaluations"):
        if hasattr(entry.outcome, "model_name"):
            names = {"model_name": EVIL, "device_name": EVIL, "data_source": EVIL, "loss": EVIL}
            return changed(entry, outcome=changed(entry.outcome, **names))
        return entry
    evaluations = tuple(
        changed(each, metrics={EVIL_METRIC: each.metrics[metric]})
        for each in entry.outcome.evaluations
    )
    return changed(entry, outcome=changed(entry.outcome, evaluations=evaluations))


def test_nothing_from_the_user_becomes_markup(page, better):
    shown = Page(render(evil(better), EVIL))
    assert {name for name, _ in shown.tags} <= {name for name, _ in page.tags} | {
        "strong"
    }  # of failures
    assert not shown.all("img")
    assert len(shown.all("script")) == len(page.all("script"))
    assert not [a for _, a in shown.tags for name in a if name.startswith("on")]
    assert shown.text.count("alert('1')") > 10
    assert shown.figures["trials"]["layout"]["yaxis"]["title"]["text"].startswith("&lt;/script&gt;")


# --- one file, offline ------------------------------------------------------------------------


def test_the_page_refers_to_nothing_outside_of_it(page):
    assert not [a for name, a in page.tags if "src" in a or name in ("link", "iframe", "object")]
    assert all(a["href"].startswith("#") for a in page.all("a"))
    assert "url(" not in page.style and "@import" not in page.style
    policy = next(a["content"] for a in page.all("meta") if "Content-Security" in str(a))
    assert policy.startswith("default-src 'none'; script-src 'sha256-")
    assert "http" not in policy and "unsafe-inline" not in policy.split("style-src")[0]


def test_links_within_the_page_lead_somewhere(page):
    ids = page.ids()
    assert len(ids) == len(set(ids))
    assert {a["href"][1:] for a in page.all("a")} <= set(ids)
    assert {a["aria-labelledby"] for a in page.all("section")} <= set(ids)


# --- for everybody ----------------------------------------------------------------------------


def test_every_chart_has_a_text_in_its_place_and_its_numbers_in_a_table(page):
    charts = [a for a in page.all("div") if "data-figure" in a]
    assert {a["data-figure"] for a in charts} == set(page.figures)
    assert all(a["role"] == "img" and len(a["aria-label"]) > 30 for a in charts)
    assert len(page.all("details")) >= len(charts)
    assert all(a.get("scope") in ("col", "row") for a in page.all("th"))
    assert len(page.all("caption")) == len(page.all("table"))
    assert page.all("html") == [{"lang": "en"}]


def colours(style, block):
    return dict(re.findall(r"(--[\w-]+): (#\w{6})", re.search(block, style, re.DOTALL)[1]))


@pytest.mark.parametrize("block", [r":root \{(.*?)\}", r":root:not\(.printing\) \{(.*?)\}"])
def test_text_stands_out_from_what_is_behind_it(page, block):
    found = colours(page.style, block)

    def luminance(colour):
        parts = [int(colour[at : at + 2], 16) / 255 for at in (1, 3, 5)]
        linear = [p / 12.92 if p <= 0.04045 else ((p + 0.055) / 1.055) ** 2.4 for p in parts]
        return sum(w * p for w, p in zip((0.2126, 0.7152, 0.0722), linear, strict=True))

    def contrast(front, back):
        dark, light = sorted((luminance(found[front]), luminance(found[back])))
        return (light + 0.05) / (dark + 0.05)

    for back in ("--page", "--raised", "--accent-soft", "--banner"):
        assert contrast("--ink", back) >= 7
    for front in ("--muted", "--data", "--accent", "--yours", "--bad"):
        assert min(contrast(front, "--page"), contrast(front, "--accent-soft")) >= 4.5
    for line in ("--other", "--finalist-1", "--finalist-2", "--finalist-3", "--finalist-4"):
        assert contrast(line, "--page") >= 3


# --- whatever the run came to -----------------------------------------------------------------


def test_a_tie_says_that_the_setting_stays(tmp_path):
    def step_seconds(size):
        return 0.001 / (1 + 500 / size)

    content = run(tmp_path, best_rate=lambda size: 0.01 * size / 32, step_seconds=step_seconds)
    shown = Page(render(content, "tie"))
    assert "keep what you have" in shown.text
    assert "yours, recommended" in str(shown.figures["trials"]["data"])


def test_what_is_likely_to_be_sooner_is_told_as_no_more_than_that(tmp_path):
    content = run(tmp_path)
    speedup = Interval(value=1.3, low=0.8, high=2.1)
    likely = changed(content.recommendation, verdict="inconclusive", speedup=speedup)
    text = Page(render(changed(content, recommendation=likely), "likely")).text
    for told in (text, console_text(recommendation_table(likely))):
        assert "inconclusive, but likely: 1.3× sooner at val_loss" in told
    assert "likely sooner 1.3× 0.8–2.1" in text
    assert "keep" not in text.partition("What to mind")[0]
    anneals = changed(likely, learning_rate_schedule="warmup_stable_decay")
    assert "inconclusive, but likely: ends at val_loss" in verdict(anneals)


def test_where_another_size_stands_for_the_users_own_that_is_told(tmp_path):
    content = run(tmp_path, fits_up_to=20)
    found = content.recommendation
    assert (found.baseline.instead_of, found.baseline.batch_size <= 20) == (32, True)
    told = f"batch {found.baseline.batch_size}, which stands for yours"
    told_as = {"tie": "a tie: nothing tried beats", "inconclusive": "inconclusive: nothing beats"}
    own = found.baseline
    for name, words in told_as.items():
        kept = changed(
            found, verdict=name, batch_size=own.batch_size, learning_rate=own.learning_rate
        )
        text = Page(render(changed(content, recommendation=kept), "run")).text
        assert "yours 32 cannot be used" in text
        rate = f"in place of yours {found.baseline.learning_rate:.4g}"
        assert rate in text and rate in console_text(recommendation_table(kept))
        assert words in text and told in text and "; use it" in text
        assert "keep it" not in text and "keep what you have" not in text
        terminal = console_text(recommendation_table(kept))
        assert "yours 32 cannot be used" in terminal
        assert told in terminal


def test_gradients_that_are_scaled_are_told_to_be_as_the_users_optimizer_does(better):
    found = better.recommendation
    assert found.noise_scale is not None
    scaled = changed(found.noise_scale, preconditioned=True)
    result = changed(found, noise_scale=scaled, optimizer="RMSprop")
    text = Page(render(changed(better, recommendation=result), "run")).text
    assert "samples, as RMSprop scales gradients" in text


@pytest.mark.parametrize(
    ("most", "by"),
    [(1024, ", by the line fitted to all."), (3000, ".")],  # epochs of whole batches alone, or not
)
def test_a_knee_is_told_to_be_that_of_the_line_where_that_holds(tmp_path, most, by):
    found = run(tmp_path, overrides=[f"batch_sizes.max={most}"]).recommendation
    (told,) = [reason for reason in found.reasons if reason.startswith("Throughput")]
    assert told.endswith(f" is the smallest within 5 % of the best{by}")
    assert found.benchmark.step_time.describes == (most == 1024)


def test_a_probe_that_goes_on_where_trials_ended_is_the_one_shown(better):
    whole = better.recommendation.probe
    short = changed(whole, largest_fitting=8, ceiling=8, bounded_by="trials")
    begun = changed(better, recommendation=changed(better.recommendation, probe=short))
    shown = Page(render(begun, "run"))
    assert "largest that was probed 8" in shown.text
    shown = Page(render(changed(begun, probe=whole), "run"))
    assert f"largest that fits {whole.largest_fitting}" in shown.text
    assert "largest that was probed" not in shown.text


@pytest.mark.parametrize(
    ("command", "there", "absent"),
    [
        (tuner.probe, "largest that fits 29", "Throughput"),
        (tuner.benchmark, "knee", "Trials"),
    ],
)
def test_a_run_of_less_shows_what_it_has(tmp_path, command, there, absent):
    shown = Page(render(run(tmp_path, command), "run"))
    assert there in shown.text
    assert "Not finished" not in shown.text
    assert absent not in [text for tags, text in shown.texts if tags[-1:] == ("h2",)]


def test_a_run_that_is_not_finished_says_so_and_shows_what_there_is(better):
    for count in (1, 2, 10, 40, len(better.entries)):
        begun = changed(better, entries=better.entries[:count], recommendation=None)
        shown = Page(render(begun, "run"))
        assert "Not finished" in shown.text
    assert {"memory", "throughput", "trials"} <= set(shown.figures)


def test_a_failure_of_the_users_code_is_shown_with_its_traceback(better):
    failure = UserCodeFailed(message="KeyError: 'x'", traceback="line 3, in build_model")
    task = Probe(batch_size=8, limit_bytes=1)
    failed = Entry(task=task, outcome=failure, seconds=1.0, log=None)
    shown = Page(render(changed(better, entries=(failed,), recommendation=None), "run"))
    assert "your code failed: KeyError: 'x'" in shown.text
    assert "line 3, in build_model" in shown.text


@pytest.mark.parametrize("path", sorted(RECORDS.iterdir()), ids=lambda path: path.stem)
def test_records_of_real_runs_make_a_page(tmp_path, path):
    (tmp_path / FILE_NAME).write_bytes(path.read_bytes())
    assert Page(render(read_record(tmp_path), "real")).figures


def test_how_to_repeat_is_a_recipe_that_can_be_read_again(page, better):
    import yaml

    from autobatch.recipe import make_recipe

    recipe = page.html.split('id="repeat-code"')[1].split("<code>")[1].split("</code>")[0]
    again = make_recipe(yaml.safe_load(recipe))
    asked = better.recommendation.environment["recipe"]
    assert msgspec.to_builtins(again.batch_sizes) == asked["batch_sizes"]
    assert float(again.trials.budget) == asked["trials"]["budget"]
    assert again.backend == better.header.target.backend  # which may be of a variable's choice


def test_how_to_repeat_a_probe_has_class_weights_and_arguments_of_none(better):
    import yaml

    from autobatch.recipe import make_recipe

    target = changed(better.header.target, class_weight={0: 1.0, 3: 2.5}, args={"dropout": None})
    found = changed(better, header=changed(better.header, target=target), recommendation=None)
    html = render(found, "run")
    recipe = html.split('id="repeat-code"')[1].split("<code>")[1].split("</code>")[0]
    again = make_recipe(yaml.safe_load(unescape(recipe)))
    assert (again.class_weight, again.args) == ({0: 1.0, 3: 2.5}, {"dropout": None})


def test_how_to_repeat_a_probe_with_synthetic_data_names_no_data(tmp_path):
    made_up = inspected(train_samples=None, validation_samples=None, data_source="synthetic")
    shown = Page(render(run(tmp_path, tuner.probe, facts=made_up), "run"))
    recipe = shown.html.split('id="repeat-code"')[1].split("<code>")[1].split("</code>")[0]
    assert recipe.startswith("model: train.py:build_model\n")
    assert "data:" not in recipe


def test_how_to_repeat_says_where_the_recipe_is_not_whole(page, tmp_path):
    shown = Page(render(run(tmp_path, tuner.probe), "run"))
    assert "data: train.py:load_data" in shown.html
    assert "Ranges and budgets are not in the record" in shown.text
    assert "not in the record" not in page.text


# --- two runs ---------------------------------------------------------------------------------


def test_two_runs_stand_side_by_side_with_what_differs(tmp_path, better):
    run(tmp_path / "one")
    run(tmp_path / "two", tuner.benchmark, fits_up_to=100)
    runs = [str(tmp_path / "one"), str(tmp_path / "two")]
    shown = Page(report(runs, compare=True, output=None, force=False).read_text())
    rows = {row[0]: row[1:] for row in shown.rows if len(row) == 3}
    assert rows["largest that fits"] == [str(better.recommendation.probe.largest_fitting), "100"]
    assert rows["batch size"] == [str(better.recommendation.batch_size), ""]
    assert set(shown.figures) == {"throughput", "memory"}


def test_beside_another_run_a_verification_tells_what_it_found(tmp_path, better):
    def verify(opened):
        return tuner.verify(opened, better.recommendation)

    slow = {"step_seconds": lambda size: 0.005 + 5e-5 * size}
    slower = run(tmp_path / "run", verify, facts=inspected(data_fingerprint="xyz"), **slow)
    both = (findings(better, "run"), findings(slower, "verification"))
    rows = {row[0]: row[1:] for row in Page(render_comparison(*both)).rows}
    assert rows["verified"] == ["", f"batch {better.recommendation.batch_size} does not hold"]
    then, now = rows["when verified"]
    assert then == ""
    assert all(told in now for told in ("peaks at", "slower for certain", "The data has changed"))


def test_where_larger_sizes_may_fit_too_that_is_told_beside_another_run(better):
    pair = [
        changed(better.recommendation.probe, bounded_by=by, verified=by != "failure")
        for by in ("time", "failure")
    ]
    runs = [findings(changed(better, recommendation=None, probe=each), "run") for each in pair]
    rows = {row[0]: row[1:] for row in Page(render_comparison(*runs)).rows}
    size = better.recommendation.probe.largest_fitting
    told = [f"{size} (largest that was verified)", f"{size} (largest seen to fit)"]
    assert rows["largest that fits"] == told


def test_annealed_trials_are_told_by_where_they_end(tmp_path):
    overrides = ["trials.schedule=warmup_stable_decay"]
    annealed = run(tmp_path / "annealed", overrides=overrides).recommendation
    own = run(tmp_path / "own").recommendation
    runs = [str(tmp_path / name) for name in ("annealed", "own")]
    both = Page(report(runs, compare=True, output=None, force=False).read_text())
    assert "One has annealed trials, and the other none" in both.text
    rows = {row[0]: row[1:] for row in both.rows if len(row) == 3}
    assert rows["in the end"] == [f"val_loss {annealed.val_loss:.4g}", ""]
    assert rows["at best"] == ["", f"val_loss {own.val_loss:.4g}"]
    page = Page(report(runs[:1], compare=False, output=None, force=False).read_text())
    ends = f"{annealed.val_loss:.4g} yours {annealed.baseline.val_loss:.4g}"
    assert f"ends at {ends}" in page.text
    lower = gains.told(annealed.candidates[0], annealed)[0]
    assert lower and "ends lower than yours by" in json.dumps(page.figures["ranking"])
    rate = f"{annealed.learning_rate:.4g} yours 0.01; warmed up, and annealed to 0"
    for text in (page.text, re.sub(r"\s+", " ", console_text(recommendation_table(annealed)))):
        assert f"learning rate {rate}" in text
        assert "class WarmupStableDecay" in text
        assert "ends lower by" in text and f" {lower} " in text and "sooner" not in text
        assert "equal samples" not in text and "as many steps" not in text
    answers = [each.answer for each in runs_in(tmp_path)]
    assert sum(each.endswith(f"ends at val_loss {annealed.val_loss:.4g}") for each in answers) == 1


def test_two_runs_without_a_measurement_in_common_have_no_empty_section(tmp_path, better):
    run(tmp_path / "one", tuner.inspect)
    run(tmp_path / "two", tuner.probe)
    runs = [str(tmp_path / "one"), str(tmp_path / "two")]
    shown = Page(report(runs, compare=True, output=None, force=False).read_text())
    titles = [text for tags, text in shown.texts if tags[-1:] == ("h2",)]
    assert "What differs" in titles and "Measurements" not in titles


def test_a_page_of_ours_is_written_anew_and_a_file_of_theirs_is_not(tmp_path):
    run(tmp_path / "run", tuner.probe)

    def write():
        return report([str(tmp_path / "run")], compare=False, output=None, force=False)

    assert write() == write() == tmp_path / "run" / "report.html"
    write().write_text("<p>my notes</p>")
    with pytest.raises(UsageError, match="exists already"):
        write()
