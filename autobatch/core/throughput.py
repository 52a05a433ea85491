"""From raw windows to rates: medians, their intervals, the knee, and what binds.

A window is a stretch of training; each gives one delivered rate, epoch overhead included. The
interval of the median is distribution-free (order statistics of the sign test), so that a few slow
windows neither move it nor hide.
"""

from collections.abc import Sequence
from math import comb

import numpy as np

from autobatch.protocol import BenchmarkPoint, Measured, Window

CONFIDENCE = 0.95
KNEE_SHARE = 0.95  # of the best rate
HOST_BOUND_SHARE = 0.67  # delivered / device rate below which the host holds the device back


def benchmark_point(batch_size: int, measured: Measured) -> BenchmarkPoint:
    rates = [
        delivered_rate(window, measured.samples_per_epoch, measured.epoch_overhead_seconds)
        for window in measured.windows
    ]
    low, high = median_interval(rates)
    rate = float(np.median(rates))
    device = [window.samples / window.seconds for window in measured.device_windows]
    epoch_seconds = measured.samples_per_epoch / rate
    return BenchmarkPoint(
        batch_size=batch_size,
        samples_per_second=rate,
        low=low,
        high=high,
        device_samples_per_second=float(np.median(device)) if device else None,
        step_seconds=epoch_seconds / measured.steps_per_epoch,
        epoch_seconds=epoch_seconds,
        peak_bytes=measured.peak_bytes,
        windows=len(rates),
    )


def delivered_rate(
    window: Window, samples_per_epoch: int, epoch_overhead_seconds: float | None
) -> float:
    """Samples per second over an epoch whose steps go as in `window`.

    Windows of whole epochs have the overhead in them; for others it is added once an epoch.
    """
    rate = window.samples / window.seconds
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


def knee(points: Sequence[BenchmarkPoint]) -> int:
    """The smallest batch within 5 % of the best rate, as far as the intervals can tell."""
    best = max(point.samples_per_second for point in points)
    return min(point.batch_size for point in points if point.high >= KNEE_SHARE * best)


def best(points: Sequence[BenchmarkPoint]) -> int:
    return max(points, key=lambda point: point.samples_per_second).batch_size


def bound_by(points: Sequence[BenchmarkPoint]) -> str:
    """What holds the rate back at the best size: `host`, `step_overhead`, or `compute`.

    `host`: a batch that stays on the device trains much faster than `fit` delivers (input pipeline
    and Python). `step_overhead`: the largest size is still the fastest by far, so each step costs
    the same whatever its size. Else `compute`.
    """
    fastest = max(points, key=lambda point: point.samples_per_second)
    device = fastest.device_samples_per_second
    if device is not None and fastest.samples_per_second < HOST_BOUND_SHARE * device:
        return "host"
    sizes = sorted(point.batch_size for point in points)
    if len(sizes) > 1 and knee(points) == sizes[-1]:
        return "step_overhead"
    return "compute"


def sizes_to_measure(lower: int, ceiling: int) -> list[int]:
    """Powers of two from `lower` to the ceiling, and the ceiling itself."""
    first = 1 << max(0, (lower - 1).bit_length())
    powers = [1 << k for k in range(first.bit_length() - 1, ceiling.bit_length())]
    return sorted({size for size in powers if lower <= size <= ceiling} | {ceiling})


def interleaved(sizes: Sequence[int]) -> list[int]:
    """An order in which neighbours in time are not neighbours in size: drift makes no trend."""
    ordered = sorted(sizes)
    return ordered[::2] + ordered[1::2][::-1]
