"""Commands that prepare a run: write a recipe, look at the machine, tell what recipes may say.

Like all commands they take --json and --quiet, so that a script may give them to any.
"""

import shlex
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from autobatch.errors import UsageError
from autobatch.ui.console import console_for, echo_json
from autobatch.ui.options import TARGET_HELP, Force, Json, Quiet, RunDirectory, Set, file_path

if TYPE_CHECKING:
    from autobatch.protocol import WrittenRecipe

NOT_READY = 2  # the exit code of `doctor`: as for what cannot be used as it stands


def init(
    target: Annotated[
        str,
        typer.Argument(
            metavar="TARGET",
            help="What to write a recipe for: train.py[:build_model] or model.keras.",
        ),
    ],
    data: Annotated[
        str | None,
        typer.Option(
            metavar="[FILE.py:]FUNCTION",
            help="The function that loads the data, if it is not load_data. FILE.py is beside "
            "TARGET, or here.",
        ),
    ] = None,
    output: Annotated[
        Path | None,
        typer.Option(
            parser=file_path,
            metavar="FILE",
            help="Write to FILE instead of recipe.yaml beside TARGET.",
        ),
    ] = None,
    force: Force = False,
    json: Json = False,
    set_: Set = None,
    quiet: Quiet = False,
) -> None:
    """Look at a Python file or a saved model, and write a commented recipe for it."""
    from autobatch.starter import write_recipe
    from autobatch.ui.display import Display
    from autobatch.ui.interruption import interruptible

    with interruptible(quiet=quiet, resumable=False), Display(quiet=quiet) as display:
        written = write_recipe(
            target, output, overrides=set_ or [], data=data, force=force, on_event=display.show
        )
    if json:
        echo_json(written)
    else:
        typer.echo(written.path)
    if not quiet:
        typer.echo(_next_step(written, set_ or []), err=True)


def _next_step(written: "WrittenRecipe", overrides: Sequence[str]) -> str:
    """What to do with the recipe that was written."""
    path = shlex.quote(written.path)
    command = f"autobatch recommend {path}"
    if written.data is None:
        return (
            "recommend needs a function that returns (train, validation). Name it under `data:` in "
            f"{written.path}; then: {command}\nWithout it: autobatch probe {path}"
        )
    if {"baseline", "baseline.batch_size"} & {each.partition("=")[0].strip() for each in overrides}:
        return f"Now: {command}"
    if written.batch_size:
        return (
            f"Its baseline is batch {written.batch_size}, as your code gives fit. If that is what "
            f"you train with: {command}"
        )
    return f"Set baseline.batch_size in {written.path} to what you train with; then: {command}"


def doctor(
    target: Annotated[str | None, typer.Argument(metavar="TARGET", help=TARGET_HELP)] = None,
    json: Json = False,
    run_dir: RunDirectory = None,
    set_: Set = None,
    quiet: Quiet = False,
) -> None:
    """Show devices, memory and versions, and what would go wrong."""
    from autobatch.doctor.gather import examine
    from autobatch.ui.doctor_tables import diagnosis_table

    diagnosis = examine(target, set_ or [], run_dir)
    if json:
        echo_json(diagnosis)
    else:
        console_for().print(diagnosis_table(diagnosis))
    raise typer.Exit(0 if diagnosis.ready else NOT_READY)


def schema(
    markdown: Annotated[
        bool,
        typer.Option("--markdown", help="Print a reference for reading instead, in Markdown."),
    ] = False,
    json: Json = False,
    quiet: Quiet = False,
) -> None:
    """Print the JSON Schema of recipes, for editors."""
    from json import dumps

    from autobatch.recipe import recipe_schema
    from autobatch.ui.reference import recipe_reference

    if markdown and json:
        raise UsageError("--markdown and --json do not go together.", hint="Leave one of them out.")
    if markdown:
        typer.echo(recipe_reference(), nl=False)
        return
    typer.echo(dumps(recipe_schema(), indent=2))
