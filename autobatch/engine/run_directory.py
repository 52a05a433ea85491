"""Directories of runs: made, set aside, begun anew with what is kept; each held by one process."""

import contextlib
import fcntl
import os
import shutil
import time
from io import FileIO
from pathlib import Path

import msgspec

from autobatch.engine.process import remove_left
from autobatch.engine.record_file import FILE_NAME, Header, read_record
from autobatch.errors import UsageError
from autobatch.locator import exists
from autobatch.protocol import Gradients, RangeTest, Trial, changed

TRAINED = (Trial, Gradients, RangeTest)  # what follows from the seed, given sizes and step times


def new_directory(wanted: Path) -> Path:
    """An empty directory for a run: `wanted`, or the first with a number that is not there.

    Made here, and not only named: runs that begin at the same time get one each.
    """
    directory, number = wanted, 1
    with contextlib.suppress(OSError):  # whoever opens the record in it says why
        wanted.parent.mkdir(parents=True, exist_ok=True)
        while True:
            with contextlib.suppress(FileExistsError):
                directory.mkdir()
                break
            number += 1
            directory = wanted.with_name(f"{wanted.name}-{number}")
    return directory


def set_aside(directory: Path) -> Path | None:
    """Move an old run away, unless a process is at work on it; nothing measured is lost.

    Where it is now; None if there was none.
    """
    if not exists(directory):
        return None  # whoever opens the record in it says why, where it may not be looked into
    if not (directory / FILE_NAME).is_file():
        raise UsageError(
            f"{directory} is not a run directory (it has no {FILE_NAME}); --fresh leaves it alone.",
            hint="Give another with --run-dir DIR.",
        )
    try:
        with (directory / FILE_NAME).open("ab", buffering=0) as file:
            lock(file, directory)
        remove_left(directory / "logs")
        number = 1
        while (aside := directory.with_name(f"{directory.name}.old-{number}")).exists():
            number += 1
        directory.rename(aside)
    except (OSError, ValueError) as error:  # ValueError: "." has no name
        raise _cannot_set_aside(directory, error) from None
    return aside


def begin_again(directory: Path) -> Path | None:
    """Set an old run aside, and begin one there that keeps what it measured before its trials.

    Where the old one is now; None if there was none.
    """
    if not exists(directory / FILE_NAME):
        return set_aside(directory)
    old = read_record(directory)
    aside = set_aside(directory)
    if aside is None or old.header is None:
        return aside
    kept = [entry for entry in old.entries if not isinstance(entry.task, TRAINED)]
    header: Header = changed(old.header, created=now())
    try:
        (directory / "logs").mkdir(parents=True)
        for name in {entry.log for entry in kept if entry.log}:
            with contextlib.suppress(FileNotFoundError):  # somebody tidied up
                shutil.copy2(aside / "logs" / name, directory / "logs")
        lines = (msgspec.json.encode(line) + b"\n" for line in (header, *kept))
        (directory / FILE_NAME).write_bytes(b"".join(lines))
    except OSError as error:
        raise _cannot_set_aside(directory, error) from None
    return aside


def lock(file: FileIO, directory: Path) -> None:
    """One process alone writes; its id lies beside the record, for whoever comes second."""
    holder = directory / "process-id"
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        try:
            process = f" (process {int(holder.read_text())})"
        except (OSError, ValueError):
            process = ""
        raise UsageError(
            f"Another autobatch{process} is at work in {directory}.",
            hint="Wait for it, or give another directory with --run-dir DIR.",
        ) from None
    except OSError as error:
        raise UsageError(
            f"{directory} is on a file system that cannot lock files: {error.strerror}.",
            hint="Give a directory on another one with --run-dir DIR.",
        ) from None
    with contextlib.suppress(OSError):  # without room it is not told
        holder.write_text(str(os.getpid()))


def now() -> str:
    """As records have it."""
    return time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())


def _cannot_set_aside(directory: Path, error: Exception) -> UsageError:
    reason = getattr(error, "strerror", None) or error
    return UsageError(
        f"{directory} cannot be set aside: {reason}.",
        hint="Give another directory with --run-dir DIR.",
    )
