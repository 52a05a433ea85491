"""Runs, and the answers of all commands, as Rich renderables."""

from rich.console import Group, RenderableType
from rich.markup import escape
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

from autobatch.engine.runs import RunSummary
from autobatch.protocol import BenchmarkResult, ProbeResult, Recommendation, Verification
from autobatch.ui.tables import benchmark_table, bullets, probe_table, recommendation_table
from autobatch.units import format_duration


def table_of(answer: object) -> RenderableType:
    """Of any command's answer."""
    match answer:
        case ProbeResult():
            return probe_table(answer)
        case BenchmarkResult():
            return benchmark_table(answer)
        case Recommendation():
            return recommendation_table(answer)
        case Verification():
            return verification_table(answer)
    raise TypeError(f"{answer!r} is no answer")


def verification_table(result: Verification) -> RenderableType:
    verdict = "[bold green]holds[/]" if result.holds else "[bold red]does not hold[/]"
    setting = f"batch {result.batch_size}, learning rate {result.learning_rate:.4g}"
    table = Table(title="What has changed", title_justify="left", box=None)
    for name in ("", "then", "now", ""):
        table.add_column(name, overflow="fold")
    for each in result.differences:
        style = "red" if each.matters else ""
        told = "so it does not hold" if each.matters else ""
        table.add_row(each.name, escape(each.then), escape(each.now), told, style=style)
    return Group(
        f"{setting}: {verdict}",
        "",
        *bullets("Measured now", result.reasons),
        *((table,) if result.differences else ("Versions, device, model and data are the same.",)),
    )


def runs_list(found: tuple[RunSummary, ...]) -> RenderableType:
    """Two lines a run: which and when, and what came of it."""
    lines: list[RenderableType] = []
    for run in found:
        readable = run.state != "unreadable"
        told = f"{run.created[:16].replace('T', ' ')} UTC, {format_duration(run.spent_seconds)}"
        lines += [
            Text.assemble((run.name, "bold"), (f"  {told}" if readable else "", "dim")),
            Padding(Text(run.answer, style="" if readable else "red"), (0, 0, 0, 2)),
        ]
    return Group(*lines)
