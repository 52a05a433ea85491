"""The log files of jobs: one each, numbered."""

import os
from pathlib import Path

from autobatch.errors import UsageError

READ_BYTES = 16 << 20  # of one, at most: a step may print as much as the disk holds


def make_folder(logs: Path) -> None:
    try:
        logs.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise _unwritable(logs, error, "Give another run directory with --run-dir DIR.") from None


def new_log(logs: Path, name: str) -> Path:
    """The next one, empty: where there is no room for it, that is no failure of the job."""
    numbers = (int(p.name[:4]) for p in logs.glob("[0-9]" * 4 + "-*.log"))
    log = logs / f"{1 + max(numbers, default=0):04d}-{name}.log"
    try:
        log.touch()
    except OSError as error:
        hint = "Make room and start the same command again: it goes on from here."
        raise _unwritable(logs, error, hint) from None
    return log


def written_bytes(log: Path) -> int:
    return log.stat().st_size if log.exists() else 0


def read(log: Path, since: int = 0) -> str:
    """What was written after its first `since` bytes, or the end of that."""
    if not log.exists():
        return ""
    with log.open("rb") as file:
        file.seek(max(since, file.seek(0, os.SEEK_END) - READ_BYTES))
        return file.read(READ_BYTES).decode(errors="replace")


def _unwritable(logs: Path, error: OSError, hint: str) -> UsageError:
    return UsageError(f"Cannot write logs into {logs}: {error.strerror}.", hint=hint)
