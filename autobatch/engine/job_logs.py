"""The log files of jobs: one each, numbered."""

import os
from pathlib import Path

from autobatch.errors import UsageError

READ_BYTES = 16 << 20  # of one, at most: a step may print as much as the disk holds


def make_folder(logs: Path) -> None:
    try:
        logs.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UsageError(
            f"Cannot write logs into {logs}: {error.strerror}.",
            hint="Give another run directory with --run-dir DIR.",
        ) from None


def next_log(logs: Path, name: str) -> Path:
    numbers = (int(p.name[:4]) for p in logs.glob("[0-9]" * 4 + "-*.log"))
    return logs / f"{1 + max(numbers, default=0):04d}-{name}.log"


def written_bytes(log: Path) -> int:
    return log.stat().st_size if log.exists() else 0


def read(log: Path, since: int = 0) -> str:
    """What was written after its first `since` bytes, or the end of that."""
    if not log.exists():
        return ""
    with log.open("rb") as file:
        file.seek(max(since, file.seek(0, os.SEEK_END) - READ_BYTES))
        return file.read(READ_BYTES).decode(errors="replace")
