"""The machine: how many bytes of memory it has, and can spare.

psutil and the control groups tell. `memory` gives all there is to know, `spare_bytes` what a run
goes by.
"""

import warnings
from pathlib import Path

import psutil

from autobatch.engine.cgroups import ControlGroup, control_groups
from autobatch.protocol import Struct

CPU_SHARE = 0.9  # of available memory; the rest keeps the machine responsive


class Memory(Struct):
    """Memory of the machine, and of the control groups that this process is in."""

    total_bytes: int
    available_bytes: int
    swap_total_bytes: int = 0
    swap_free_bytes: int = 0
    groups: tuple[ControlGroup, ...] = ()  # those with a limit, the process's own first

    @property
    def tightest_group(self) -> ControlGroup | None:
        """The group that leaves less than the machine does, if any."""
        group = min(self.groups, key=lambda g: g.remaining_bytes, default=None)
        return group if group and group.remaining_bytes < self.available_bytes else None

    @property
    def spare_bytes(self) -> int:
        """What this process may still take without harm to the machine or its groups."""
        group = self.tightest_group
        return int((group.remaining_bytes if group else self.available_bytes) * CPU_SHARE)


def spare_bytes(process: Path = Path("/proc/self")) -> int:
    """Memory that this process may still take without harm to the machine or its control group."""
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
    )
