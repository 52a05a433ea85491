"""The configuration files that the user's code reads: what it does follows from them, too.

Python tells who asks of each file that it opens (PEP 578), for as long as the process lasts.
"""

import hashlib
import os
import sys
from contextlib import suppress
from pathlib import Path
from typing import Any

from autobatch.protocol import Target
from autobatch.worker.frames import is_users

SUFFIXES = (".yaml", ".yml", ".json", ".toml", ".ini", ".cfg", ".gin")
LARGEST_BYTES = 256 << 10  # what is larger is data
WRITES = os.O_WRONLY | os.O_RDWR


class Configuration:
    """Looks on from when it is made until it is asked what was `read`."""

    def __init__(self, target: Target) -> None:
        self._folder = Path(target.folder)
        self._run = Path(target.kept_data).parent.parent if target.kept_data else None
        self._opened: set[Path] = set()
        self._written: set[Path] = set()  # what it has made itself, the next process makes anew
        self._looks_on = True
        sys.addaudithook(self._look)

    def read(self) -> dict[str, str]:
        """A hash of each, by its path as seen from the target's folder."""
        self._looks_on = False
        found = {}
        for path in sorted(self._opened - self._written):
            name = os.path.relpath(path, self._folder)
            with suppress(OSError):  # it is not there, or no more
                if self._is_users(path, name) and path.stat().st_size <= LARGEST_BYTES:
                    found[name] = hashlib.sha256(path.read_bytes()).hexdigest()[:16]
        return found

    def _look(self, event: str, arguments: tuple[Any, ...]) -> None:
        """Called for all that Python tells of, until the end: it is to be quick."""
        if not self._looks_on:
            return
        if event == "open" and len(arguments) == 3 and isinstance(arguments[2], int):
            name, _, flags = arguments
            self._keep(name, self._written if flags & WRITES else self._opened)
        elif event == "os.rename":
            self._keep(arguments[1], self._written)

    def _keep(self, name: object, paths: set[Path]) -> None:
        if isinstance(name, str | Path) and str(name).endswith(SUFFIXES):
            with suppress(OSError):  # of a folder that is gone
                # As of now: users may chdir.
                paths.add(Path(os.path.normpath(Path(name).absolute())))

    def _is_users(self, path: Path, name: str) -> bool:
        """None of a library, of this run, or that a program keeps for itself, as in ~/.cache."""
        run = self._run
        is_runs = run and path.is_relative_to(run) and not self._folder.is_relative_to(run)
        is_hidden = any(part.startswith(".") and part != ".." for part in Path(name).parts)
        return is_users(str(path)) and not is_runs and not is_hidden
