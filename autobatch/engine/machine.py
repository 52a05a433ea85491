"""The machine: which devices there are, and how many bytes each can spare.

Imports no framework: NVIDIA's management library tells about GPUs, psutil and the control group
about the rest.
"""

from pathlib import Path

import psutil

from autobatch.protocol import Struct

CPU_SHARE = 0.9  # of available memory; the rest keeps the machine responsive
CGROUP_FILES = (  # (limit, usage) of version 2, then version 1
    ("memory.max", "memory.current"),
    ("memory/memory.limit_in_bytes", "memory/memory.usage_in_bytes"),
)


class Gpu(Struct):
    """One NVIDIA GPU as its driver sees it."""

    name: str
    total_bytes: int
    free_bytes: int
    driver: str


def gpus() -> list[Gpu]:
    """NVIDIA GPUs; empty where there is no driver."""
    import pynvml

    try:
        pynvml.nvmlInit()
    except pynvml.NVMLError:
        return []
    try:
        driver = pynvml.nvmlSystemGetDriverVersion()
        found = []
        for index in range(pynvml.nvmlDeviceGetCount()):
            handle = pynvml.nvmlDeviceGetHandleByIndex(index)
            memory = pynvml.nvmlDeviceGetMemoryInfo(handle)
            found.append(
                Gpu(
                    name=pynvml.nvmlDeviceGetName(handle),
                    total_bytes=int(memory.total),
                    free_bytes=int(memory.free),
                    driver=driver,
                )
            )
        return found
    finally:
        pynvml.nvmlShutdown()


def spare_bytes(cgroup: Path = Path("/sys/fs/cgroup")) -> int:
    """Memory that this process may still take without harm to the machine or its control group."""
    available = int(psutil.virtual_memory().available)
    for limit_name, usage_name in CGROUP_FILES:
        try:
            limit = int((cgroup / limit_name).read_text())
            usage = int((cgroup / usage_name).read_text())
        except (OSError, ValueError):  # not this version; or "max", no limit
            continue
        available = min(available, max(0, limit - usage))
    return int(available * CPU_SHARE)
