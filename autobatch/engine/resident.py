"""A limit on the memory that a worker holds of this machine, with the processes that it starts."""

import time
from typing import Any

import psutil

from autobatch.units import format_bytes

FAMILY_SECONDS = 1.0  # between looks at the processes it started: that reads all of the machine's


class ResidentWatch:
    """Looks, as often as it is asked, at what the process `pid` and its descendants hold."""

    def __init__(self, pid: int, limit_bytes: int | None) -> None:
        self.pid, self.limit_bytes = pid, limit_bytes
        self._family_at = time.monotonic()

    def too_large(self) -> str | None:
        """The sentence that says so, once they hold more than the limit."""
        if self.limit_bytes is None:
            return None
        try:
            process = psutil.Process(self.pid)
            held, whose = process.memory_info().rss, "its"
            if held <= self.limit_bytes and time.monotonic() >= self._family_at + FAMILY_SECONDS:
                held, whose = family_bytes(process), "with the processes that it started, its"
                self._family_at = time.monotonic()
        except psutil.Error:
            return None
        if held <= self.limit_bytes:
            return None
        return (
            f"{whose} resident memory reached {format_bytes(held)}, "
            f"more than the {format_bytes(self.limit_bytes)} this machine can spare"
        )


def family_bytes(process: psutil.Process) -> int:
    """Resident bytes of a process and its descendants; 0 where it has none. Raises psutil.Error.

    Forks share pages with each other: those count once, where the system tells.
    """
    family = process.children(recursive=True)
    return sum(share_of(each.memory_full_info()) for each in (process, *family)) if family else 0


def share_of(info: Any) -> int:
    """The proportional set size; elsewhere than on Linux, the pages that are its own alone."""
    return int(info.pss if hasattr(info, "pss") else info.uss)
