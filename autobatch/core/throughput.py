"""From raw windows to rates: what was delivered, its interval, and whether the speed was kept.

A window is a stretch of training. The rate of a process is all its samples over all its seconds,
epoch overhead included: `fit` pays for its slow moments, too, and a median over windows or epochs
would leave them out. What tf.data waits for at some ends of epochs (`core.epoch_ends`) is counted
as often as it happens at any size, and as long as epochs of that length wait.
Every size is measured by several processes: their differences are most of what is uncertain on a
machine that others use too.
"""

from collections.abc import Iterable, Mapping, Sequence
from itertools import combinations
from math import exp, hypot, log, sqrt
from statistics import fmean, stdev

import numpy as np

from autobatch.core import epoch_ends, quantiles
from autobatch.protocol import BenchmarkPoint, Interval, Measured, Window

MEDIAN_DIFFERENCE = 0.954  # median of |a - b| of two normal numbers, in standard deviations
STARTS_SHARE = 0.05  # of an epoch, to which the mean of what its starts take is to be known
ROUNDED_FROM = 64
FEW = 10  # differences
DRIFT_SHARE = 0.03  # less is no matter


def benchmark_points(
    found: Mapping[int, Sequence[Measured]], waits: Interval | None = None
) -> list[BenchmarkPoint]:
    """Of all sizes, in their order, from the processes that measured each; `waits` as if seen."""
    spread, waits = spread_between(found.values()), waits or share_that_wait(found.values())
    return [benchmark_point(size, found[size], spread, waits) for size in sorted(found)]


def share_that_wait(found: Iterable[Sequence[Measured]]) -> Interval:
    """Of ends of epochs, at all sizes whose windows do not have them in them."""
    each = (measured for rounds in found for measured in rounds if not measured.whole_epochs)
    return epoch_ends.share_that_wait(end for measured in each for end in measured.epoch_ends)


def benchmark_point(
    batch_size: int,
    rounds: Sequence[Measured],
    spread: float = 0.0,
    share_that_wait: Interval = epoch_ends.NEVER,
) -> BenchmarkPoint:
    """Of all processes that measured this size: the mean (of logarithms) of their rates.

    `spread` is the relative half-width of the interval that one process would have by what rates
    differ from process to process; the intervals of the processes lie in the point's in any case.
    Windows of whole epochs have in them what was waited for.
    """
    starts = [start for each in rounds if not each.whole_epochs for start in _overheads(each)]
    whole = [end for each in rounds if each.whole_epochs for end in each.epoch_ends]
    waits = [end.wait_seconds * end.waited for end in whole] or [
        waiting_in(each, starts, share_that_wait).value for each in rounds
    ]
    intervals = [delivered(measured, starts, share_that_wait) for measured in rounds]
    rate = exp(float(np.mean([log(each.value) for each in intervals])))
    factor = exp(spread / sqrt(len(rounds)))
    latest = rounds[-1]
    epoch_seconds = latest.samples_per_epoch / rate
    overheads = [_overhead(measured) for measured in rounds if _overheads(measured)]
    is_known = bool(overheads) or any(waits)
    joules = [m.joules_per_sample for m in rounds if m.joules_per_sample is not None]
    windows = [[window.samples_per_second for window in measured.windows] for measured in rounds]
    off = np.concatenate([np.abs(np.array(each) - np.median(each)) for each in windows])
    return BenchmarkPoint(
        batch_size=batch_size,
        samples_per_second=rate,
        low=min(rate / factor, *(each.low for each in intervals)),
        high=max(rate * factor, *(each.high for each in intervals)),
        device_samples_per_second=_median_rate([w for m in rounds for w in m.device_windows]),
        step_seconds=epoch_seconds / latest.steps_per_epoch,
        epoch_seconds=epoch_seconds,
        peak_bytes=max((m.peak_bytes for m in rounds if m.peak_bytes is not None), default=None),
        steps_per_epoch=latest.steps_per_epoch,
        samples_per_epoch=latest.samples_per_epoch,
        mad_samples_per_second=float(np.median(off)),
        input_samples_per_second=_rate([w for m in rounds for w in m.input_windows]),
        epoch_overhead_seconds=fmean(overheads or [0.0]) + fmean(waits) if is_known else None,
        epoch_wait_seconds=fmean(waits),
        joules_per_sample=fmean(joules) if joules else None,
        allocator_warnings=sum(measured.allocator_warnings for measured in rounds),
    )


