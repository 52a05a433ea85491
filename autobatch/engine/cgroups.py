"""Control groups: what a container, a service or a batch system lets this process hold of memory.

Both versions, as /proc tells where they are: no container's tools need be there, and a made-up tree
of files serves the tests.
"""

import os
import re
from collections.abc import Iterator
from pathlib import Path, PurePosixPath

from autobatch.protocol import Struct

NO_LIMIT_BYTES = 1 << 60  # version 1 writes "none" as the largest 63-bit number
LIMITS = {2: ("memory.max", "memory.high"), 1: ("memory.limit_in_bytes",)}
USAGE = {2: "memory.current", 1: "memory.usage_in_bytes"}
# Of files, in memory.stat: the kernel takes either back before it kills for memory.
CACHE = {2: ("inactive_file", "active_file"), 1: ("total_inactive_file", "total_active_file")}
KILLS = {2: "memory.events", 1: "memory.oom_control"}


class ControlGroup(Struct):
    """One level of control groups above this process, with a limit."""

    path: str
    limit_bytes: int
    used_bytes: int  # without file caches that the kernel gives back when asked

    @property
    def remaining_bytes(self) -> int:
        return max(0, self.limit_bytes - self.used_bytes)

    @property
    def told(self) -> str:
        return f"the control group {self.path}"


def control_groups(process: Path) -> Iterator[ControlGroup]:
    """The groups of `process` (a folder of /proc) that limit its memory, its own first."""
    for mount, level in _levels(process):
        group = _control_group(mount, level)
        if group:
            yield group


class OomKills(Struct):
    """How often the kernel's out-of-memory killer has struck."""

    own: int = 0  # in the group of a process and those below; anywhere, where no group counts
    anywhere: int = 0  # on this machine: in other containers, too

    def since(self, before: "OomKills") -> "OomKills":
        return OomKills(
            own=max(0, self.own - before.own),  # a group that is removed takes its count along
            anywhere=max(0, self.anywhere - before.anywhere),
        )


def oom_kills(process: Path = Path("/proc/self"), machine: Path = Path("/proc/vmstat")) -> OomKills:
    anywhere = _oom_kills(machine) or 0
    for mount, level in _levels(process):
        folders = [Path(mount.point, level)]
        if mount.version == 1:  # which counts each group apart
            folders = [Path(top) for top, _, _ in os.walk(folders[0])]
        told = (_oom_kills(folder / KILLS[mount.version]) for folder in folders)
        counts = [count for count in told if count is not None]
        if counts:
            return OomKills(own=sum(counts), anywhere=anywhere)
    return OomKills(own=anywhere, anywhere=anywhere)


def _oom_kills(path: Path) -> int | None:
    try:
        told = (int(line.split()[1]) for line in _lines(path) if line.startswith("oom_kill "))
        return next(told, None)
    except (OSError, ValueError):
        return None


def _levels(process: Path) -> Iterator[tuple["_Mount", PurePosixPath]]:
    """The groups of `process` that govern its memory, from its own up to the root as seen here.

    The limit may be at any level. Within a container the path is often that of the host, and the
    mount shows only a part of the tree: its root is then the nearest level there is.
    """
    try:
        own = dict(line.split(":", 2)[1:] for line in _lines(process / "cgroup"))
        mounts = [_Mount.parse(line) for line in _lines(process / "mountinfo")]
    except (OSError, ValueError):  # not Linux
        return
    own_v1 = next((p for names, p in own.items() if "memory" in names.split(",")), None)
    for mount in filter(None, mounts):
        path = own.get("") if mount.version == 2 else own_v1
        if path is None:
            continue
        below = PurePosixPath(path)
        seen = below.is_relative_to(mount.root) and ".." not in below.parts
        below = below.relative_to(mount.root) if seen else PurePosixPath()
        for level in (below, *below.parents):
            yield mount, level


class _Mount(Struct):
    """Where a hierarchy of control groups that governs memory can be read."""

    version: int
    root: str  # the group that the mount point shows
    point: str

    @classmethod
    def parse(cls, line: str) -> "_Mount | None":
        before, _, after = line.partition(" - ")
        kind, _, options = (*after.split(" ", 2), "", "", "")[:3]
        fields = [re.sub(r"\\([0-7]{3})", lambda m: chr(int(m[1], 8)), f) for f in before.split()]
        if kind == "cgroup2":
            return cls(version=2, root=fields[3], point=fields[4])
        if kind == "cgroup" and "memory" in options.split(","):
            return cls(version=1, root=fields[3], point=fields[4])
        return None


def _control_group(mount: _Mount, level: PurePosixPath) -> ControlGroup | None:
    folder = Path(mount.point, level)
    limits = [b for name in LIMITS[mount.version] if (b := _number(folder / name)) is not None]
    if not limits or min(limits) >= NO_LIMIT_BYTES:
        return None
    used = _number(folder / USAGE[mount.version]) or 0
    return ControlGroup(
        path=str(PurePosixPath(mount.root, level)),
        limit_bytes=min(limits),
        used_bytes=max(0, used - _cache_bytes(folder / "memory.stat", CACHE[mount.version])),
    )


def _cache_bytes(stat: Path, keys: tuple[str, ...]) -> int:
    try:
        pairs = dict(line.split(maxsplit=1) for line in _lines(stat))
        return sum(int(pairs.get(key, 0)) for key in keys)
    except (OSError, ValueError):
        return 0


def _number(path: Path) -> int | None:
    try:
        return int(path.read_text())
    except (OSError, ValueError):  # not there; or "max", no limit
        return None


def _lines(path: Path) -> list[str]:
    # Of mounts, any name may be there, and one that is no text hides no others.
    return path.read_text(errors="replace").splitlines()
