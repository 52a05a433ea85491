"""The files that say what is measured: they are to stay as they are while it is."""

import hashlib
from collections.abc import Iterable
from pathlib import Path

from autobatch.errors import UsageError
from autobatch.protocol import Target, split


class Sources:
    """Files, each as it was when it was first named."""

    def __init__(self, paths: Iterable[Path]) -> None:
        self._known: dict[Path, tuple[_Stamp, str | None]] = {}
        self.add(paths)

    def add(self, paths: Iterable[Path]) -> None:
        for path in paths:
            if path not in self._known:
                self._known[path] = (_stamp(path), _digest(path))

    def refuse_change(self) -> None:
        """Raise if one has another content. It is read where its time or size is another."""
        for path, (stamp, digest) in self._known.items():
            now = _stamp(path)
            if now == stamp:
                continue
            if _digest(path) != digest:
                raise UsageError(
                    f"{path.name} was changed while it was measured: what both versions do could "
                    "not be compared.",
                    hint="What was measured before is kept. Start the same command again to "
                    "measure the file as it is now (with --fresh, where that is asked for); undo "
                    "the change first, to go on.",
                )
            self._known[path] = (now, digest)


def named_files(target: Target) -> list[Path]:
    """Of its model, data and callbacks; modules to be imported by name are not among them."""
    references = (target.model, target.data or "", target.callbacks or "")
    names = dict.fromkeys(split(text)[0] for text in references)
    return [path for name in names if (path := Path(target.folder, name)).is_file()]


_Stamp = tuple[int, int] | None  # None: it is not there, or may not be read


def _stamp(path: Path) -> _Stamp:
    try:
        found = path.stat()
    except OSError:
        return None
    return found.st_mtime_ns, found.st_size


def _digest(path: Path) -> str | None:
    try:
        with path.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    except OSError:
        return None
