"""NVIDIA's driver (NVML), asked for the GPUs that this process sees.

`nvml` is `pynvml`, or has its interface.
"""

import contextlib
import os
from itertools import islice
from typing import Any


def visible_handles(nvml: Any, count: int = 1) -> list[Any]:
    """Of the first `count` GPUs, or MIG instances, that CUDA_VISIBLE_DEVICES leaves."""
    nvml.nvmlInit()
    setting = os.environ.get("CUDA_VISIBLE_DEVICES", "")
    names = [name.strip() for name in setting.split(",") if name.strip()]
    used = islice(names or map(str, range(count)), count)  # those after it may not be there
    return [_named(nvml, name) for name in used]


def _named(nvml: Any, name: str) -> Any:
    if name.isdigit():
        return nvml.nvmlDeviceGetHandleByIndex(int(name))
    if name.startswith("GPU-"):  # and perhaps only the beginning of it
        for index in range(nvml.nvmlDeviceGetCount()):
            handle = nvml.nvmlDeviceGetHandleByIndex(index)
            uuid = nvml.nvmlDeviceGetUUID(handle)  # in bytes, of an old `pynvml`
            if (uuid if isinstance(uuid, str) else uuid.decode()).startswith(name):
                return handle
    return nvml.nvmlDeviceGetHandleByUUID(name)


class EnergyCounter:
    """Joules that the GPUs spend for each sample, by their own counters (Volta and later).

    It counts from `start` on. Where one of them has no counter, or another process computes on it,
    too, and on other devices, it knows nothing.
    """

    def __init__(self, device: str, replicas: int = 1, nvml: Any = None) -> None:
        self._handles: list[Any] = []
        self._began: float | None = None
        self._samples = 0
        with contextlib.suppress(ImportError):  # of an installation without dependencies
            import pynvml

            self._nvml = nvml or pynvml
            # The second, which is none of the first, where a driver is too old for the library. An
            # old `pynvml` package, which hides NVIDIA's, has neither that nor all functions.
            mismatch = getattr(pynvml, "NVMLLibraryMismatchError", pynvml.NVMLError)
            self._errors = (pynvml.NVMLError, mismatch, AttributeError, TypeError)
            if device == "gpu":
                with contextlib.suppress(*self._errors):
                    self._handles = visible_handles(self._nvml, replicas)

    def start(self) -> None:
        """Once: what follows is counted."""
        if self._began is None:
            self._began = self._joules()

    def trained(self, samples: int) -> None:
        if self._began is not None:
            self._samples += samples

    def joules_per_sample(self) -> float | None:
        now = self._joules()
        if now is None or self._began is None or not self._samples:
            return None
        return (now - self._began) / self._samples

    def _joules(self) -> float | None:
        if not self._handles or any(map(self._is_shared, self._handles)):
            return None
        with contextlib.suppress(*self._errors):
            read = map(self._nvml.nvmlDeviceGetTotalEnergyConsumption, self._handles)
            return float(sum(read)) / 1000  # of millijoules
        return None

    def _is_shared(self, handle: Any) -> bool:
        """Whether more than one process is seen to compute on it."""
        with contextlib.suppress(*self._errors):  # some drivers do not tell
            listed = self._nvml.nvmlDeviceGetComputeRunningProcesses(handle)
            return len({process.pid for process in listed}) > 1
        return False
