"""How long a step takes by its batch: fixed overhead, and time per sample. And so the knee.

A step of batch b takes alpha + beta * b seconds, so that a sample takes beta + alpha / b: a line
in 1 / b. It is fitted by least squares of relative errors, with neither part below zero; its
intervals come from refitting to rates drawn from the intervals that were measured (parametric
bootstrap).
"""

from collections.abc import Mapping, Sequence
from math import log

import numpy as np
import numpy.typing as npt

from autobatch.core import quantiles
from autobatch.protocol import BenchmarkPoint, Interval, StepTime

KNEE_SHARE = 0.95  # of the best rate
DRAWS = 1000
LEAST_SPREAD = 0.005  # relative: no rate is known better than that from one process to the next
MISFIT_SPREADS, MISFIT = 3.0, 0.05  # a point further off than both is not on the line
MIN_SIZES = 3

Array = npt.NDArray[np.float64]


def step_time(points: Sequence[BenchmarkPoint]) -> StepTime | None:
    """The fit to all points; None for fewer than three."""
    if len(points) < MIN_SIZES:
        return None
    sizes = np.array([point.batch_size for point in points], float)
    rates = np.array([point.samples_per_second for point in points])
    spreads = _spreads(points)
    rng = np.random.default_rng(0)
    drawn = rates * np.exp(rng.normal(size=(DRAWS, len(points))) * spreads)
    tried = np.vstack([rates, drawn])  # the first is what was measured
    alpha, beta = _fit(sizes, tried)
    fitted = 1.0 / (beta[:, None] + alpha[:, None] / sizes)
    off = np.abs(fitted[0] / rates - 1)
    describes = bool(np.all(off <= np.maximum(MISFIT_SPREADS * spreads, MISFIT)))
    return StepTime(
        overhead_seconds=_interval(alpha),
        seconds_per_sample=_interval(beta),
        knee=_interval(_knees(sizes, fitted if describes else tried)),
        describes=describes,
    )


def knee(points: Sequence[BenchmarkPoint], fitted: StepTime | None) -> int:
    """The smallest batch within 5 % of the best rate: of the fitted line, where it holds."""
    if fitted is not None:
        return int(fitted.knee.value)
    best = max(point.samples_per_second for point in points)
    return min(p.batch_size for p in points if p.samples_per_second >= KNEE_SHARE * best)


def seconds_between(known: Mapping[int, float], batch_size: int) -> float:
    """By the lines from size to size of those timed; beyond them, in proportion. 0 if none was."""
    if not known:
        return 0.0
    sizes = sorted(known)
    within = np.interp(batch_size, [0, *sizes], [0.0, *(known[size] for size in sizes)])
    return float(within) * max(1.0, batch_size / sizes[-1])


def _fit(sizes: Array, rates: Array) -> tuple[Array, Array]:
    """(alpha, beta) of each row of rates, neither negative, by least squares of relative errors."""
    # Each equation is divided by the seconds per sample that were measured.
    a, b = rates / sizes, rates
    aa, ab, bb, sa, sb = (each.sum(axis=1) for each in (a * a, a * b, b * b, a, b))
    determinant = aa * bb - ab * ab
    is_regular = determinant > 1e-12 * aa * bb
    divisor = np.where(is_regular, determinant, 1.0)
    alpha = np.where(is_regular, (bb * sa - ab * sb) / divisor, 0.0)
    beta = np.where(is_regular, (aa * sb - ab * sa) / divisor, sb / bb)
    no_overhead, overhead_alone = alpha < 0, beta < 0
    return (
        np.where(no_overhead, 0.0, np.where(overhead_alone, sa / aa, alpha)),
        np.where(no_overhead, sb / bb, np.where(overhead_alone, 0.0, beta)),
    )


def _knees(sizes: Array, rates: Array) -> Array:
    """Of each row."""
    enough = rates >= KNEE_SHARE * rates.max(axis=1, keepdims=True)
    found: Array = np.where(enough, sizes, np.inf).min(axis=1)
    return found


def _interval(found: Array) -> Interval:
    """Of what was measured, the first, and drawn."""
    value = float(found[0])
    low, high = np.quantile(found[1:], [0.025, 0.975])
    return Interval(value=value, low=min(value, float(low)), high=max(value, float(high)))


def _spreads(points: Sequence[BenchmarkPoint]) -> Array:
    """Relative standard errors, from the intervals."""
    widths = [log(point.high / point.low) / (2 * quantiles.NORMAL) for point in points]
    return np.array([max(width, LEAST_SPREAD) for width in widths])
