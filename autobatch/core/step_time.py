"""How long a step takes by its batch: fixed overhead, and time per sample. And so the knee.

A step of batch b takes alpha + beta * b seconds, so that a sample takes beta + alpha / b: a line
in 1 / b. It is fitted by least squares of relative errors, with neither part below zero; its
intervals come from refitting to rates drawn from the intervals that were measured (parametric
bootstrap). Half-saturation is at alpha / beta, where half of each step is overhead.
"""

from collections.abc import Sequence
from math import log

import numpy as np
import numpy.typing as npt

from autobatch.protocol import BenchmarkPoint, Interval, StepTime

KNEE_SHARE = 0.95  # of the best rate
DRAWS = 1000
Z = 1.96  # of a 95 % interval
LEAST_SPREAD = 0.005  # relative: no rate is known better than that from one process to the next
MISFIT_SPREADS, MISFIT = 3.0, 0.05  # a point further off than both is not on the line
MIN_SIZES = 3
LEAST_SECONDS = 1e-15  # per sample: keeps the quotient finite where nothing grows with the batch

Array = npt.NDArray[np.float64]


def step_time(points: Sequence[BenchmarkPoint]) -> StepTime | None:
    """The fit to all points; None for fewer than three."""
    if len(points) < MIN_SIZES:
        return None
    sizes, rates = _sizes(points), _rates(points)
    spreads = _spreads(points)
    rng = np.random.default_rng(0)
    drawn = rates * np.exp(rng.normal(size=(DRAWS, len(points))) * spreads)
    fits = np.array([_fit(sizes, row) for row in drawn])
    alpha, beta = _fit(sizes, rates)
    off = np.abs(_fitted_rates(sizes, alpha, beta) / rates - 1)
    describes = bool(np.all(off <= np.maximum(MISFIT_SPREADS * spreads, MISFIT)))
    knees = [
        _knee(sizes, _fitted_rates(sizes, *fit) if describes else row)
        for fit, row in zip(fits, drawn, strict=True)
    ]
    best = _knee(sizes, _fitted_rates(sizes, alpha, beta) if describes else rates)
    halves = fits[:, 0] / np.maximum(fits[:, 1], LEAST_SECONDS)
    half = alpha / max(beta, LEAST_SECONDS)
    return StepTime(
        overhead_seconds=_interval(alpha, fits[:, 0]),
        seconds_per_sample=_interval(beta, fits[:, 1]),
        half_saturation_batch=_interval(half, halves),
        knee=_interval(best, np.array(knees)),
        describes=describes,
    )


def knee(points: Sequence[BenchmarkPoint], fitted: StepTime | None) -> int:
    """The smallest batch within 5 % of the best rate: of the fitted line, where it holds."""
    if fitted is not None:
        return int(fitted.knee.value)
    best = max(point.samples_per_second for point in points)
    return min(p.batch_size for p in points if p.samples_per_second >= KNEE_SHARE * best)


def _fit(sizes: Array, rates: Array) -> tuple[float, float]:
    """(alpha, beta), neither negative, by least squares of relative errors."""
    # Each row of the problem is divided by the seconds per sample that were measured.
    a, b = rates / sizes, rates
    aa, ab, bb, sa, sb = a @ a, a @ b, b @ b, a.sum(), b.sum()
    determinant = aa * bb - ab * ab
    alpha = (bb * sa - ab * sb) / determinant if determinant > 1e-12 * aa * bb else 0.0
    beta = (aa * sb - ab * sa) / determinant if determinant > 1e-12 * aa * bb else sb / bb
    if alpha < 0:
        return 0.0, float(sb / bb)
    if beta < 0:
        return float(sa / aa), 0.0
    return float(alpha), float(beta)


def _fitted_rates(sizes: Array, alpha: float, beta: float) -> Array:
    return 1.0 / (np.full_like(sizes, beta) + alpha / sizes)


def _knee(sizes: Array, rates: Array) -> float:
    return float(sizes[rates >= KNEE_SHARE * rates.max()].min())


def _interval(value: float, drawn: Array) -> Interval:
    low, high = np.quantile(drawn, [0.025, 0.975])
    return Interval(value=value, low=min(value, float(low)), high=max(value, float(high)))


def _sizes(points: Sequence[BenchmarkPoint]) -> Array:
    return np.array([point.batch_size for point in points], float)


def _rates(points: Sequence[BenchmarkPoint]) -> Array:
    return np.array([point.samples_per_second for point in points])


def _spreads(points: Sequence[BenchmarkPoint]) -> Array:
    """Relative standard errors, from the intervals."""
    widths = [log(point.high / point.low) / (2 * Z) for point in points]
    return np.array([max(width, LEAST_SPREAD) for width in widths])