def delivered(
    measured: Measured,
    starts: Sequence[float] = (),
    share_that_wait: Interval = epoch_ends.NEVER,
) -> Interval:
    """Samples per second of one process, over whole epochs.

    Windows of whole epochs have their starts in them; to others one is added once an epoch: the
    mean of `starts`, those seen in all processes of that size, or else in this one alone, and what
    tf.data waits for at the end of one.
    """
    if measured.whole_epochs:
        starts = ()
    elif not starts:
        starts = _overheads(measured)
    waiting = waiting_in(measured, starts, share_that_wait)
    return epoch_rate(measured.windows, measured.samples_per_epoch, starts, waiting)


def waiting_in(measured: Measured, starts: Sequence[float], share_that_wait: Interval) -> Interval:
    """For tf.data at the end of an epoch, in s; of whole epochs nothing that is not in them."""
    if measured.whole_epochs or not share_that_wait.high:
        return epoch_ends.NEVER
    steps_seconds = measured.samples_per_epoch / rate_interval(measured.windows).value
    lived = steps_seconds + (fmean(starts) if starts else 0.0)  # as long as its iterator
    return share_that_wait.times(epoch_ends.mean_wait(lived))


def pace(point: BenchmarkPoint, steps: int, seconds: float) -> float:
    """The seconds of a training of so many steps, over those that the benchmark has it take.

    With as many ends of epochs as it saw, each of which waits for tf.data or does not: 1 where it
    took no less than without these waits, and no longer than with all of them.
    """
    waited = point.epoch_wait_seconds
    idle = point.epoch_overhead_seconds or 0.0  # with these waits
    inside = point.epoch_seconds - idle
    if inside <= 0:  # of its warm-up, whose epochs took longer
        return seconds / (steps * point.step_seconds)
    ends = (steps - 1) // point.steps_per_epoch
    least = inside * steps / point.steps_per_epoch + ends * (idle - waited)
    most = least + ends * epoch_ends.mean_wait(point.epoch_seconds - waited) if waited else least
    return seconds / min(max(seconds, least), most)


def _overhead(measured: Measured) -> float:
    """Between two epochs: the mean, as in the rate; of those of the warm-up, the median."""
    found = _overheads(measured)
    return float(np.median(found)) if measured.whole_epochs else fmean(found)


def _overheads(measured: Measured) -> tuple[float, ...]:
    """Where no epoch began while it was measured, what the pipeline alone takes to begin one."""
    found = measured.epoch_overhead_seconds
    if not found and not measured.whole_epochs and measured.input_start_seconds is not None:
        return (measured.input_start_seconds,)
    return found


def epoch_rate(
    windows: Sequence[Window],
    samples: int,
    starts: Sequence[float],
    waiting: Interval = epoch_ends.NEVER,
) -> Interval:
    """Samples per second of epochs of `samples`, by windows inside them and their `starts` in s."""
    inside = rate_interval(windows)
    steps = samples / inside.value  # seconds an epoch
    of_steps = steps * (inside.high / inside.value - 1)
    epoch = steps + (fmean(starts) if starts else 0.0) + waiting.value
    width = hypot(of_steps, start_doubt(starts), (waiting.high - waiting.low) / 2) / epoch
    rate = samples / epoch
    return Interval(value=rate, low=rate / (1 + width), high=rate * (1 + width))


def start_doubt(starts: Sequence[float]) -> float:
    """Half the width of the interval of their mean, in s; at most the mean: it may be none at all.

    By Student's t, and of one start that most.
    """
    if not starts:
        return 0.0
    mean, count = fmean(starts), len(starts)
    if count == 1:
        return mean
    return min(mean, quantiles.two_sided(count - 1) * stdev(starts) / sqrt(count))


