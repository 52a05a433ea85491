"""Peak memory by batch as a line: what a model holds in any case, and for each sample."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

import numpy as np

MISFIT = 0.1  # a peak further off the line than this is not on it


@dataclass(frozen=True)
class MemoryLine:
    base_bytes: float
    bytes_per_sample: float
    describes: bool  # whether all peaks lie on it, within a tenth

    def at(self, batch_size: float) -> float:
        return self.base_bytes + self.bytes_per_sample * batch_size


def memory_line(peaks: Iterable[tuple[int, int]]) -> MemoryLine | None:
    """The least squares of relative errors over (batch size, peak bytes); None if none rises."""
    found = list(peaks)
    if len({size for size, _ in found}) < 2 or any(peak <= 0 for _, peak in found):
        return None
    sizes, peaks_bytes = np.array(found, dtype=float).T
    slope, base = map(float, np.polyfit(sizes, peaks_bytes, 1, w=1 / peaks_bytes))
    if slope <= 0:
        return None
    off = float(np.abs((base + slope * sizes) / peaks_bytes - 1).max())
    return MemoryLine(base, slope, off <= MISFIT)


def peak_between(peaks: Mapping[int, int], batch_size: int) -> int:
    """By the straight line between the sizes next to it, of those known; beyond them, the last."""
    sizes = sorted(peaks)
    return round(float(np.interp(batch_size, sizes, [peaks[size] for size in sizes])))
