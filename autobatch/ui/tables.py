"""Results as Rich renderables, for stdout."""

from collections.abc import Iterator

from rich.console import Group, RenderableType
from rich.markup import escape
from rich.padding import Padding
from rich.syntax import Syntax
from rich.table import Table
from rich.text import Text

from autobatch.protocol import (
    BenchmarkResult,
    Candidate,
    ProbeResult,
    Recommendation,
)
from autobatch.units import format_bytes, format_duration

BAR_CELLS = 16
BOUND_BY = {
    "memory": "device memory",
    "samples": "the number of training samples",
    "range": "batch_sizes.max",
    "host_memory": "the memory of the machine",
    "time": "the time it had: the search was not finished",
    "failure": "a failure that is not out-of-memory (see the notes)",
}
HOLDS_BACK = {
    "input_pipeline": "the input pipeline: training waits for data",
    "step_overhead": "the fixed cost of each step: the device waits for Python and launches",
    "compute": "computation: the device is busy",
    "memory": "memory: too little of it is left at the largest sizes",
}


def probe_table(result: ProbeResult) -> RenderableType:
    table = Table(title="Probes, each in a fresh process", title_justify="left", box=None)
    table.add_column("batch", justify="right")
    table.add_column("outcome")
    table.add_column("peak", justify="right")
    table.add_column("of limit", justify="right")
    table.add_column("took", justify="right")
    for point in sorted(result.probes, key=lambda p: (p.batch_size, p.verify)):
        peak = point.peak_bytes
        outcome = point.outcome.replace("_", " ") + (" (verified)" if point.verify else "")
        table.add_row(
            str(point.batch_size),
            Text(outcome, style="green" if point.outcome == "fits" else "red"),
            "" if peak is None else format_bytes(peak),
            "" if peak is None else f"{peak / result.limit_bytes:.0%}",
            format_duration(point.seconds),
        )
    keeps = (
        f"keeps {result.headroom:.0%} free",
        f"[bold]{result.ceiling}[/] (peak {format_bytes(result.ceiling_peak_bytes)} "
        f"of {format_bytes(result.limit_bytes)})",
    )
    facts = _facts(
        (
            "largest that fits" if result.verified else "largest seen to fit",
            f"[bold]{result.largest_fitting}[/]",
        ),
        *([keeps] if result.ceiling else []),
        ("bounded by", BOUND_BY[result.bounded_by]),
    )
    return Group(table, "", facts, *(f"[yellow]note[/] {escape(note)}" for note in result.notes))


def benchmark_table(result: BenchmarkResult) -> RenderableType:
    table = Table(
        title="Samples per second that fit delivers (median, 95 % interval)",
        title_justify="left",
        box=None,
    )
    peaks = any(point.peak_bytes is not None for point in result.points)
    for name in ("batch", "samples/s", "±", "", "step", *(("peak",) if peaks else ())):
        table.add_column(name, justify="left" if name == "" else "right", no_wrap=True)
    top = max(point.samples_per_second for point in result.points)
    for point in result.points:
        bar = "█" * max(1, round(BAR_CELLS * point.samples_per_second / top))
        mark = " [bold]knee[/]" if point.batch_size == result.knee else ""
        table.add_row(
            str(point.batch_size),
            f"{point.samples_per_second:,.0f}",
            f"{(point.high - point.low) / 2 / point.samples_per_second:.0%}",
            f"[cyan]{bar}[/]{mark}",
            f"{point.step_seconds * 1000:.3g} ms",
            *((format_bytes(point.peak_bytes or 0),) if peaks else ()),
        )
    facts = _facts(
        ("knee", f"[bold]{result.knee}[/] (smallest within 5 % of the best){_between(result)}"),
        ("fastest", str(result.best)),
        *_step_time(result),
        ("held back by", HOLDS_BACK[result.bound_by]),
        ("", f"[dim]{_evidence(result)}[/]"),
        *(("try", escape(each)) for each in result.advice),
    )
    notes = (*result.notes, *(f"not measured: {reason}" for reason in result.skipped))
    return Group(table, "", facts, *(f"[yellow]note[/] {escape(note)}" for note in notes))


def _between(result: BenchmarkResult) -> str:
    if result.step_time is None or result.step_time.knee.low == result.step_time.knee.high:
        return ""
    return f", between {result.step_time.knee.low:.0f} and {result.step_time.knee.high:.0f}"


def _step_time(result: BenchmarkResult) -> list[tuple[str, str]]:
    fitted = result.step_time
    if fitted is None:
        return []
    told = (
        f"{fitted.overhead_seconds.value * 1000:.3g} ms + batch x "
        f"{fitted.seconds_per_sample.value * 1e6:.3g} µs"
    )
    if not fitted.describes:
        told += ", which not all sizes follow"
    return [("a step takes", told)]