def starts_are_known(starts: Sequence[float], epoch_seconds: float, seconds: float) -> bool:
    """Whether the mean of the starts of epochs is known to a share of the epoch that is no matter.

    Starts are waited for `seconds` at most: of epochs that take longer, none is.
    """
    if not starts:
        return epoch_seconds > seconds
    return start_doubt(starts) <= STARTS_SHARE * epoch_seconds


def spread_between(measured: Iterable[Sequence[Measured]]) -> float:
    """How far from the truth one process may be, relative, at 95 %; of sizes measured repeatedly.

    Rates differ more from process to process than inside one. The scale is that of the median
    difference, pooled over sizes, so that one size met by a neighbour's load widens its own
    interval (which holds what its processes saw) and not all. Of few differences a median says
    little: there it is their root mean square. 0 where nothing was repeated.
    """
    differences, freedom = [], 0
    for rounds in measured:
        rates = [log(delivered(each).value) for each in rounds]
        differences += [abs(a - b) for a, b in combinations(rates, 2)]
        freedom += len(rounds) - 1
    if not differences:
        return 0.0
    sigma = float(np.median(differences)) / MEDIAN_DIFFERENCE
    if len(differences) < FEW:
        sigma = max(sigma, float(np.sqrt(np.mean(np.square(differences)) / 2)))
    return sigma * quantiles.two_sided(freedom)


def _rate(windows: Sequence[Window]) -> float | None:
    """All samples over all seconds, as `fit` pays for the stalls of a pipeline, too."""
    seconds = sum(window.seconds for window in windows)
    return sum(window.samples for window in windows) / seconds if windows else None


def _median_rate(windows: Sequence[Window]) -> float | None:
    rates = [window.samples_per_second for window in windows]
    return float(np.median(rates)) if rates else None


def rate_interval(windows: Sequence[Window]) -> Interval:
    """All samples over all seconds; the interval by Student's t (a ratio estimator: Cochran 1977,
    section 6.3)."""
    seconds = np.array([window.seconds for window in windows])
    samples = np.array([window.samples for window in windows])
    count, rate = len(windows), float(samples.sum() / seconds.sum())
    if count < 2:
        return Interval(value=rate, low=rate, high=rate)
    off = seconds - samples / rate  # what each took longer than the rate says
    error = sqrt(float(np.square(off).sum()) / (count * (count - 1))) / float(seconds.mean())
    width = error * quantiles.two_sided(count - 1)
    return Interval(value=rate, low=rate / (1 + width), high=rate * (1 + width))


def drift(measured: Iterable[Sequence[Measured]]) -> float:
    """How much the rates moved from each size's first process to its last; 0 if by chance.

    By Student's t over the sizes, of the change of the logarithm.
    """
    moved = [
        log(delivered(rounds[-1]).value / delivered(rounds[0]).value)
        for rounds in measured
        if len(rounds) > 1
    ]
    if len(moved) < 2:
        return 0.0
    mean, error = float(np.mean(moved)), float(np.std(moved, ddof=1)) / sqrt(len(moved))
    if abs(mean) <= error * quantiles.two_sided(len(moved) - 1):
        return 0.0
    change = exp(mean) - 1
    return change if abs(change) > DRIFT_SHARE else 0.0


def sizes_to_measure(
    lower: int, ceiling: int, multiple: int = 1, *, few: bool = False
) -> list[int]:
    """Powers of two from `lower` to the ceiling, and the ceiling itself; times `multiple`.

    The ceiling is rounded down to a multiple of 8 times that: in multiples of 8 matrix units
    compute, and of many it costs little. With `few`, every second power.
    """
    least, most = -(-lower // multiple), ceiling // multiple
    top = most - most % 8 if most >= ROUNDED_FROM else most
    powers = [1 << k for k in range(0, most.bit_length(), 2 if few else 1)]
    factors = {size for size in powers if least <= size <= most} | {max(top, least)}
    return sorted(factor * multiple for factor in factors)


def interleaved(sizes: Sequence[int]) -> list[int]:
    """An order in which neighbours in time are not neighbours in size: drift makes no trend."""
    ordered = sorted(sizes)
    return ordered[::2] + ordered[1::2][::-1]
