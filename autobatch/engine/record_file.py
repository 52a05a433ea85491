"""What a record file says: its lines, their format, and what damage to them means.

Their format is 5 (2026-11), and files of it are in tests/engine/records; 1 to 4 came before any
release and are not read.
"""

from pathlib import Path
from typing import Any

import msgspec

from autobatch.errors import UsageError, WrongRunDirectoryError
from autobatch.locator import look_at
from autobatch.protocol import (
    BenchmarkResult,
    Outcome,
    ProbeResult,
    Recommendation,
    Struct,
    Tagged,
    Target,
    Task,
    Verification,
)

FORMAT_VERSION = 5
FILE_NAME = "record.jsonl"


class Header(Tagged):
    """Whose record this is."""

    format_version: int
    autobatch_version: str
    created: str
    target: Target
    free_bytes: int  # what the device could spare then: the limit, unless the recipe sets one


class Entry(Tagged):
    """One task with its outcome."""

    task: Task
    outcome: Outcome
    seconds: float
    log: str | None


class Answer(Tagged):
    """What a command concluded from the entries above it."""

    recommendation: Recommendation | None = None
    benchmark: BenchmarkResult | None = None
    probe: ProbeResult | None = None
    verification: Verification | None = None


Line = Header | Entry | Answer


class Content(Struct):
    """A whole record; `complete_bytes` of the file hold whole lines, the rest is a torn one."""

    header: Header | None
    entries: tuple[Entry, ...]
    complete_bytes: int
    recommendation: Recommendation | None = None  # the last one, as are the others
    benchmark: BenchmarkResult | None = None
    probe: ProbeResult | None = None
    verification: Verification | None = None


def read_record(directory: Path) -> Content:
    """The record of a run directory, for looking at; whoever is writing it is not disturbed."""
    path = directory / FILE_NAME
    try:
        content = path.read_bytes()
    except FileNotFoundError:
        raise UsageError(
            f"{directory} is not a run directory: it has no {FILE_NAME}.",
            hint="`autobatch runs` lists those that there are.",
        ) from None
    except OSError as error:
        raise UsageError(f"{path} cannot be read: {error.strerror}.", hint=look_at(path)) from None
    found = decode(content, path)
    if found.header is None:
        raise UsageError(
            f"{path} is empty: nothing was measured there.",
            hint="`autobatch runs` lists the runs that there are.",
        )
    return found


def decode(content: bytes, path: Path) -> Content:
    """The lines of a record file; a torn last one is left out. Raises WrongRunDirectoryError."""
    complete, newline, _ = content.rpartition(b"\n")
    header: Header | None = None
    entries: list[Entry] = []
    last: dict[str, Any] = {}  # of each kind of answer
    for number, line in enumerate(complete.split(b"\n") if newline else [], start=1):
        if number == 1:
            _check_version(line, path)
        try:
            decoded: Line = msgspec.json.decode(line, type=Line)
        except (msgspec.DecodeError, UnicodeDecodeError) as error:
            raise _damaged(path, number, str(error)) from None
        match decoded:
            case Header() as header if number == 1:
                pass
            case Entry() as entry if header is not None:
                entries.append(entry)
            case Answer() as answer if header is not None:
                given = msgspec.structs.asdict(answer).items()
                last |= {kind: found for kind, found in given if found is not None}
            case _:
                raise _damaged(path, number, "it stands in the wrong place")
    return Content(
        header=header,
        entries=tuple(entries),
        complete_bytes=len(complete) + len(newline),
        **last,
    )


def _check_version(first_line: bytes, path: Path) -> None:
    try:
        version = msgspec.json.decode(first_line, type=dict[str, Any]).get("format_version")
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise _damaged(path, 1, str(error)) from None
    if isinstance(version, int) and version != FORMAT_VERSION:
        raise WrongRunDirectoryError(
            f"{path} has format version {version}; this autobatch reads {FORMAT_VERSION} alone.",
            hint="Start anew with --fresh (the old record is kept), or give another directory with "
            "--run-dir DIR.",
        )


def _damaged(path: Path, number: int, reason: str) -> WrongRunDirectoryError:
    return WrongRunDirectoryError(
        f"{path}:{number}: this line is damaged: {reason}.",
        hint="Mend or remove the line, or start anew with --fresh (the old record is kept).",
    )
