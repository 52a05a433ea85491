"""Directories of runs: made, set aside, begun anew with what is kept; each held by one process."""

import contextlib
import fcntl
import os
import shutil
import time
from collections.abc import Callable, Iterator, Sequence
from io import FileIO
from pathlib import Path
from typing import Literal

import msgspec

from autobatch.engine.difference import refuse_other_target
from autobatch.engine.process import remove_left
from autobatch.engine.record_file import FILE_NAME, Content, Entry, Header, decode
from autobatch.errors import AutobatchError, UsageError, WrongRunDirectoryError
from autobatch.locator import exists
from autobatch.protocol import Event, Gradients, Inspect, Note, RangeTest, Target, Trial, changed

Fresh = bool | Literal["trials"]
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


@contextlib.contextmanager
def renewed(
    directory: Path, target: Target, fresh: Fresh, on_event: Callable[[Event], object]
) -> Iterator[None]:
    """Set an old run aside, if there is one and nothing, or not all, of it is to be kept.

    Where "trials" cannot go on from what was measured, as code has changed, it is put back.
    """
    if fresh not in (True, False, "trials"):
        raise UsageError(f'fresh cannot be {fresh!r}: True, False or "trials".')
    aside = None
    if fresh:
        aside = begin_again(directory, target) if fresh == "trials" else set_aside(directory)
    if aside:
        on_event(Note(text=f"What was measured before is kept in {aside}."))
    try:
        yield
    except WrongRunDirectoryError:
        if aside and fresh == "trials" and _is_put_back(directory, aside):
            on_event(Note(text=f"What was measured before is in {directory} again."))
        raise


def _is_put_back(directory: Path, aside: Path) -> bool:
    """Whether what was set aside is in its place again, since nothing more was measured there.

    Interrupted or killed, the old run is whole, there or aside.
    """
    try:
        old, new = _content(aside), _content(directory)
        kept = old.entries if old else ()
        measured = new.entries if new else ()
        if any(each not in kept for each in measured if not isinstance(each.task, Inspect)):
            return False
        with (directory / FILE_NAME).open("ab", buffering=0) as file:
            lock(file, directory)
        gone = new_directory(directory.with_name(f"{directory.name}.new"))
        try:
            directory.rename(gone)
        finally:
            if not exists(directory):
                aside.rename(directory)
            shutil.rmtree(gone, ignore_errors=True)
    except (OSError, AutobatchError):  # what was refused is told; where the old run is, was
        return False
    return True


def begin_again(directory: Path, target: Target) -> Path | None:
    """Set an old run of `target` aside; begin one that keeps what it measured before its trials.

    Where the old one is now; None if there was none. Raises WrongRunDirectoryError where it is of
    another target. Interrupted, it leaves the old run or the new one in its place; killed, the old
    one whole, there or aside.
    """
    old = _content(directory)
    if old is None or old.header is None:
        return set_aside(directory)
    refuse_other_target(directory, old.header.target, target)
    kept = [entry for entry in old.entries if not isinstance(entry.task, TRAINED)]
    try:
        begun = new_directory(directory.with_name(f"{directory.name}.new"))
        try:
            _fill(begun, changed(old.header, created=now()), kept, directory / "logs")
            return set_aside(directory)
        finally:  # whatever ends it, and wherever
            if exists(directory):
                shutil.rmtree(begun, ignore_errors=True)
            else:
                begun.rename(directory)
    except (OSError, ValueError) as error:  # ValueError: "." has no name
        raise _cannot_set_aside(directory, error) from None


def _fill(directory: Path, header: Header, entries: Sequence[Entry], logs: Path) -> None:
    """With a record of these, on disk when this returns, and with their logs."""
    (directory / "logs").mkdir(parents=True)
    for name in {entry.log for entry in entries if entry.log}:
        with contextlib.suppress(FileNotFoundError):  # somebody tidied up
            shutil.copy2(logs / name, directory / "logs")
    with (directory / FILE_NAME).open("wb") as file:
        file.writelines(msgspec.json.encode(line) + b"\n" for line in (header, *entries))
        file.flush()
        os.fsync(file.fileno())


def _content(directory: Path) -> Content | None:
    """Of the record there, if there is one."""
    path = directory / FILE_NAME
    if not exists(path):
        return None
    try:
        return decode(path.read_bytes(), path)
    except OSError as error:
        raise _cannot_set_aside(directory, error) from None


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
