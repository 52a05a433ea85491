"""What the kernel lets a process take of memory: limits of its shell, and of what it promises.

Batch systems set those of the shell (`ulimit -v`); a machine may promise no more than it has. Read
from /proc where that is, as control groups are.
"""

import os
import re
from collections.abc import Iterator
from pathlib import Path

from autobatch.protocol import Struct

# What a process takes before it trains, most of which it never touches: addresses and writable
# memory, and more for the threads of each core. Of TensorFlow (2.21), which takes most: 2.4 and
# 0.5 GiB on 2 cores (VmSize, VmData of /proc/self/status after a `fit`; 2026-11-30).
ADDRESSES_BYTES, ADDRESSES_OF_CORE_BYTES = 2304 << 20, 144 << 20
WRITABLE_BYTES, WRITABLE_OF_CORE_BYTES = 512 << 20, 16 << 20
KIBIBYTE = 1 << 10


class KernelLimit(Struct):
    """One of them, and what of it a training has not."""

    name: str
    limit_bytes: int
    used_bytes: int

    @property
    def remaining_bytes(self) -> int:
        return max(0, self.limit_bytes - self.used_bytes)

    @property
    def told(self) -> str:
        return f"the {self.name}"


def kernel_limits(process: Path) -> Iterator[KernelLimit]:
    """Those there are for a training that `process` (a folder of /proc) starts."""
    cores = _cores()
    writable_bytes = WRITABLE_BYTES + cores * WRITABLE_OF_CORE_BYTES
    for label, name, used_bytes in (
        (
            "Max address space",
            "address space (ulimit -v)",
            ADDRESSES_BYTES + cores * ADDRESSES_OF_CORE_BYTES,
        ),
        ("Max data size", "data segment (ulimit -d)", writable_bytes),
    ):
        limit_bytes = _number(process / "limits", label)
        if limit_bytes is not None:
            yield KernelLimit(name=name, limit_bytes=limit_bytes, used_bytes=used_bytes)
    machine = process.parent
    if _text(machine / "sys" / "vm" / "overcommit_memory").strip() == "2":
        limit = _number(machine / "meminfo", "CommitLimit")
        used = _number(machine / "meminfo", "Committed_AS")
        if limit is not None and used is not None:
            yield KernelLimit(
                name="commit limit (vm.overcommit_memory=2)",
                limit_bytes=KIBIBYTE * limit,
                # The template that trainings are forked from has as much as they have.
                used_bytes=KIBIBYTE * used + 2 * writable_bytes,
            )


def _cores() -> int:
    """That this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else 1


def _number(path: Path, label: str) -> int | None:
    """The first after a label; None where there is none, as where it is unlimited."""
    found = re.search(rf"^{label}:?[ \t]+(\d+)", _text(path), re.MULTILINE)
    return int(found[1]) if found else None


def _text(path: Path) -> str:
    try:
        return path.read_text(errors="replace")
    except OSError:  # not Linux
        return ""
