"""Results as Rich renderables, for stdout."""

from collections.abc import Iterator
from textwrap import indent

from rich.console import Group, RenderableType
from rich.markup import escape
from rich.table import Table
from rich.text import Text

from autobatch.core.search import BOUNDED_BY
from autobatch.protocol import (
    BenchmarkPoint,
    BenchmarkResult,
    Candidate,
    ProbePoint,
    ProbeResult,
    Recommendation,
)
from autobatch.ui import gains, held_back, words
from autobatch.ui.narrowing import Column, NarrowingTable
from autobatch.units import counted, format_rate, format_share

BAR_CELLS = 16


def probe_table(result: ProbeResult) -> RenderableType:
    table = NarrowingTable(
        words.PROBES,
        [Column(name, is_text=name == "outcome") for name in words.PROBE_COLUMNS],
        map(
            lambda point: _probe_cells(point, result.limit_bytes),
            sorted(result.probes, key=lambda point: (point.batch_size, point.verify)),
        ),
        dispensable=("took", "of limit"),
    )
    keeps = (
        f"keeps {format_share(result.headroom)} free",
        f"[bold]{result.ceiling}[/] ({words.ceiling_peak(result)})",
    )
    facts = facts_table(
        (result.name_of_largest, f"[bold]{result.largest_fitting}[/]"),
        *([keeps] if result.ceiling else []),
        *_shared(result.ceiling, result.replicas),
        ("bounded by", BOUNDED_BY[result.bounded_by]),
    )
    return Group(table, "", facts, *(f"[yellow]note[/] {escape(note)}" for note in result.notes))


def _probe_cells(point: ProbePoint, limit_bytes: int) -> list[RenderableType]:
    size, outcome, *others = words.probe_cells(point, limit_bytes)
    style = "green" if point.outcome in words.FITTING else "red"
    return [size, Text(outcome, style=style), *others]


def benchmark_table(result: BenchmarkResult) -> RenderableType:
    table = NarrowingTable(
        "Samples per second that fit delivers (95 % interval)",
        (
            *(Column("batch"), Column("samples/s"), Column("±"), Column("(knee)", is_text=True)),
            *(Column("(bar)", is_text=True), Column("step")),
            *(Column("peak"), Column("J/sample")),
        ),
        (_benchmark_cells(point, result) for point in result.points),
        dispensable=("(bar)", "peak", "step", "J/sample"),
    )
    facts = facts_table(
        ("knee", f"[bold]{result.knee}[/] {words.knee(result)}"),
        ("fastest", str(result.best)),
        *_shared(result.knee, result.replicas),
        *([("a step takes", words.step_time(result.step_time))] if result.step_time else []),
        *(
            (name, escape(fact) if name else f"[dim]{escape(fact)}[/]")
            for name, fact in held_back.sentences(result)
        ),
    )
    notes = (*result.notes, *(f"not measured: {reason}" for reason in result.skipped))
    return Group(table, "", facts, *(f"[yellow]note[/] {escape(note)}" for note in notes))


def _benchmark_cells(point: BenchmarkPoint, result: BenchmarkResult) -> tuple[str, ...]:
    top = max(point.samples_per_second for point in result.points)
    bar = "█" * max(1, round(BAR_CELLS * point.samples_per_second / top))
    return (
        str(point.batch_size),
        format_rate(point.samples_per_second),
        f"{point.half_width:.0%}",
        _mark(point.batch_size, result),
        f"[cyan]{bar}[/]",
        words.step(point),
        words.peak(point),
        words.energy(point),
    )


def _mark(batch_size: int, result: BenchmarkResult) -> str:
    if batch_size == result.knee:
        return "[bold]knee[/]"
    return "[red]above ceiling[/]" if result.is_above_ceiling(batch_size) else ""


def recommendation_table(result: Recommendation) -> RenderableType:
    facts = facts_table(
        ("batch size", f"[bold green]{result.batch_size}[/]   [dim]{words.yours(result)}[/]"),
        (
            "learning rate",
            f"[bold green]{result.learning_rate:.4g}[/]   [dim]{words.beside_rate(result)}[/]",
        ),
        *_accumulation(result),
        *_shared(result.batch_size, result.probe.replicas),
        ("verdict", escape(words.verdict(result))),
        ("confidence", words.CONFIDENCE[result.confidence]),
        ("memory", words.memory(result)),
        ("throughput", words.throughput(result)),
        ("measured on", f"[dim]{escape(words.measured_on(result))}[/]"),
    )
    for plan in result.replicas:
        told, reservations = words.replica_plan(plan)
        facts.add_row(counted(plan.replicas, "device"), f"{told} [dim]{reservations}[/]")
    return Group(
        facts,
        "",
        *bullets("Why", result.reasons),
        *bullets("Note", result.warnings),
        candidates_table(result),
        "",
        # In no theme's colors, as nobody knows whether they would be on light or on dark. Lines
        # stay whole, so that they can be pasted, where the console prints without `crop`.
        Text(indent(result.snippet, "  "), "bold", no_wrap=True, overflow="ignore"),
    )


def candidates_table(result: Recommendation) -> RenderableType:
    finalists = [c for c in result.candidates if c.is_finalist]
    told, metric = words.measures(result), escape(result.metric)
    least, less = gains.dispensable(result)
    table = NarrowingTable(
        f"Finalists at equal training time; target: {escape(words.target(result))}",
        (
            *(Column("batch"), Column("rate"), *(Column(escape(name)) for name in told)),
            *map(Column, gains.columns(result)),
            Column("(mark)", is_text=True),
        ),
        (_candidate_cells(candidate, result) for candidate in finalists),
        dispensable=(least, told[1:], less, metric),
    )
    together = [words.TOGETHER] if any(gains.gain(c, result) for c in finalists) else []
    return Group(table, *(f"[dim]{told}[/]" for told in (*together, words.dropped(result))))


def _candidate_cells(candidate: Candidate, result: Recommendation) -> list[str]:
    if words.is_chosen(candidate, result):
        mark = "[bold green]◀[/]"
    else:
        mark = f"[dim]{words.whose(result)}[/]" if candidate.status == "baseline" else ""
    return [
        str(candidate.batch_size),
        f"{candidate.learning_rate:.4g}",
        *words.measured(candidate, result),
        *gains.cells(candidate, result),
        mark,
    ]


def _shared(batch_size: int, replicas: int) -> list[tuple[str, str]]:
    return [("devices", words.shared(batch_size, replicas))] if replicas > 1 and batch_size else []


def _accumulation(result: Recommendation) -> list[tuple[str, str]]:
    if result.gradient_accumulation_steps == 1:
        return []
    return [("gradient accumulation", words.accumulation(result))]


def facts_table(*rows: tuple[str, str]) -> Table:
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
