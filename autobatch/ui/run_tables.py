"""Runs, and the answers of all commands, as Rich renderables."""

from rich.console import Group, RenderableType
from rich.padding import Padding
from rich.text import Text

from autobatch.engine.difference import UNCHANGED, in_words
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
    changed = tuple(map(in_words, result.differences))
    return Group(
        f"{setting}: {verdict}",
        "",
        *bullets("Measured now", result.reasons),
        *bullets("Changed since", changed or (UNCHANGED,)),
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
