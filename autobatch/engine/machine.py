"""The machine: how many bytes of memory it has, and can spare.

psutil, the control groups and the kernel's own limits tell. `memory` gives all there is to know,
`spare_bytes` what a run goes by.
"""

import warnings
from pathlib import Path

import psutil

from autobatch.engine.cgroups import ControlGroup, control_groups
from autobatch.engine.kernel_limits import KernelLimit, kernel_limits
from autobatch.protocol import Struct

CPU_SHARE = 0.9  # of available memory; the rest keeps the machine responsive


class Memory(Struct):
    """Memory of the machine, and of the control groups that this process is in."""

    total_bytes: int
    available_bytes: int
    swap_total_bytes: int = 0
    swap_free_bytes: int = 0
    groups: tuple[ControlGroup, ...] = ()  # those with a limit, the process's own first
    kernel_limits: tuple[KernelLimit, ...] = ()

    @property
    def tightest(self) -> ControlGroup | KernelLimit | None:
        """The limit that leaves less than the machine does, if any."""
        limits: tuple[ControlGroup | KernelLimit, ...] = (*self.groups, *self.kernel_limits)
        found = min(limits, key=lambda limit: limit.remaining_bytes, default=None)
        return found if found and found.remaining_bytes < self.available_bytes else None

    @property
    def spare_bytes(self) -> int:
        """What this process may still take without harm to the machine or beyond its limits."""
        limit = self.tightest
        return int((limit.remaining_bytes if limit else self.available_bytes) * CPU_SHARE)


def spare_bytes(process: Path = Path("/proc/self")) -> int:
    """Memory that this process may still take without harm to the machine or beyond its limits."""
    return memory(process).spare_bytes


def memory(process: Path = Path("/proc/self")) -> Memory:
    system = psutil.virtual_memory()
    with warnings.catch_warnings(action="ignore"):  # some containers hide the traffic of swap
        swap = psutil.swap_memory()
    return Memory(
        total_bytes=int(system.total),
        available_bytes=int(system.available),
        swap_total_bytes=int(swap.total),
        swap_free_bytes=int(swap.free),
        groups=tuple(control_groups(process)),
        kernel_limits=tuple(kernel_limits(process)),
    )