def _evidence(result: BenchmarkResult) -> str:
    point = next(point for point in result.points if point.batch_size == result.best)
    return f"at batch {point.batch_size}, {point.evidence}"


CONFIDENCE = {
    "high": "high: the trials and the model of noise scale and step time agree",
    "medium": "medium: the trials say so; noise scale and step time do not bear it out",
    "low": "low: the trials could not tell",
}


def recommendation_table(result: Recommendation) -> RenderableType:
    baseline = result.baseline
    spread = (result.samples_per_second_high - result.samples_per_second_low) / 2
    facts = _facts(
        ("batch size", f"[bold green]{result.batch_size}[/]   [dim]yours {baseline.batch_size}[/]"),
        (
            "learning rate",
            f"[bold green]{result.learning_rate:.4g}[/]   "
            f"[dim]yours {baseline.learning_rate:.4g}[/]",
        ),
        ("verdict", _verdict(result)),
        ("confidence", CONFIDENCE[result.confidence]),
        (
            "memory",
            f"peak {format_bytes(result.peak_bytes)} of {format_bytes(result.probe.limit_bytes)}, "
            f"{1 - result.peak_bytes / result.probe.limit_bytes:.0%} free",
        ),
        (
            "throughput",
            f"{result.samples_per_second:,.0f} samples/s "
            f"± {spread / result.samples_per_second:.0%}; an epoch is {result.steps_per_epoch} "
            f"steps in {format_duration(result.epoch_seconds)}",
        ),
    )
    for plan in result.replicas:
        facts.add_row(
            f"{plan.replicas} devices",
            f"{plan.predicted_speedup:.2g}× as soon, batch {plan.per_replica_batch_size} each "
            f"[dim](predicted; {plan.predicted_efficiency:.0%} efficient, without the cost of "
            "synchronisation)[/]",
        )
    return Group(
        facts,
        "",
        *bullets("Why", result.reasons),
        *bullets("Note", result.warnings),
        candidates_table(result),
        "",
        Padding(Syntax(result.snippet, "python", background_color="default"), (0, 2)),
    )


def candidates_table(result: Recommendation) -> RenderableType:
    finalists = [c for c in result.candidates if c.seeds > 1 or c.status == "baseline"]
    title = f"Finalists at equal training time; target {result.metric} {result.target_loss:.4g}"
    table = Table(title=title, title_justify="left", box=None)
    for name in ("batch", "rate", result.metric, "reached in", "sooner", "95 %, all at once", ""):
        table.add_column(name, justify="left" if name == "" else "right", no_wrap=True)
    for candidate in finalists:
        table.add_row(*_candidate_cells(candidate, result))
    pruned = sum(c.status == "pruned" for c in result.candidates)
    diverged = sum(c.status == "diverged" for c in result.candidates)
    return Group(table, f"[dim]tried and dropped: {pruned} slower, {diverged} diverged[/]")


def _candidate_cells(candidate: Candidate, result: Recommendation) -> list[str]:
    time = candidate.time_to_target_seconds
    speedup = candidate.speedup
    chosen = (candidate.batch_size, candidate.learning_rate) == (
        result.batch_size,
        result.learning_rate,
    )
    if chosen:
        mark = "[bold green]◀[/]"
    else:
        mark = "[dim]yours[/]" if candidate.status == "baseline" else ""
    return [
        str(candidate.batch_size),
        f"{candidate.learning_rate:.4g}",
        "" if candidate.val_loss is None else f"{candidate.val_loss:.4g}",
        "never" if time is None else format_duration(time),
        "" if speedup is None else f"{speedup.value:.2f}×",
        "" if speedup is None else f"{speedup.low:.2f}–{speedup.high:.2f}",
        mark,
    ]


def _verdict(result: Recommendation) -> str:
    speedup = result.speedup
    match result.verdict:
        case "better":
            return (
                f"[bold]{speedup.value:.2g}×[/] sooner at your {result.metric} "
                f"(95 % interval {speedup.low:.2g}–{speedup.high:.2g})"
            )
        case "tie":
            return "a tie: nothing beats what you have; keep it"
        case "inconclusive":
            return "inconclusive: nothing beats what you have for certain; keep it"


def _facts(*rows: tuple[str, str]) -> Table:
    table = Table.grid(padding=(0, 2))
    table.add_column(style="dim", no_wrap=True)
    table.add_column()
    for row in rows:
        table.add_row(*row)
    return table


def bullets(title: str, sentences: tuple[str, ...]) -> Iterator[RenderableType]:
    if not sentences:
        return
    yield f"[bold]{title}[/]"
    for sentence in sentences:
        row = Table.grid(padding=(0, 1))
        row.add_row(" •", escape(sentence))
        yield row
    yield ""
