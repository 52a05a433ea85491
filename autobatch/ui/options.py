"""Options that several commands share: what they are called, and what help says of them."""

from pathlib import Path
from typing import Annotated

import typer

RECIPE, RECORD, OUTPUT = "Recipe", "Record", "Output"  # panels of --help
TARGET_HELP = "recipe.yaml, train.py[:build_model], package.module:callable, or model.keras"


def _show_version(asked: bool) -> None:
    if not asked:
        return
    import platform
    from importlib.metadata import PackageNotFoundError, version

    found = []
    for name in ("keras", "tensorflow", "tensorflow-cpu", "jax", "torch"):
        try:
            found.append(f"{name} {version(name)}")
        except PackageNotFoundError:
            continue
    with_ = ", ".join([*found, f"Python {platform.python_version()}"])
    typer.echo(f"autobatch {version('keras-autobatch')} ({with_})")
    raise typer.Exit


Target = Annotated[str, typer.Argument(metavar="TARGET", help=TARGET_HELP)]
Set = Annotated[
    list[str] | None,
    typer.Option(
        "--set",
        metavar="KEY=VALUE",
        help="Override the recipe (may be repeated).",
        rich_help_panel=RECIPE,
    ),
]
Exact = Annotated[
    bool, typer.Option("--exact", help="To the sample, not within 1 %.", rich_help_panel=RECIPE)
]
Prefer = Annotated[
    str | None,
    typer.Option(
        metavar="small|large",
        help="Which of the sizes that are equally good.",
        rich_help_panel=RECIPE,
    ),
]
EffectiveBatch = Annotated[
    int | None,
    typer.Option(
        metavar="N", help="Say how to train with N samples per update.", rich_help_panel=RECIPE
    ),
]
Replicas = Annotated[
    str | None,
    typer.Option(
        metavar="1,2,4,8", help="Predict the speedup of so many devices.", rich_help_panel=RECIPE
    ),
]
Sizes = Annotated[
    str | None,
    typer.Option(
        metavar="16,24,32",
        help="Batch sizes to measure (and yours), instead of powers of two.",
        rich_help_panel=RECIPE,
    ),
]
RunDirectory = Annotated[
    Path | None,
    typer.Option(
        "--run-dir",
        metavar="DIR",
        help="Where the record is kept and resumed from.",
        rich_help_panel=RECORD,
    ),
]
Fresh = Annotated[
    bool,
    typer.Option(
        "--fresh", help="Measure anew; the old record is set aside.", rich_help_panel=RECORD
    ),
]
Json = Annotated[
    bool, typer.Option("--json", help="Print one JSON object on stdout.", rich_help_panel=OUTPUT)
]
Quiet = Annotated[bool, typer.Option("--quiet", help="No story on stderr.", rich_help_panel=OUTPUT)]
TensorBoard = Annotated[
    Path | None,
    typer.Option(
        metavar="DIR", help="Write the trials for TensorBoard, too.", rich_help_panel=OUTPUT
    ),
]
Runs = Annotated[
    list[str],
    typer.Argument(metavar="RUN", help="A run directory, or the name of one in autobatch-runs."),
]
Compare = Annotated[bool, typer.Option("--compare", help="Two runs, side by side.")]
Output = Annotated[
    Path | None, typer.Option(metavar="FILE", help="Instead of report.html in the run directory.")
]
Force = Annotated[bool, typer.Option("--force", help="Replace FILE if it exists.")]
Version = Annotated[
    bool,
    typer.Option(
        "--version", help="Show versions and exit.", callback=_show_version, is_eager=True
    ),
]
