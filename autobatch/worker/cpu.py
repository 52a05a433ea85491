"""The CPU: which one it is, and how many of its cores may be used."""

import contextlib
import os
import platform
from pathlib import Path

from autobatch.units import counted


def cpu_name(cpuinfo: Path = Path("/proc/cpuinfo")) -> str:
    """What tells machines apart on which a step takes other times."""
    return f"CPU: {_model(cpuinfo) or platform.machine()}, {counted(_cores(), 'core')}"


def _model(cpuinfo: Path) -> str:
    with contextlib.suppress(OSError):
        for line in cpuinfo.read_text(errors="replace").splitlines():
            name, _, value = line.partition(":")
            if name.strip() == "model name":  # not on ARM
                return " ".join(value.split())
    return ""


def _cores() -> int:
    if not hasattr(os, "sched_getaffinity"):  # macOS
        return os.cpu_count() or 1
    # Not of this process, whose threads OpenMP may have bound by now (OMP_PROC_BIND).
    return len(os.sched_getaffinity(os.getppid()))
