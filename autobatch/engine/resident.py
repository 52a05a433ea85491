"""A limit on the memory that a worker holds of this machine, with the processes that it starts."""

import time
from pathlib import Path
from typing import Any

import psutil

from autobatch.units import format_bytes

FAMILY_SECONDS = 1.0  # between looks at the processes it started: that reads all of the machine's


class ResidentWatch:
    """Looks, as often as it is asked, at what the process `pid` and its descendants hold.

    With `mapped_bytes` of data, which it maps from a file, and the user's own training holds.
    """

    def __init__(self, pid: int, limit_bytes: int | None, mapped_bytes: int = 0) -> None:
        self.pid, self.limit_bytes = pid, limit_bytes
        # Where pages of files are not told apart, they count as they are read.
        self.mapped_bytes = mapped_bytes if "RssAnon" in _kibibytes(pid, "status") else 0
        self._family_at = time.monotonic()

    def too_large(self) -> str | None:
        """The sentence that says so, once they hold more than the limit."""
        if self.limit_bytes is None:
            return None
        try:
            process = psutil.Process(self.pid)
            held, whose = held_bytes(process) + self.mapped_bytes, "its"
            if held <= self.limit_bytes and time.monotonic() >= self._family_at + FAMILY_SECONDS:
                held = family_bytes(process) + self.mapped_bytes
                whose = "with the processes that it started, its"
                self._family_at = time.monotonic()
        except psutil.Error:
            return None
        if held <= self.limit_bytes:
            return None
        data = f" with data of {format_bytes(self.mapped_bytes)}" if self.mapped_bytes else ""
        return (
            f"{whose} resident memory reached {format_bytes(held)}{data}, "
            f"more than the {format_bytes(self.limit_bytes)} this machine can spare"
        )


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


def _kibibytes(pid: int, file: str) -> dict[str, int]:
    """What /proc tells of a process in kB, by name."""
    try:
        lines = Path(f"/proc/{pid}/{file}").read_text().splitlines()
    except OSError:
        return {}
    parts = (line.split() for line in lines)
    return {each[0].rstrip(":"): int(each[1]) for each in parts if each[2:] == ["kB"]}
