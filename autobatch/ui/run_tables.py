"""Runs, and what a verification says, as Rich renderables."""

from rich.console import Group, RenderableType
from rich.markup import escape
from rich.table import Table
from rich.text import Text

from autobatch.engine.runs import RunSummary
from autobatch.protocol import Verification
from autobatch.ui.tables import bullets
from autobatch.units import format_duration


def verification_table(result: Verification) -> RenderableType:
    verdict = "[bold green]holds[/]" if result.holds else "[bold red]does not hold[/]"
    setting = f"batch {result.batch_size}, learning rate {result.learning_rate:.4g}"
    table = Table(title="What is not as it was", title_justify="left", box=None)
    for name in ("", "then", "now", ""):
        table.add_column(name, overflow="fold")
    for each in result.differences:
        style = "red" if each.matters else ""
        told = "another question" if each.matters else ""
        table.add_row(each.name, escape(each.then), escape(each.now), told, style=style)
    return Group(
        f"{setting}: {verdict}",
        "",
        *bullets("Measured now", result.reasons),
        *((table,) if result.differences else ("Versions, device, model and data are the same.",)),
    )


def runs_table(found: tuple[RunSummary, ...]) -> RenderableType:
    table = Table(box=None, title_justify="left")
    table.add_column("run", no_wrap=True)
    table.add_column("begun", no_wrap=True)
    table.add_column("took", justify="right", no_wrap=True)
    table.add_column("answer")
    for run in found:
        readable = run.state != "unreadable"
        table.add_row(
            escape(run.name),
            run.created[:16].replace("T", " "),
            format_duration(run.spent_seconds) if readable else "",
            Text(run.answer, style="" if readable else "red"),
        )
    return table
