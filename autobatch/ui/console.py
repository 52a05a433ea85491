"""Where tables and JSON go; and that no stream ends a run, whatever becomes of it."""

import io
import os
import select
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, TextIO

import typer

from autobatch.errors import UsageError

if TYPE_CHECKING:
    from rich.console import Console

    from autobatch.protocol import Struct

FILE_CELLS = 120  # of a line


def console_for(*, stderr: bool = False) -> "Console":
    """A file has no margin: nothing is cut off there."""
    from rich.console import Console

    console = Console(stderr=stderr)
    if not console.file.isatty():  # `is_terminal` says yes to FORCE_COLOR, too, as in CI
        console.width = max(console.width, FILE_CELLS)
    return console


def echo_json(value: "Struct | tuple[Struct, ...]") -> None:
    """On stdout. JSON is UTF-8, whatever the encoding of that."""
    from autobatch.protocol import to_json

    typer.echo(to_json(value).encode())


class LastingFile(io.FileIO):
    """Takes whatever is written. What cannot be is dropped, as is all after it."""

    error: OSError | None = None

    def write(self, data: Any, /) -> int:
        try:
            while self.error is None:
                written = super().write(data)
                if written is not None:
                    return written
                select.select([], [self], [])  # it does not block, as others share it who want that
        except OSError as error:
            self.error = error
        return memoryview(data).nbytes


@contextmanager
def lasting_streams() -> Iterator[None]:
    """From here on stdout and stderr fail for nobody: a pipe that is read no more, a full disk.

    A command that did all else leaves with UsageError if stdout has not taken its answer; unless
    whoever read it wanted no more.
    """
    while (free := os.open(os.devnull, os.O_RDWR)) <= 2:
        pass  # else a file that we open would be the stream that we were started without
    os.close(free)
    sys.stdout, sys.stderr = _lasting(sys.stdout, 1), _lasting(sys.stderr, 2)
    try:
        yield
    except SystemExit as end:
        if not end.code:
            _refuse_unwritten()
        raise


def _lasting(stream: TextIO | None, descriptor: int) -> TextIO:
    if stream is None:
        return open(descriptor, "w", encoding="utf-8", closefd=False)
    buffer = getattr(stream, "buffer", None)
    file = getattr(buffer, "raw", buffer)  # there is no buffer where PYTHONUNBUFFERED is set
    if not isinstance(file, io.FileIO):
        return stream
    lasting = LastingFile(file.fileno(), "w", closefd=False)
    return io.TextIOWrapper(
        io.BufferedWriter(lasting),
        encoding=stream.encoding,
        errors=stream.errors,
        line_buffering=True,
    )


def _refuse_unwritten() -> None:
    sys.stdout.flush()
    file = getattr(getattr(sys.stdout, "buffer", None), "raw", None)
    error = file.error if isinstance(file, LastingFile) else None
    if error is not None and not isinstance(error, BrokenPipeError):
        raise UsageError(
            f"The answer could not be written to stdout: {error.strerror}.",
            hint="Give it room and type the same command again: what a run measured is kept.",
        )
