"""Results as notebooks show them: the tables of the terminal, in HTML."""

from io import StringIO

from autobatch.protocol import BenchmarkResult, ProbeResult, Recommendation, Verification

WIDTH = 100
FORMAT = '<pre style="line-height: 1.3; overflow-x: auto">{code}</pre>'


def html(result: ProbeResult | BenchmarkResult | Recommendation | Verification) -> str:
    """One element, with its styles in it."""
    from rich.console import Console

    from autobatch.ui import run_tables, tables

    console = Console(record=True, width=WIDTH, file=StringIO(), force_terminal=True)
    match result:
        case ProbeResult():
            console.print(tables.probe_table(result))
        case BenchmarkResult():
            console.print(tables.benchmark_table(result))
        case Recommendation():
            console.print(tables.recommendation_table(result))
        case Verification():
            console.print(run_tables.verification_table(result))
    return console.export_html(inline_styles=True, code_format=FORMAT)
