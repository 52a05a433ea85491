"""The append-only record of a run: log, cache, resume state, and source of every result.

`record.jsonl` in a run directory holds one JSON line each: first a `Header`, then an `Entry` for
each task and its outcome, and an `Answer` wherever a command concluded. Written by one process
alone (a lock sees to it), flushed to disk line by line. A torn last line is dropped; a damaged
earlier one is an error. A task whose outcome is here is not asked again.

The lines themselves are in record_file.py.
"""

import contextlib
import os
from pathlib import Path

import msgspec

from autobatch.engine.difference import refuse_difference, refuse_other_target
from autobatch.engine.record_file import (
    FILE_NAME,
    FORMAT_VERSION,
    Answer,
    Entry,
    Header,
    Line,
    decode,
)
from autobatch.engine.run_directory import lock, now
from autobatch.engine.sources import Sources, named_files
from autobatch.engine.verdict import UNEXPLAINED
from autobatch.errors import UsageError
from autobatch.protocol import Extent, Inspect, Inspected, Outcome, OutOfMemory, Target, Task

# What must be the same for measurements to be comparable: whatever the batch size, and at one.
AT_ANY_SIZE = ("precision", "code_fingerprint", "versions", "device_name", "settings")
IDENTITY = (
    *("model_name", "parameters", "optimizer", "learning_rate", "loss", "jit_compile"),
    *("data_fingerprint", "train_samples", *AT_ANY_SIZE),
)


class Record:
    """A run directory's record, open for appending. Use as a context manager."""

    def __init__(self, directory: Path, target: Target, *, free_bytes: int, version: str) -> None:
        self.directory, self.target = directory, target
        try:
            directory.mkdir(parents=True, exist_ok=True)
            self._file = (directory / FILE_NAME).open("ab+", buffering=0)
        except OSError as error:
            raise UsageError(
                f"Cannot write the run directory {directory}: {error.strerror}.",
                hint="Give another with --run-dir DIR.",
            ) from None
        self._entries: dict[bytes, Entry] = {}
        self._first_seconds: dict[bytes, float] = {}
        try:
            lock(self._file, directory)
            header = self._load()
            if header is None:
                header = Header(
                    format_version=FORMAT_VERSION,
                    autobatch_version=version,
                    created=now(),
                    target=target,
                    free_bytes=free_bytes,
                )
                self._append(header)
            refuse_other_target(directory, header.target, target)
        except BaseException:
            self._file.close()
            raise
        self.header = header
        self._sources = Sources(named_files(target))

    def __enter__(self) -> "Record":
        return self

    def __exit__(self, *_: object) -> None:
        self._file.close()

    def find(self, task: Task) -> Entry | None:
        """The entry that answers `task`, unless asking again could change it."""
        return self._entries.get(_key(task))

    def first_seconds(self, task: Task) -> float:
        """What `task` took when it was first asked, whatever came of it."""
        return self._first_seconds[_key(task)]

    def add(self, entry: Entry) -> None:
        """Append an entry; on disk when this returns.

        Refuses an inspection unlike the first, and what was measured as the code changed.
        """
        self._sources.refuse_change()
        if isinstance(entry.task, Inspect) and isinstance(entry.outcome, Inspected):
            self._check_identity(entry)
            self._sources.add(map(Path, entry.outcome.code_files))
            read = entry.outcome.configuration
            self._sources.add(Path(self.target.folder, name) for name in read)
        self._append(entry)
        self._remember(entry)

    def add_answer(self, answer: Answer) -> None:
        """Append what a command concluded, for whoever reads the record later."""
        self._append(answer)

    def first_inspection(self) -> Inspect | None:
        """What the first process was asked: asked again, it shows whether all is as it was."""
        return next((e.task for e in self._entries.values() if isinstance(e.task, Inspect)), None)

    def extents(self) -> tuple[Extent, ...]:
        """Of the data, as first inspected: counted until time is up, it would differ each time."""
        outcomes = (entry.outcome for entry in self._entries.values())
        return next((each.extents for each in outcomes if isinstance(each, Inspected)), ())

    def _check_identity(self, entry: Entry) -> None:
        """With what was found at the same size; or else with the first, if memory lacked there."""
        first = self.first_inspection()
        if first is None:
            return
        same = self.find(entry.task)
        before = same or self._entries[_key(first)]
        then, now = (getattr(each.outcome, "configuration", {}) for each in (before, entry))
        # What was not read then may be what was written then, for the next time.
        configuration = {"configuration": (then, {name: now.get(name) for name in then})}
        refuse_difference(
            self.directory,
            configuration
            | {
                name: (getattr(before.outcome, name), getattr(entry.outcome, name))
                for name in (IDENTITY if same else AT_ANY_SIZE)
            },
        )

    def _remember(self, entry: Entry) -> None:
        self._first_seconds.setdefault(_key(entry.task), entry.seconds)
        is_moot = isinstance(entry.task, Inspect) and not isinstance(entry.outcome, Inspected)
        if not is_moot and not _may_pass(entry.outcome):
            self._entries[_key(entry.task)] = entry

    def _append(self, line: Line) -> None:
        """Whole and on disk when this returns, or not at all."""
        whole_bytes = self._file.seek(0, os.SEEK_END)
        rest = msgspec.json.encode(line) + b"\n"
        try:
            while rest:  # a disk that becomes full takes a part, and says so only at the next
                rest = rest[self._file.write(rest) :]
            os.fsync(self._file.fileno())
        except OSError as error:
            with contextlib.suppress(OSError):
                self._file.truncate(whole_bytes)
            raise UsageError(
                f"Cannot write {self.directory / FILE_NAME}: {error.strerror}.",
                hint="Make room and start the same command again: it goes on from here.",
            ) from None

    def _load(self) -> Header | None:
        self._file.seek(0)
        content = self._file.read()
        found = decode(content, self.directory / FILE_NAME)
        if found.complete_bytes < len(content):
            self._file.truncate(found.complete_bytes)
            self._file.seek(0, os.SEEK_END)
        for entry in found.entries:
            self._remember(entry)
        return found.header


def _may_pass(outcome: Outcome) -> bool:
    """Worth asking again: the cause may be gone, as others' hold on the machine's memory."""
    is_of_machine = isinstance(outcome, OutOfMemory) and outcome.host_memory
    return is_of_machine or isinstance(outcome, UNEXPLAINED)


def _key(task: Task) -> bytes:
    return msgspec.json.encode(task)
