"""Arguments and options of commands: what they are called, and what help says of them."""

from pathlib import Path
from typing import Annotated

import typer

from autobatch.locator import at_home

RECIPE, RECORD, OUTPUT = "Recipe", "Record", "Output"  # panels of --help
TARGET_HELP = (
    "What to measure: recipe.yaml, train.py[:build_model], package.module:callable or model.keras."
)


def file_path(text: str) -> Path:
    """With ~ as the shell reads it, which leaves that of --run-dir=~/runs alone."""
    return at_home(Path(text))


def _show_version(asked: bool) -> None:
    if not asked:
        return
    import platform
    from importlib.metadata import version

    from autobatch.frameworks import ALL_DISTRIBUTIONS, installed

    names = ("keras", *ALL_DISTRIBUTIONS)
    found = [f"{name} {release}" for name, release in installed(names).items()]
    with_ = ", ".join([*found, f"Python {platform.python_version()}"])
    typer.echo(f"autobatch {version('keras-autobatch')} ({with_})")
    raise typer.Exit


Target = Annotated[str, typer.Argument(metavar="TARGET", help=TARGET_HELP)]
Set = Annotated[
    list[str] | None,
    typer.Option(
        "--set",
        metavar="KEY=VALUE",
        help="Override a key of the recipe (may be given several times).",
        rich_help_panel=RECIPE,
    ),
]
Exact = Annotated[
    bool,
    typer.Option(
        "--exact",
        help="Search to the sample instead of to 1 % (takes longer).",
        rich_help_panel=RECIPE,
    ),
]
Prefer = Annotated[
    str | None,
    typer.Option(
        metavar="small|large",
        help="Among equally good batch sizes, recommend the smallest or the largest.",
        rich_help_panel=RECIPE,
    ),
]
EffectiveBatch = Annotated[
    int | None,
    typer.Option(
        metavar="N",
        help="Also say how to train with N samples per update.",
        rich_help_panel=RECIPE,
    ),
]
Replicas = Annotated[
    str | None,
    typer.Option(
        metavar="1,2,4,8",
        help="Also predict the speedup with so many devices, from measurements on one (to train "
        "on several: --set device.replicas=N).",
        rich_help_panel=RECIPE,
    ),
]
Sizes = Annotated[
    str | None,
    typer.Option(
        metavar="16,24,32",
        help="Measure these batch sizes, and yours, instead of powers of two.",
        rich_help_panel=RECIPE,
    ),
]
RunDirectory = Annotated[
    Path | None,
    typer.Option(
        "--run-dir",
        parser=file_path,
        metavar="DIR",
        help="Directory for the record of the run, instead of one in autobatch-runs.",
        rich_help_panel=RECORD,
    ),
]
Fresh = Annotated[
    bool,
    typer.Option(
        "--fresh",
        help="Measure everything anew, and set the old record aside.",
        rich_help_panel=RECORD,
    ),
]
FreshTrials = Annotated[
    bool,
    typer.Option(
        "--fresh-trials",
        help="Train all trials anew, with the sizes and step times that were measured: the same "
        "seed gives the same losses.",
        rich_help_panel=RECORD,
    ),
]
Json = Annotated[bool, typer.Option("--json", help="Print JSON on stdout.", rich_help_panel=OUTPUT)]
Quiet = Annotated[
    bool,
    typer.Option("--quiet", help="Print no progress or notes on stderr.", rich_help_panel=OUTPUT),
]
TensorBoard = Annotated[
    Path | None,
    typer.Option(
        parser=file_path,
        metavar="DIR",
        help="Write the trials to this directory for TensorBoard, too.",
        rich_help_panel=OUTPUT,
    ),
]
Runs = Annotated[
    list[str],
    typer.Argument(
        metavar="RUN",
        help="The run to show: its directory, its name in autobatch-runs, or the recipe or other "
        "TARGET that it was made for.",
    ),
]
Compare = Annotated[
    bool, typer.Option("--compare", help="Show two runs side by side: give two RUNs.")
]
Output = Annotated[
    Path | None,
    typer.Option(
        parser=file_path,
        metavar="FILE",
        help="Write the page to FILE instead of into the run's directory.",
    ),
]
Force = Annotated[bool, typer.Option("--force", help="Replace the file if it exists.")]
Version = Annotated[
    bool,
    typer.Option(
        "--version", help="Show versions and exit.", callback=_show_version, is_eager=True
    ),
]
