"""The command line: build inputs, call one function, show what it returns.

The result goes to stdout, the story to stderr. Heavy modules are imported inside functions, so that
`autobatch --help` is there at once, and what cannot be used is refused before NumPy and SciPy load.
"""

import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, NoReturn

import typer

from autobatch.errors import AutobatchError, FromOption
from autobatch.ui import prepare_commands, run_commands
from autobatch.ui.console import lasting_streams
from autobatch.ui.options import (
    EffectiveBatch,
    Exact,
    Fresh,
    FreshTrials,
    Json,
    Prefer,
    Quiet,
    Replicas,
    RunDirectory,
    Set,
    Sizes,
    Target,
    TensorBoard,
    Version,
)
from autobatch.ui.spelling import spell_on_stdout
from autobatch.ui.windows import refuse_windows

if TYPE_CHECKING:
    from autobatch.engine.run_directory import Fresh as Anew
    from autobatch.protocol import BenchmarkResult, ProbeResult, Recommendation, Struct
    from autobatch.stages.ask import Session

app = typer.Typer(
    help="Measure which batch size and learning rate to train a Keras model with on this machine.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
)

MEASURE, PREPARE, LOOK_BACK = "Measure", "Prepare", "Look back"  # panels of --help


@app.callback()
def common(version: Version = False) -> None:
    pass


@app.command(rich_help_panel=MEASURE)
def recommend(
    target: Target,
    json: Json = False,
    run_dir: RunDirectory = None,
    fresh: Fresh = False,
    fresh_trials: FreshTrials = False,
    set_: Set = None,
    quiet: Quiet = False,
    prefer: Prefer = None,
    effective_batch: EffectiveBatch = None,
    replicas: Replicas = None,
    tensorboard: TensorBoard = None,
) -> None:
    """Recommend a batch size and a learning rate, with the evidence."""
    from autobatch.engine.tensorboard import NOT_WRITTEN, refuse_without_writer, write_events
    from autobatch.ui.report import add_report

    def work(session: "Session") -> "Recommendation":
        from autobatch import tuner

        return tuner.tune(session)

    settings = [
        *(set_ or []),
        *_setting("--prefer", prefer, "recommend.prefer={}"),
        *_setting("--effective-batch", effective_batch, "recommend.effective_batch={}"),
        *_setting("--replicas", replicas, "recommend.replicas=[{}]"),
    ]
    if tensorboard is not None:
        refuse_without_writer()
    anew: Anew = "trials" if fresh_trials and not fresh else fresh
    run = _carry_out(work, target, settings, run_dir, anew, json, quiet)
    if tensorboard is not None:
        told = write_events(run, tensorboard)
        if not quiet or told.startswith(NOT_WRITTEN):
            typer.echo(told, err=True)
    add_report(run, quiet=quiet)


@app.command(rich_help_panel=MEASURE)
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

    def work(session: "Session") -> "ProbeResult":
        from autobatch import tuner

        return tuner.probe(session, exact=exact)

    _carry_out(work, target, set_ or [], run_dir, fresh, json, quiet)


@app.command(rich_help_panel=MEASURE)
def benchmark(
    target: Target,
    json: Json = False,
    run_dir: RunDirectory = None,
    fresh: Fresh = False,
    set_: Set = None,
    quiet: Quiet = False,
    sizes: Sizes = None,
) -> None:
    """Measure how many samples per second training delivers at each batch size."""

    def work(session: "Session") -> "BenchmarkResult":
        from autobatch import tuner

        return tuner.benchmark(session)

    settings = [*(set_ or []), *_setting("--sizes", sizes, "benchmark.sizes=[{}]")]
    _carry_out(work, target, settings, run_dir, fresh, json, quiet)


app.command(rich_help_panel=MEASURE)(run_commands.verify)
app.command(rich_help_panel=PREPARE)(prepare_commands.init)
app.command(rich_help_panel=PREPARE)(prepare_commands.doctor)
app.command(rich_help_panel=PREPARE)(prepare_commands.schema)
app.command(rich_help_panel=LOOK_BACK)(run_commands.runs)
app.command(rich_help_panel=LOOK_BACK)(run_commands.report)


def _setting(option: str, value: object, form: str) -> Iterator[str]:
    """What an option sets in the recipe, if it was given."""
    if value is not None:
        yield FromOption(form.format(value), typed=f"{option} {value}")


def _carry_out(
    work: "Callable[[Session], Struct]",
    target: str,
    overrides: list[str],
    run_directory: Path | None,
    fresh: "Anew",
    json: bool,
    quiet: bool,
) -> Path:
    """Open a session, do the work under a display, print the result. Where its record is."""
    from rich.console import Console

    from autobatch.opening import open_session
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
    run_commands.show(result, json)
    if not json:
        Console().print(f"evidence: {directory}", style="dim", markup=False, soft_wrap=True)
    return directory


def main() -> NoReturn:
    """The entry point: the only place where an exception becomes text and an exit code."""
    spell_on_stdout()
    try:
        refuse_windows(sys.argv[1:])
        with lasting_streams():
            app(standalone_mode=True)
    except AutobatchError as error:
        typer.echo(f"autobatch: {error}", err=True)
        sys.exit(error.exit_code)
    sys.exit(0)
