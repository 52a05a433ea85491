"""Peak memory by batch as a line: what a model holds in any case, and for each sample."""

from collections.abc import Iterable
from dataclasses import dataclass

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
    weights = [1 / peak**2 for _, peak in found]
    total = sum(weights)
    mean_size = sum(w * size for w, (size, _) in zip(weights, found, strict=True)) / total
    mean_peak = sum(w * peak for w, (_, peak) in zip(weights, found, strict=True)) / total
    spread = sum(w * (size - mean_size) ** 2 for w, (size, _) in zip(weights, found, strict=True))
    slope = (
        sum(
            w * (size - mean_size) * (peak - mean_peak)
            for w, (size, peak) in zip(weights, found, strict=True)
        )
        / spread
    )
    if slope <= 0:
        return None
    base = mean_peak - slope * mean_size
    off = max(abs((base + slope * size) / peak - 1) for size, peak in found)
    return MemoryLine(base, slope, off <= MISFIT)
