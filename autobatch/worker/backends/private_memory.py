"""Memory on a CPU where no allocator counts it: what the kernel says of a process; its limit."""

import os
import resource
import threading
import time
from pathlib import Path

from autobatch.worker.mistakes import TargetError

STATM = Path("/proc/self/statm")
PAGE_BYTES = resource.getpagesize()
SAMPLE_SECONDS, SELDOM_SECONDS = 0.002, 0.02
# The kernel counts what is kept for a thread's stack, by default 8 MiB, most of it never touched:
# Keras starts some threads as it trains, and a PyDataset its workers.
STACK_BYTES = 1 << 20
SAMPLE_SHARE = 0.01  # of the time since the peak counts: often in a step, seldom in a training


class PrivateMemory:
    """The process' private writable memory beyond its base, sampled.

    To sample takes Python's lock from the training, which feels it every 2 ms, and not every 20 ms.
    """

    def __init__(self) -> None:
        self.limit_bytes: int | None = None
        self._base = self._peak = 0
        self._since = 0.0  # the peak counts
        self._statm = -1  # kept open: read many times a second, beside the training

    def start(self, limit_bytes: int | None, statm: Path = STATM) -> None:
        try:
            self._statm = os.open(statm, os.O_RDONLY | os.O_CLOEXEC)
        except OSError:  # nor would another kernel keep the limit
            raise TargetError(
                f"What PyTorch holds on a CPU is read from {statm}, which is Linux's, and is not "
                "here: its memory can be neither measured nor limited.",
                hint="Use --set backend=tensorflow or --set backend=jax, or Linux.",
            ) from None
        threading.stack_size(STACK_BYTES)
        threading.Thread(target=self._watch, daemon=True).start()
        self._base = self._now()
        self.reset_peak()
        if limit_bytes is not None:
            soft, hard = resource.getrlimit(resource.RLIMIT_DATA)
            at_most = self._base + limit_bytes
            if soft != resource.RLIM_INFINITY:  # which holds for the user's own training, too
                at_most = min(at_most, soft)
            resource.setrlimit(resource.RLIMIT_DATA, (at_most, hard))
            self.limit_bytes = at_most - self._base
            # Processes that draw the user's data do not train: what they hold is not counted here.
            os.register_at_fork(
                after_in_child=lambda: resource.setrlimit(resource.RLIMIT_DATA, (soft, hard))
            )

    def held_bytes(self) -> int:
        return max(0, self._now() - self._base)

    def peak_bytes(self) -> int:
        return max(0, self._peak - self._base)

    def reset_peak(self) -> None:
        self._peak, self._since = self._now(), time.monotonic()

    def _watch(self) -> None:
        while True:
            self._peak = max(self._peak, self._now())
            time.sleep(sample_seconds(time.monotonic() - self._since))

    def _now(self) -> int:
        return int(os.pread(self._statm, 200, 0).split()[5]) * PAGE_BYTES


def sample_seconds(counted: float) -> float:
    """Until the next sample, when the peak has counted for so many seconds."""
    return min(SELDOM_SECONDS, max(SAMPLE_SECONDS, SAMPLE_SHARE * counted))
