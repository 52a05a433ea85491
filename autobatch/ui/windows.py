"""Windows, where nothing can be measured: it cannot fork processes."""

import sys
from collections.abc import Sequence

from autobatch.errors import UsageError

COMMANDS = ("doctor", "schema")  # that work there, too
OPTIONS = {"--help", "--version"}


def refuse_windows(arguments: Sequence[str], platform: str = sys.platform) -> None:
    """One sentence there, instead of a module that is not there."""
    works = not arguments or arguments[0] in COMMANDS or OPTIONS & {*arguments}
    if platform == "win32" and not works:
        raise UsageError(
            "Windows cannot fork processes, which autobatch needs.",
            hint="Run it under WSL2, where your GPU is available too.",
        )
