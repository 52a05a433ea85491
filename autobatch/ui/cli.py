"""The command line: build inputs, call one function, show what it returns.

The result goes to stdout, the story to stderr. Heavy modules are imported inside functions, so that
`autobatch --help` is there at once.
"""

import io
import sys
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, NoReturn, TypeVar

import typer

from autobatch.errors import AutobatchError, UserCodeError

if TYPE_CHECKING:
    from rich.console import RenderableType

    from autobatch.protocol import ProbeResult, Struct
    from autobatch.stages.ask import Session

app = typer.Typer(
    help="Measure which batch size and learning rate to train a Keras model with on this machine.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)

Result = TypeVar("Result", bound="Struct")

NOT_READY = 2  # the exit code of `doctor`: as for what cannot be used as it stands

TARGET_HELP = "recipe.yaml, train.py[:build_model], package.module:callable, or model.keras"
Target = Annotated[str, typer.Argument(metavar="TARGET", help=TARGET_HELP)]
Json = Annotated[bool, typer.Option("--json", help="Print one JSON object on stdout.")]
RunDirectory = Annotated[
    Path | None,
    typer.Option("--run-dir", metavar="DIR", help="Where the record is kept and resumed from."),
]
Fresh = Annotated[bool, typer.Option("--fresh", help="Measure anew; the old record is set aside.")]
Set = Annotated[
    list[str] | None,
    typer.Option("--set", metavar="KEY=VALUE", help="Override the recipe (may be repeated)."),
]
Quiet = Annotated[bool, typer.Option("--quiet", help="No story on stderr.")]
Exact = Annotated[bool, typer.Option("--exact", help="To the sample, not within 1 %.")]


@app.command()
def recommend(
    target: Target,
    json: Json = False,
    run_dir: RunDirectory = None,
    fresh: Fresh = False,
    set_: Set = None,
    quiet: Quiet = False,
    prefer: Annotated[
        str | None,
        typer.Option(metavar="small|large", help="Which of the sizes that are equally good."),
    ] = None,
    effective_batch: Annotated[
        int | None,
        typer.Option(metavar="N", help="Say how to train with N samples per update."),
    ] = None,
    replicas: Annotated[
        str | None,
        typer.Option(metavar="1,2,4,8", help="Predict the speedup of so many devices."),
    ] = None,
) -> None:
    """Recommend a batch size and a learning rate, with the evidence."""
    from autobatch import tuner
    from autobatch.ui.tables import recommendation_table

    wishes = {
        "prefer": prefer,
        "effective_batch": effective_batch,
        "replicas": None if replicas is None else f"[{replicas}]",
    }
    settings = [f"recommend.{name}={value}" for name, value in wishes.items() if value is not None]
    settings = [*(set_ or []), *settings]
    _carry_out(tuner.tune, recommendation_table, target, settings, run_dir, fresh, json, quiet)


@app.command()
def probe(
    target: Target,
    exact: Exact = False,
    json: Json = False,
    run_dir: RunDirectory = None,
    fresh: Fresh = False,
    set_: Set = None,
    quiet: Quiet = False,
) -> None:
    """Find the largest batch that fits in device memory."""
    from autobatch import tuner
    from autobatch.ui.tables import probe_table

    def work(session: "Session") -> "ProbeResult":
        return tuner.probe(session, exact=exact)

    _carry_out(work, probe_table, target, set_ or [], run_dir, fresh, json, quiet)


@app.command()
def benchmark(
    target: Target,
    json: Json = False,
    run_dir: RunDirectory = None,
    fresh: Fresh = False,
    set_: Set = None,
    quiet: Quiet = False,
    sizes: Annotated[
        str | None,
        typer.Option(metavar="16,24,32", help="Batch sizes to measure, instead of powers of two."),
    ] = None,
) -> None:
    """Measure the samples per second that training delivers across batch sizes."""
    from autobatch import tuner
    from autobatch.ui.tables import benchmark_table

    settings = [*(set_ or []), *([f"benchmark.sizes=[{sizes}]"] if sizes is not None else [])]
    _carry_out(tuner.benchmark, benchmark_table, target, settings, run_dir, fresh, json, quiet)


@app.command()
def doctor(
    target: Annotated[str | None, typer.Argument(metavar="TARGET", help=TARGET_HELP)] = None,
    json: Json = False,
    run_dir: RunDirectory = None,
    set_: Set = None,
) -> None:
    """Show devices, memory and versions here, and what would go wrong."""
    from rich.console import Console

    from autobatch.doctor.gather import examine
    from autobatch.protocol import to_json
    from autobatch.ui.doctor import diagnosis_table

    diagnosis = examine(target, set_ or [], run_dir)
    if json:
        typer.echo(to_json(diagnosis))
    else:
        Console().print(diagnosis_table(diagnosis))
    raise typer.Exit(0 if diagnosis.ready else NOT_READY)


@app.command()
def schema() -> None:
    """Print the JSON Schema of recipes, for editors."""
    import json

    from autobatch.recipe import recipe_schema

    typer.echo(json.dumps(recipe_schema(), indent=2))


def _carry_out(
    work: "Callable[[Session], Result]",
    table: "Callable[[Result], RenderableType]",
    target: str,
    overrides: list[str],
    run_directory: Path | None,
    fresh: bool,
    json: bool,
    quiet: bool,
) -> None:
    """Open a session, do the work under a display, print the result."""
    from rich.console import Console

    from autobatch.opening import open_session
    from autobatch.protocol import to_json
    from autobatch.ui.display import Display
    from autobatch.ui.interruption import interruptible

    with (
        interruptible(quiet=quiet) as interruption,
        Display(quiet=quiet) as display,
        open_session(
            target,
            overrides=overrides,
            run_directory=run_directory,
            fresh=fresh,
            on_event=interruption.watching(display.show),
            is_stopped=interruption.is_asked,
        ) as session,
    ):
        directory = session.record.directory
        result = work(session)
    if json:
        typer.echo(to_json(result))
        return
    console = Console()
    if not console.is_terminal:
        console.width = max(console.width, 120)  # a file has no margin: nothing is cut off
    console.print(table(result))
    console.print(f"[dim]evidence: {directory}[/]", soft_wrap=True)


def main() -> NoReturn:
    """The entry point: the only place where an exception becomes text and an exit code."""
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors="replace")  # an answer with a ? rather than none
    try:
        app(standalone_mode=True)
    except AutobatchError as error:
        _complain(error)
        sys.exit(error.exit_code)
    sys.exit(0)


def _complain(error: AutobatchError) -> None:
    if isinstance(error, UserCodeError) and error.traceback:
        typer.echo(f"In your code:\n{error.traceback.rstrip()}", err=True)
    typer.echo(f"autobatch: {error}", err=True)
