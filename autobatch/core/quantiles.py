"""How far chance goes: quantiles, by which differences of few values get their intervals.

Not by scipy.stats, where it can be helped: it takes a second to import, of each command.
"""

from functools import cache
from math import exp, sqrt

import numpy as np
from scipy import optimize, special

NODES = 64  # of each integral
LARGEST = 300.0  # whose exp, times anything measured, is a float
CONFIDENCE = 0.95  # of intervals
NORMAL = 1.96  # standard deviations, each way, of such an interval of a normal number


def finite_exp(value: float) -> float:
    """A bound that is a number, however wide the interval: JSON knows no infinity."""
    return exp(min(value, LARGEST))


def student(share: float, degrees: int) -> float:
    """What Student's t, of so many degrees of freedom, is below with a probability of `share`."""
    return float(special.stdtrit(degrees, share))


def two_sided(degrees: int, share: float = CONFIDENCE) -> float:
    """What Student's t is within, on both sides of 0, with a probability of `share`."""
    return student((1 + share) / 2, degrees)


def fisher(share: float, numerator: int, denominator: int) -> float:
    """What the ratio of two variances, of so many degrees of freedom each, is below."""
    return float(special.fdtri(numerator, denominator, share))


def sidak(share: float, comparisons: int, degrees: int) -> float:
    """The bound that so many differences, each over its own standard error, keep.

    All at once, on both sides, with a probability of `share` at least, whatever they have in common
    (Sidak 1967, Journal of the American Statistical Association 62, page 626).
    """
    return two_sided(degrees, share ** (1 / comparisons))


@cache
def dunnett(share: float, comparisons: int, degrees: int) -> float:
    """The bound that so many differences from one control, each over its standard error, keep.

    All at once, on both sides, with a probability of `share`. They share the control's mean, z, and
    the residual, s; given these they are independent (Dunnett 1955, equation 12).
    """
    z, of_z = np.polynomial.hermite_e.hermegauss(NODES)
    shares, of_s = np.polynomial.legendre.leggauss(NODES)
    s = np.sqrt(special.chdtri(degrees, (1 - shares) / 2) / degrees)[:, None]

    def beyond(bound: float) -> float:
        wide = sqrt(2) * bound * s
        within = (special.ndtr(z + wide) - special.ndtr(z - wide)) ** comparisons
        return share - float(of_s @ within @ of_z / (of_s.sum() * of_z.sum()))

    return float(optimize.brentq(beyond, 1.0, 100.0))


@cache
def studentized_range(share: float, candidates: int, degrees: int) -> float:
    """What the range of so many means, over their standard error, is below."""
    from scipy import stats  # few runs ask for it

    return float(stats.studentized_range.ppf(share, candidates, degrees))
