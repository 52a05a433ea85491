"""A limit on the memory that a worker holds of this machine, with the processes that it starts."""

import contextlib
import os
import re
import time
from math import inf
from pathlib import Path
from typing import Any

import psutil

from autobatch.units import format_bytes

FAMILY_SECONDS = 1.0  # between looks at the processes it started: that reads all of the machine's
LOOK_SHARE = 0.1  # of the time, at most, that goes into looking at what it maps


class ResidentWatch:
    """Looks, as often as it is asked, at what the process `pid` and its descendants hold.

    With `mapped_bytes` of data at most, which the user's own training holds, and the process maps
    from files whose paths begin with that of `kept`.
    """

    def __init__(
        self, pid: int, limit_bytes: int | None, mapped_bytes: int = 0, kept: Path | None = None
    ) -> None:
        self.pid, self.limit_bytes, self.kept = pid, limit_bytes, (kept or Path()).resolve()
        # Where pages of files are not told apart, they count as they are read.
        is_to_add = mapped_bytes and kept and "RssAnon" in _kibibytes(pid, "status")
        self.mapped_bytes = mapped_bytes if is_to_add and not _is_in_memory(self.kept) else 0
        self._family_at = time.monotonic()
        self._mapped_at = -inf  # when it may be looked at again

    def too_large(self) -> str | None:
        """The sentence that says so, once they hold more than the limit."""
        if self.limit_bytes is None:
            return None
        try:
            process = psutil.Process(self.pid)
            held, whose = held_bytes(process), "its"
            if held <= self.limit_bytes and time.monotonic() >= self._family_at + FAMILY_SECONDS:
                family, self._family_at = family_bytes(process), time.monotonic()
                if family > held:
                    held, whose = family, "with the processes that it started, its"
        except psutil.Error:
            return None
        mapped = 0
        if held <= self.limit_bytes < held + self.mapped_bytes:
            mapped = self._mapped_yet()
        held += mapped
        data = f" with data of {format_bytes(mapped)}" if mapped else ""
        if held <= self.limit_bytes:
            return None
        return (
            f"{whose} resident memory reached {format_bytes(held)}{data}, "
            f"more than the {format_bytes(self.limit_bytes)} this machine can spare"
        )

    def _mapped_yet(self) -> int:
        """Of its data, what it maps and does not hold besides; 0 where it is too early to look."""
        began = time.monotonic()
        if began < self._mapped_at:
            return 0
        found = _unwritten_bytes(self.pid, self.kept)
        now = time.monotonic()
        self._mapped_at = now + (now - began) / LOOK_SHARE
        return min(self.mapped_bytes, found)


def held_bytes(process: psutil.Process) -> int:
    """Resident bytes of one process, less pages of files, which the kernel takes back at need.

    Where the system does not tell them apart (elsewhere than on Linux), all. Raises psutil.Error.
    """
    told = _kibibytes(process.pid, "status")
    if not {"RssAnon", "RssShmem"} <= told.keys():
        return int(process.memory_info().rss)
    return 1024 * (told["RssAnon"] + told["RssShmem"])


def family_bytes(process: psutil.Process) -> int:
    """The same of a process and its descendants; 0 where it has none. Raises psutil.Error.

    Forks share pages with each other: those count once, where the system tells.
    """
    family = process.children(recursive=True)
    return sum(_share_bytes(each) for each in (process, *family)) if family else 0


def _share_bytes(process: psutil.Process) -> int:
    """Its proportional set size; elsewhere, the pages that are its own alone."""
    told = _kibibytes(process.pid, "smaps_rollup")
    if {"Pss_Anon", "Pss_Shmem"} <= told.keys():
        return 1024 * (told["Pss_Anon"] + told["Pss_Shmem"])
    return share_of(process.memory_full_info())


def share_of(info: Any) -> int:
    return int(info.pss if hasattr(info, "pss") else info.uss)


def _unwritten_bytes(pid: int, path: Path) -> int:
    """What a process maps of files whose paths begin so, less pages that are its own by now.

    It has them where it wrote into its copy, and they are held by it, like all that is no file's.
    """
    told = _told(pid, "smaps")
    size_and_own = rf"{re.escape(str(path))}.*\nSize: +(\d+) kB\n(?:.*\n)+?Anonymous: +(\d+) kB"
    return 1024 * sum(int(size) - int(own) for size, own in re.findall(size_and_own, told))


def _is_in_memory(path: Path) -> bool:
    """Whether it is on a tmpfs, whose files lie in memory that the kernel cannot take back."""
    with contextlib.suppress(OSError):
        device = path.parent.stat().st_dev
        number = f" {os.major(device)}:{os.minor(device)} "
        mounts = _told("self", "mountinfo").splitlines()
        return any(number in mount and " - tmpfs " in mount for mount in mounts)
    return False


def _kibibytes(pid: int, file: str) -> dict[str, int]:
    """What /proc tells of a process in kB, by name."""
    parts = (line.split() for line in _told(pid, file).splitlines())
    return {each[0].rstrip(":"): int(each[1]) for each in parts if each[2:] == ["kB"]}


def _told(pid: int | str, file: str) -> str:
    try:
        return Path(f"/proc/{pid}/{file}").read_text(errors="replace")
    except OSError:
        return ""
