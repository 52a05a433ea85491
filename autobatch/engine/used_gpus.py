"""The GPUs that a run uses, and what they say of a failure: one is gone, or others took of it."""

import re
import time
from collections.abc import Callable

from autobatch.engine import gpus, verdict
from autobatch.protocol import Outcome, OutOfMemory, Target, Task, changed

RELEASE_SECONDS = 2.0  # after which a process that has ended holds nothing of a GPU
ENOUGH = 0.97  # of a limit: the driver's own part of a GPU varies a little
# What tells that the machine's memory ran out: PyTorch's allocator; TensorFlow's, and the one for
# what it copies to a GPU and back; C++ (bad_alloc of CUDA itself says that it is); the system.
OF_THE_MACHINE = re.compile(
    r"DefaultCPUAllocator|by allocator (mkl)?cpu\b|\bgpu_host_bfc\b"
    r"|bad_alloc(?!.*(?i:cuda))|Cannot allocate memory"
)


class UsedGpus:
    """None where the target's device is the CPU."""

    def __init__(
        self, target: Target, survey: Callable[[], gpus.GpuSurvey], free_at_first: int
    ) -> None:
        self._survey, self._on_gpu = survey, target.device == "gpu"
        self._backend = target.backend
        found = gpus.usable(survey())[: target.replicas] if self._on_gpu else []
        self._uuids = tuple(gpu.uuid for gpu in found)
        # Before there was a job: at the run's first start, or now.
        self._free_bytes = {gpu.uuid: max(self._spare(gpu), free_at_first) for gpu in found}
        self.smallest_bytes = min((gpu.total_bytes for gpu in found), default=None)

    def judged(self, task: Task, outcome: Outcome) -> Outcome:
        """What `outcome` means, by what the driver says now that the worker has ended."""
        if self._uuids and isinstance(outcome, verdict.UNEXPLAINED):
            lost = gpus.lost(self._uuids, self._survey())
            if lost:
                return verdict.of_lost_gpus(outcome, lost)
        said = outcome.evidence if self._on_gpu and isinstance(outcome, OutOfMemory) else ""
        if OF_THE_MACHINE.search(said):
            return changed(outcome, host_memory=True)
        limit_bytes = getattr(task, "limit_bytes", None)
        is_of_memory = isinstance(outcome, OutOfMemory) and not outcome.host_memory
        # A framework's error may be of memory, and not say so.
        if limit_bytes and (is_of_memory or getattr(outcome, "framework_error", False)):
            taken = self._taken_by_others(limit_bytes)
            return verdict.of_taken_memory(outcome, taken) if taken else outcome
        return outcome

    def _taken_by_others(self, limit_bytes: int) -> gpus.Gpu | None:
        """A GPU on which nobody could have the limit now, though no worker is there.

        Or what was free at first, of which a limit may ask for more.
        """
        taken = None
        for seconds in (0.0, RELEASE_SECONDS) if self._uuids else ():
            time.sleep(seconds)
            used = (gpu for gpu in self._survey().gpus if gpu.uuid in self._uuids)
            taken = next((g for g in used if self._is_taken(g, limit_bytes)), None)
            if taken is None:
                break
        return taken

    def _is_taken(self, gpu: gpus.Gpu, limit_bytes: int) -> bool:
        at_first = self._free_bytes[gpu.uuid]
        return self._spare(gpu) < ENOUGH * min(limit_bytes, at_first)

    def _spare(self, gpu: gpus.Gpu) -> int:
        """What a limit could be: a process takes more than that, by itself."""
        return gpu.free_within(1.0, self._backend)
