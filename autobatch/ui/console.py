"""Where tables go."""

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from rich.console import Console

FILE_CELLS = 120  # of a line


def console_for(*, stderr: bool = False) -> "Console":
    """A file has no margin: nothing is cut off there."""
    from rich.console import Console

    console = Console(stderr=stderr)
    if not console.file.isatty():  # `is_terminal` says yes to FORCE_COLOR, too, as in CI
        console.width = max(console.width, FILE_CELLS)
    return console
