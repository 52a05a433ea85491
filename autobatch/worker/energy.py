"""Joules that an NVIDIA GPU has spent, by its own counter (NVML; Volta and later)."""

import contextlib
import os
from typing import Any


class EnergyCounter:
    """Reads the counter of the first visible GPU; on other devices it knows nothing."""

    def __init__(self, device: str) -> None:
        self._handle = _handle() if device == "gpu" else None
        self._began: float | None = None

    def start(self) -> None:
        self._began = self._read()

    def joules(self) -> float | None:
        """Since `start`; None where there is no counter."""
        now = self._read()
        return None if now is None or self._began is None else now - self._began

    def _read(self) -> float | None:
        if self._handle is None:
            return None
        import pynvml

        with contextlib.suppress(pynvml.NVMLError):
            return float(pynvml.nvmlDeviceGetTotalEnergyConsumption(self._handle)) / 1000  # mJ
        return None


def _handle() -> Any:
    import pynvml

    visible = os.environ.get("CUDA_VISIBLE_DEVICES", "0").split(",")[0] or "0"
    with contextlib.suppress(pynvml.NVMLError):
        pynvml.nvmlInit()
        if visible.startswith("GPU-"):
            return pynvml.nvmlDeviceGetHandleByUUID(visible)
        return pynvml.nvmlDeviceGetHandleByIndex(int(visible))
    return None
