"""The gradient noise scale, in samples: the batch at which a gradient is as much noise as signal.

B_simple = tr(Sigma) / |G|^2, with G the true gradient and Sigma the covariance of one sample's
(McCandlish et al. 2018, arXiv 1812.06162). Both parts are estimated without bias from the gradients
of micro-batches at fixed weights, and divided last: a mean of ratios is biased. The signal is the
hard part; where it cannot be told from noise, a lower bound is given, never a clamped number.
"""

from collections.abc import Sequence
from math import exp, isfinite, log, sqrt

import numpy as np
import numpy.typing as npt
from scipy.special import log_ndtr

from autobatch.core import quantiles
from autobatch.protocol import GradientMoments, Interval, NoiseScale, changed

BOUND_CONFIDENCE = 0.99  # nominal, of a lower bound: covers 92 to 98 %
ENOUGH = 4.0  # samples measured, in noise scales: fewer cannot resolve the signal
LEAST_SIZES = 3  # that were timed, to learn the critical batch from
LEAST_GROUPS = 4  # of micro-batches, for an interval
WHOLE = 0.99  # of the training samples, measured: their mean gradient is then known

# Of small supervised tasks 200 to 900 (McCandlish et al. 2018, Table 1).
FALLBACK_CRITICAL_BATCH, FALLBACK_FACTOR = 500.0, 6.0
# By how much the noise scale misses the critical batch there: one standard deviation.
CRITICAL_FACTOR = 4.0
STEPS_SPREAD = 0.12  # of ln(steps), the least: how well the hyperbola holds (quadratic model)
GRID = np.linspace(log(0.1), log(1e7), 2001)  # of ln B_c

Array = npt.NDArray[np.float64]


def estimates(moments: GradientMoments, without: int | None = None) -> tuple[float, float]:
    """Unbiased (tr(Sigma), |G|^2) of all groups of micro-batches, or of all but one.

    With the correction for a finite population, of which samples are drawn without replacement.
    """
    keep = [k for k in range(len(moments.micro_batches)) if k != without]
    count = sum(moments.micro_batches[k] for k in keep)
    mean_square = sum(moments.squared_norms[k] for k in keep) / count
    gram = np.array(moments.gram)[np.ix_(keep, keep)]
    square_mean = float(gram.sum()) / count**2
    trace = moments.batch_size * count / (count - 1) * (mean_square - square_mean)
    signal = (count * square_mean - mean_square) / (count - 1)
    return trace, signal + trace / moments.training_samples


def noise_scale(moments: GradientMoments) -> NoiseScale:
    """tr(Sigma) / |G|^2 with its interval, or a lower bound where the signal is not resolved.

    Intervals are those of the jackknife that leaves out one group at a time, in the logarithm.
    """
    groups = len(moments.micro_batches)
    samples = moments.batch_size * sum(moments.micro_batches)
    found = NoiseScale(
        value=None,
        low=0.0,
        high=None,
        samples=samples,
        step=moments.step,
        preconditioned=moments.preconditioned,
    )
    if groups < LEAST_GROUPS:
        return found
    trace, signal = estimates(moments)
    if trace <= 0 or not isfinite(trace):
        return found  # all gradients are equal, or none is a number: nothing can be said
    parts = [estimates(moments, without=k) for k in range(groups)]
    whole = samples >= WHOLE * moments.training_samples
    signal_error = _jackknife([s for _, s in parts])
    if signal > 0 and all(t > 0 and s > 0 for t, s in parts):
        value = trace / signal
        quantile = quantiles.two_sided(groups - 1)
        factor = quantiles.finite_exp(quantile * _jackknife([log(t / s) for t, s in parts]))
        resolved = signal - quantile * signal_error > 0 and samples >= ENOUGH * value
        if resolved or whole:
            return changed(found, value=value, low=value / factor, high=value * factor)
    upper = signal + quantiles.student(BOUND_CONFIDENCE, groups - 1) * signal_error
    return changed(found, low=trace / upper if upper > 0 else 0.0)


def _jackknife(values: list[float]) -> float:
    """Standard error, from the values that leave out one group each."""
    count = len(values)
    return sqrt((count - 1) / count * float(((np.array(values) - np.mean(values)) ** 2).sum()))


def critical_batch(
    noise: NoiseScale | None, steps_to_target: Sequence[tuple[float, float]] = ()
) -> Interval:
    """The batch at which training takes twice the least steps: what is known of it, at 95 %.

    The prior is the noise scale, known within a factor of 4 of it; or 500 within a factor of 6,
    above the bound where there is one. `steps_to_target` holds (batch size, steps), which follow
    S_min (1 + B_c / B); three sizes at least tell something of it.
    """
    if noise is not None and noise.value is not None and noise.high is not None:
        spread = (log(noise.high) - log(noise.low)) / (2 * quantiles.NORMAL)
        prior = _log_normal(log(noise.value), sqrt(spread**2 + log(CRITICAL_FACTOR) ** 2))
    else:
        prior = _log_normal(log(FALLBACK_CRITICAL_BATCH), log(FALLBACK_FACTOR))
        if noise is not None and noise.low > 0:
            prior = prior + log_ndtr((GRID - log(noise.low)) / (log(CRITICAL_FACTOR) / 2))
    posterior = prior + _likelihood(steps_to_target)
    weights = np.exp(posterior - posterior.max())
    cumulated = np.cumsum(weights) / weights.sum()
    low, middle, high = np.interp([0.025, 0.5, 0.975], cumulated, GRID)
    return Interval(value=exp(middle), low=exp(low), high=exp(high))


def _log_normal(mean: float, deviation: float) -> Array:
    """ln of the density at each of GRID, up to a constant."""
    return -0.5 * ((GRID - mean) / deviation) ** 2


def _misfits(steps_to_target: Sequence[tuple[float, float]]) -> Array:
    """(GRID, sizes): what is left of ln(steps) at each B_c, with the best S_min for it."""
    sizes, steps = np.array(steps_to_target).T
    off: Array = np.log(steps)[None, :] - np.log1p(np.exp(GRID)[:, None] / sizes[None, :])
    off -= off.mean(axis=1, keepdims=True)
    return off


def _likelihood(steps_to_target: Sequence[tuple[float, float]]) -> Array:
    """Of ln B_c, with the least number of steps left free."""
    if len(steps_to_target) < LEAST_SIZES:
        return np.zeros_like(GRID)
    squares = (_misfits(steps_to_target) ** 2).sum(axis=1)
    spread = max(STEPS_SPREAD, sqrt(float(squares.min()) / (len(steps_to_target) - 2)))
    likelihood: Array = -squares / (2 * spread**2)
    return likelihood
