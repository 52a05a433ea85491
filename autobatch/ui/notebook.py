"""Results as notebooks show them: the tables of the terminal, in HTML."""

from io import StringIO

from autobatch.protocol import BenchmarkResult, ProbeResult, Recommendation, Verification

WIDTH = 100
FORMAT = '<pre style="line-height: 1.3; overflow-x: auto">{code}</pre>'


def html(result: ProbeResult | BenchmarkResult | Recommendation | Verification) -> str:
    """One element, with its styles in it."""
    from rich.console import Console

    from autobatch.ui.run_tables import table_of

    console = Console(
        record=True,
        width=WIDTH,
        file=StringIO(),
        force_terminal=True,
        force_jupyter=False,  # it would show the table itself, beside what is returned
    )
    console.print(table_of(result), crop=False)
    return console.export_html(inline_styles=True, code_format=FORMAT)
