"""From raw windows to rates: medians, their intervals, and whether the machine kept its speed.

A window is a stretch of training; each gives one delivered rate, epoch overhead included. The
interval of the median is distribution-free (order statistics of the sign test), so that a few slow
windows neither move it nor hide. Every size is measured by several processes: their differences
are most of what is uncertain on a machine that others use too.
"""

from collections.abc import Iterable, Sequence
from itertools import combinations
from math import comb, exp, log, sqrt

import numpy as np
from scipy.stats import kendalltau
from scipy.stats import t as student

from autobatch.protocol import BenchmarkPoint, Measured, Window

CONFIDENCE = 0.95
MEDIAN_DIFFERENCE = 0.954  # median of |a - b| of two normal numbers, in standard deviations
ROUNDED_FROM = 64
FEW = 10  # differences
DRIFT_SHARE = 0.03  # less is no matter
TREND_CHANCE, TREND_SHARE = 0.001, 0.05


def benchmark_point(
    batch_size: int, rounds: Sequence[Measured], spread: float = 0.0
) -> BenchmarkPoint:
    """Of all processes that measured this size: the mean (of logarithms) of their medians.

    `spread` is the relative half-width of the interval that one process would have by what rates
    differ from process to process; the intervals of the processes lie in the point's in any case.
    """
    rates = [_rates(measured) for measured in rounds]
    medians = [float(np.median(each)) for each in rates]
    rate = exp(float(np.mean(np.log(medians))))
    intervals = [median_interval(each) for each in rates]
    factor = exp(spread / sqrt(len(rounds)))
    latest = rounds[-1]
    epoch_seconds = latest.samples_per_epoch / rate
    joules = [measured.joules for measured in rounds if measured.joules is not None]
    samples = sum(w.samples for m in rounds if m.joules is not None for w in m.windows)
    off = np.concatenate([np.abs(np.array(each) - np.median(each)) for each in rates])
    return BenchmarkPoint(
        batch_size=batch_size,
        samples_per_second=rate,
        low=min(rate / factor, *(low for low, _ in intervals)),
        high=max(rate * factor, *(high for _, high in intervals)),
        device_samples_per_second=_median_rate([w for m in rounds for w in m.device_windows]),
        step_seconds=epoch_seconds / latest.steps_per_epoch,
        epoch_seconds=epoch_seconds,
        peak_bytes=max((m.peak_bytes for m in rounds if m.peak_bytes is not None), default=None),
        windows=sum(len(each) for each in rates),
        mad_samples_per_second=float(np.median(off)),
        input_samples_per_second=_median_rate([w for m in rounds for w in m.input_windows]),
        joules_per_sample=sum(joules) / samples if joules else None,
        allocator_warnings=sum(measured.allocator_warnings for measured in rounds),
    )


def spread_between(measured: Iterable[Sequence[Measured]]) -> float:
    """How far from the truth one process may be, relative, at 95 %; of sizes measured repeatedly.

    Rates differ more from process to process than inside one. The scale is that of the median
    difference, pooled over sizes, so that one size met by a neighbour's load widens its own
    interval (which holds what its processes saw) and not all. Of few differences a median says
    little: there it is their root mean square. 0 where nothing was repeated.
    """
    differences, freedom = [], 0
    for rounds in measured:
        medians = [log(np.median(_rates(each))) for each in rounds]
        differences += [abs(a - b) for a, b in combinations(medians, 2)]
        freedom += len(rounds) - 1
    if not differences:
        return 0.0
    sigma = float(np.median(differences)) / MEDIAN_DIFFERENCE
    if len(differences) < FEW:
        sigma = max(sigma, float(np.sqrt(np.mean(np.square(differences)) / 2)))
    return sigma * float(student.ppf((1 + CONFIDENCE) / 2, freedom))


def _rates(measured: Measured) -> list[float]:
    return [
        delivered_rate(window, measured.samples_per_epoch, measured.epoch_overhead_seconds)
        for window in measured.windows
    ]


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


def drift(measured: Iterable[Sequence[Measured]]) -> float:
    """How much the rates moved from each size's first process to its last; 0 if by chance.

    By Student's t over the sizes, of the change of the logarithm.
    """
    moved = [
        log(np.median(_rates(rounds[-1])) / np.median(_rates(rounds[0])))
        for rounds in measured
        if len(rounds) > 1
    ]
    if len(moved) < 2:
        return 0.0
    mean, error = float(np.mean(moved)), float(np.std(moved, ddof=1)) / sqrt(len(moved))
    if abs(mean) <= error * float(student.ppf((1 + CONFIDENCE) / 2, len(moved) - 1)):
        return 0.0
    change = exp(mean) - 1
    return change if abs(change) > DRIFT_SHARE else 0.0


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


def sizes_to_measure(lower: int, ceiling: int, replicas: int = 1) -> list[int]:
    """Powers of two from `lower` to the ceiling, and the ceiling itself; for each replica.

    That is rounded down to a multiple of 8, in which matrix units compute, where it costs little.
    """
    least, most = -(-lower // replicas), ceiling // replicas
    top = most - most % 8 if most >= ROUNDED_FROM else most
    powers = [1 << k for k in range(most.bit_length())]
    shares = {size for size in powers if least <= size <= most} | {max(top, least)}
    return sorted(share * replicas for share in shares)


def interleaved(sizes: Sequence[int]) -> list[int]:
    """An order in which neighbours in time are not neighbours in size: drift makes no trend."""
    ordered = sorted(sizes)
    return ordered[::2] + ordered[1::2][::-1]
