"""From raw windows to rates: medians, their intervals, and whether the machine kept its speed.

A window is a stretch of training; each gives one delivered rate, epoch overhead included. The
interval of the median is distribution-free (order statistics of the sign test), so that a few slow
windows neither move it nor hide.
"""

from collections.abc import Sequence
from math import comb

import numpy as np
from scipy.stats import kendalltau

from autobatch.protocol import BenchmarkPoint, Measured, Window, changed

CONFIDENCE = 0.95
TREND_CHANCE, TREND_SHARE = 0.001, 0.05


def benchmark_point(batch_size: int, measured: Measured) -> BenchmarkPoint:
    rates = [
        delivered_rate(window, measured.samples_per_epoch, measured.epoch_overhead_seconds)
        for window in measured.windows
    ]
    low, high = median_interval(rates)
    rate = float(np.median(rates))
    samples = sum(window.samples for window in measured.windows)
    epoch_seconds = measured.samples_per_epoch / rate
    return BenchmarkPoint(
        batch_size=batch_size,
        samples_per_second=rate,
        low=low,
        high=high,
        device_samples_per_second=_median_rate(measured.device_windows),
        step_seconds=epoch_seconds / measured.steps_per_epoch,
        epoch_seconds=epoch_seconds,
        peak_bytes=measured.peak_bytes,
        windows=len(rates),
        mad_samples_per_second=float(np.median(np.abs(np.array(rates) - rate))),
        input_samples_per_second=_median_rate(measured.input_windows),
        joules_per_sample=None if measured.joules is None else measured.joules / samples,
        allocator_warnings=measured.allocator_warnings,
    )


def _median_rate(windows: Sequence[Window]) -> float | None:
    rates = [window.samples_per_second for window in windows]
    return float(np.median(rates)) if rates else None


def delivered_rate(
    window: Window, samples_per_epoch: int, epoch_overhead_seconds: float | None
) -> float:
    """Samples per second over an epoch whose steps go as in `window`.

    Windows of whole epochs have the overhead in them; for others it is added once an epoch.
    """
    rate = window.samples_per_second
    return samples_per_epoch / (samples_per_epoch / rate + (epoch_overhead_seconds or 0.0))


def median_interval(values: Sequence[float], confidence: float = CONFIDENCE) -> tuple[float, float]:
    """(low, high): order statistics that enclose the median with at least `confidence`.

    With too few values for that (5 at 95 %), the extremes.
    """
    ordered = sorted(values)
    count = len(ordered)
    outside, rank = 0.0, 0
    while rank < count // 2:
        outside += 2 * comb(count, rank) / 2**count
        if outside > 1 - confidence:
            break
        rank += 1
    rank = max(rank, 1)
    return ordered[rank - 1], ordered[count - rank]


def best(points: Sequence[BenchmarkPoint]) -> int:
    return max(points, key=lambda point: point.samples_per_second).batch_size


def drift(first: BenchmarkPoint, again: BenchmarkPoint) -> float:
    """How much the rate moved between two measurements of one size; 0 where intervals allow it."""
    if first.low <= again.high and again.low <= first.high:
        return 0.0
    return again.samples_per_second / first.samples_per_second - 1


def trend(measured: Measured) -> float:
    """How much the rate moved from the first third of the windows to the last; 0 if by chance.

    By Kendall's rank correlation with time (Kendall 1938), at 1 in 1000: sizes are many.
    """
    rates = [window.samples_per_second for window in measured.windows]
    third = len(rates) // 3
    if third < 2 or kendalltau(range(len(rates)), rates).pvalue > TREND_CHANCE:
        return 0.0
    moved = float(np.median(rates[-third:]) / np.median(rates[:third]) - 1)
    return moved if abs(moved) > TREND_SHARE else 0.0


def widened(point: BenchmarkPoint, share: float) -> BenchmarkPoint:
    """`point` with an interval that allows for the machine's speed having moved by `share`."""
    factor = max(1 + share, 1 / (1 + share))
    return changed(point, low=point.low / factor, high=point.high * factor)


def sizes_to_measure(lower: int, ceiling: int) -> list[int]:
    """Powers of two from `lower` to the ceiling, and the ceiling itself."""
    first = 1 << max(0, (lower - 1).bit_length())
    powers = [1 << k for k in range(first.bit_length() - 1, ceiling.bit_length())]
    return sorted({size for size in powers if lower <= size <= ceiling} | {ceiling})


def interleaved(sizes: Sequence[int]) -> list[int]:
    """An order in which neighbours in time are not neighbours in size: drift makes no trend."""
    ordered = sorted(sizes)
    return ordered[::2] + ordered[1::2][::-1]
