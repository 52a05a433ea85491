"""Commands about runs that there are: list them, show one, verify what it recommended."""

import os
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from autobatch.errors import DoesNotHoldError
from autobatch.ui.console import console_for, echo_json
from autobatch.ui.options import (
    Compare,
    Force,
    Json,
    Output,
    Quiet,
    RunDirectory,
    Runs,
    Set,
)

if TYPE_CHECKING:
    from autobatch.protocol import Struct, Verification


def verify(
    recommendation: Annotated[
        str,
        typer.Argument(
            metavar="RUN",
            help="The run whose recommendation to check: its directory, its name in "
            "autobatch-runs, the recipe or other TARGET that it was made for, or a "
            "recommendation.json.",
        ),
    ],
    target: Annotated[
        str | None,
        typer.Option(metavar="TARGET", help="Where the model is now, if it has moved."),
    ] = None,
    json: Json = False,
    run_dir: RunDirectory = None,
    set_: Set = None,
    quiet: Quiet = False,
) -> None:
    """Check whether a recommended batch size still fits and runs as fast, here and now."""
    from autobatch.opening import open_verification, recommendation_in
    from autobatch.ui.display import Display
    from autobatch.ui.interruption import interruptible

    recommended = recommendation_in(recommendation)
    with (
        interruptible(quiet=quiet, resumable=False) as interruption,
        Display(quiet=quiet) as display,
        open_verification(
            recommended,
            target,
            overrides=set_ or [],
            run_directory=run_dir,
            on_event=interruption.watching(display.show),
            is_stopped=interruption.is_asked,
        ) as session,
    ):
        from autobatch import tuner

        result = tuner.verify(session, recommended)
    show(result, json)
    if not result.holds:
        raise DoesNotHoldError(
            f"The recommendation does not hold here and now: {_why_not(result)}.",
            hint="`autobatch recommend` on its target, with --fresh, measures anew.",
        )


def _why_not(result: "Verification") -> str:
    if result.outcome != "fits":
        return f"batch {result.batch_size} does not train"
    if any(each.matters for each in result.differences):
        return "it was made for something else"
    if result.speed == "unknown":
        return f"batch {result.batch_size} trained once, and not each time that it was to be timed"
    return f"batch {result.batch_size} is {result.speed}"


def runs(
    folder: Annotated[
        Path | None,
        typer.Argument(metavar="FOLDER", help="List the runs in FOLDER instead of autobatch-runs."),
    ] = None,
    json: Json = False,
    quiet: Quiet = False,
) -> None:
    """List the runs so far, the latest first."""
    from autobatch.engine.runs import RUNS, refuse_unless_folder, runs_in
    from autobatch.ui.run_tables import runs_list

    if folder is not None:
        refuse_unless_folder(folder)
    found = runs_in(folder or RUNS)
    if json:
        echo_json(found)
    elif found:
        console_for().print(runs_list(found))
    elif not quiet:
        typer.echo(f"There are no runs in {folder or RUNS}.", err=True)


def report(
    runs: Runs,
    compare: Compare = False,
    output: Output = None,
    force: Force = False,
    json: Json = False,
    quiet: Quiet = False,
) -> None:
    """Write an HTML report of a run, or of two side by side."""
    from autobatch.protocol import WrittenReport
    from autobatch.ui.report import report

    path = report(runs, compare=compare, output=output, force=force)
    if json:
        echo_json(WrittenReport(path=str(path)))
    else:
        typer.echo(os.fsencode(path))  # as it is, also where it is not valid UTF-8


def show(result: "Struct", json: bool) -> None:
    """Print a result on stdout, as a table or as JSON."""
    from autobatch.ui.run_tables import table_of

    if json:
        echo_json(result)
    else:
        console_for().print(table_of(result), crop=False)
