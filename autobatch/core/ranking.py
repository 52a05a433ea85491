"""Which candidates to try, and which of those tried are better than which.

Costs are validation metrics made so that lower is better. Times are training seconds: steps times
the measured step time, so that a trial is the same however busy the machine was.
"""

from bisect import bisect_left
from collections.abc import Mapping, Sequence
from functools import cache
from math import exp, inf, log, sqrt
from typing import TypeVar

import numpy as np
import numpy.typing as npt
from scipy import optimize, special

from autobatch.core import student
from autobatch.protocol import Interval

MAX_SIZES = 5
RUNG_BOUNDS = (-8, 12)  # powers of two of the rule's learning rate
EVALUATIONS = 18
EVALUATION_RATIO = 0.75  # of successive fractions: the first is 1 % of a trial
CONFIDENCE = 0.95
EQUIVALENT = 0.02  # of the loss: closer is no practical difference
POWER = 0.84  # standard deviations that four of five runs do not fall short of
MANY_SEEDS = 1000
NODES = 64  # of each integral
TIE = 1.1  # a ratio of times closer to 1 than this is of no practical interest


Name = TypeVar("Name")


def candidate_sizes(
    step_seconds: Mapping[int, float],
    *,
    baseline: int,
    ceiling: int,
    critical_batch: float,
) -> list[int]:
    """Up to five measured sizes: the baseline's, the largest, those of least predicted time.

    Time to target is proportional to t(B) (1 + B_c / B), with t the measured step time. It is flat:
    a critical batch that is a factor of 4 off costs at most 12.5 %.
    """
    predicted = sorted(
        (size for size in step_seconds if size <= ceiling),
        key=lambda size: step_seconds[size] * (1 + critical_batch / size),
    )
    largest = max(predicted, default=baseline)
    always = [size for size in dict.fromkeys((baseline, largest)) if size in step_seconds]
    others = [size for size in predicted if size not in always]
    return sorted([*always, *others[: MAX_SIZES - len(always)]])


def next_rung(
    costs: Mapping[int, float | None],
    *,
    start: int,
    stride: int,
    highest: int = RUNG_BOUNDS[1],
) -> int | None:
    """The next power of two of the learning rate to try at one size; None: the best is bracketed.

    `costs` holds what is known by power (None: diverged). The ladder is extended for as long as the
    best rung is at an edge; with a stride of 2 the gaps beside the best are filled at the end.
    """
    start = min(start, highest)
    if start not in costs:
        return start
    finite = {rung: cost for rung, cost in costs.items() if cost is not None}
    if not finite:
        lower = min(costs) - 2
        return lower if lower >= RUNG_BOUNDS[0] else None
    best = min(finite, key=lambda rung: (finite[rung], rung))
    for step in (stride, -stride, 1, -1):
        rung = best + step
        beyond = max(costs) if step > 0 else min(costs)
        at_edge = best == beyond
        if rung in costs or not RUNG_BOUNDS[0] <= rung <= highest:
            continue
        if abs(step) == 1 or at_edge:
            return rung
    return None


def best_rung(costs: Mapping[int, float | None]) -> int | None:
    """The rung of least cost, the lower of equals; None if everything diverged."""
    finite = {rung: cost for rung, cost in costs.items() if cost is not None}
    return min(finite, key=lambda rung: (finite[rung], rung)) if finite else None


def breaks_down_next(costs: Mapping[int, float | None], rung: int, initial_cost: float) -> bool:
    """Whether training at twice the rate of `rung` broke down: diverged, or lost over half of the
    progress that was made at `rung`.

    Near that rate luck decides: theory has training diverge at about twice the best rate
    (McCandlish et al. 2018, arXiv 1812.06162).
    """
    if rung + 1 not in costs:
        return False
    cost, beyond = costs[rung], costs[rung + 1]
    return cost is None or beyond is None or beyond > (cost + initial_cost) / 2


def evaluation_steps(steps: int) -> tuple[int, ...]:
    """0, and steps whose fractions of the whole fall by a constant ratio."""
    fractions = [EVALUATION_RATIO**k for k in range(EVALUATIONS)]
    return tuple(sorted({0, *(max(1, round(steps * fraction)) for fraction in fractions)}))


def time_to(curve: Sequence[tuple[float, float]], target: float) -> float | None:
    """Seconds until the cost is first at or below `target`; None if it never is.

    `curve` holds (seconds, cost). Costs are taken as their running minimum, and read between
    evaluations by a straight line.
    """
    before_seconds, before_cost = 0.0, inf
    for seconds, cost in curve:
        if cost <= target:
            if before_cost in (inf, cost):
                return seconds
            share = (before_cost - target) / (before_cost - cost)
            return before_seconds + share * (seconds - before_seconds)
        if cost < before_cost:
            before_cost = cost
        before_seconds = seconds
    return None


def best_cost(curve: Sequence[tuple[float, float]]) -> float:
    return min(cost for _, cost in curve)


def speedups(times: Mapping[Name, Sequence[float]], *, baseline: Name) -> dict[Name, Interval]:
    """Baseline's time over each other candidate's, with simultaneous 95 % intervals.

    `times[name]` has one time per seed, in the same order of seeds. A two-way additive model of log
    time (candidate + seed) with one pooled residual; Dunnett's comparisons with a control (1955),
    so that the intervals hold for all candidates at once.
    Needs two candidates and two seeds: one seed has no residual, and ranks nothing.
    """
    names, y = list(times), _log(times)
    candidates, seeds = y.shape
    means = y.mean(axis=1)
    sigma, degrees = _residual(y)
    half = _dunnett(candidates - 1, degrees) * sigma * sqrt(2 / seeds)
    reference = float(means[names.index(baseline)])
    found = {}
    for name, mean in zip(names, means, strict=True):
        if name != baseline:
            gain = reference - float(mean)
            found[name] = Interval(value=exp(gain), low=_exp(gain - half), high=_exp(gain + half))
    return found


def told_apart(times: Mapping[Name, Sequence[float]], one: Name, other: Name) -> bool:
    """Whether two candidates' times differ, in the same model, by the studentized range.

    Of all pairs at once, since which pair is looked at follows from the times themselves.
    """
    y = _log(times)
    candidates, seeds = y.shape
    sigma, degrees = _residual(y)
    half = _studentized_range(candidates, degrees) * sigma / sqrt(seeds)
    return abs(log(geometric_mean(times[one]) / geometric_mean(times[other]))) > half


def _log(times: Mapping[Name, Sequence[float]]) -> npt.NDArray[np.float64]:
    """Of shape (candidates, seeds)."""
    y: npt.NDArray[np.float64] = np.log(np.array(list(times.values()), dtype=float))
    return y


def _residual(y: npt.NDArray[np.float64]) -> tuple[float, int]:
    """(standard deviation, degrees of freedom) of what (candidate, seed) leave of `y`."""
    candidates, seeds = y.shape
    left = y - y.mean(axis=1)[:, None] - y.mean(axis=0)[None, :] + y.mean()
    degrees = (candidates - 1) * (seeds - 1)
    return sqrt(float((left**2).sum()) / degrees), degrees


def seeds_needed(times: Mapping[Name, Sequence[float]], ratio: float) -> int:
    """Seeds with which `speedups` would tell times apart by `ratio`, in four runs of five.

    By the residual of `times`, with as many candidates. MANY_SEEDS: those, or more.
    """
    y = _log(times)
    sigma, _ = _residual(y)

    def are_enough(seeds: int) -> bool:
        quantile = _dunnett(len(y) - 1, (len(y) - 1) * (seeds - 1))
        return sigma * (quantile + POWER) * sqrt(2 / seeds) <= abs(log(ratio))

    return 2 + bisect_left(range(2, MANY_SEEDS), True, key=are_enough)


def loss_difference(
    costs: Sequence[float], baseline: Sequence[float], *, learned: float = 0.0
) -> Interval:
    """Mean of paired differences of final costs, by seed, with their 90 % interval (Student's t).

    As shares of the baseline's cost (of a hundredth of what it `learned` at least, in the cost's
    unit: a likelihood may end near 0). Inside EQUIVALENT on both sides, the two are equivalent: two
    one-sided tests at 5 %.
    """
    differences = np.array(costs, dtype=float) - np.array(baseline, dtype=float)
    count = len(differences)
    half = student.quantile(0.95, count - 1) * float(differences.std(ddof=1)) / sqrt(count)
    mean = float(differences.mean())
    unit = max(abs(float(np.mean(baseline))), 0.01 * learned) or 1.0
    return Interval(value=mean / unit, low=(mean - half) / unit, high=(mean + half) / unit)


def cost_at(curve: Sequence[tuple[float, float]], seconds: float) -> float:
    """Best cost so far at `seconds`, read between evaluations by a straight line."""
    times, costs = np.array(curve).T
    return float(np.interp(seconds, times, np.minimum.accumulate(costs)))


@cache
def _studentized_range(candidates: int, degrees: int) -> float:
    from scipy import stats  # takes a second, and few runs ask for it

    return float(stats.studentized_range.ppf(CONFIDENCE, candidates, degrees))


@cache
def _dunnett(comparisons: int, degrees: int) -> float:
    """The bound that so many differences from one control, each over its standard error, keep.

    All at once, on both sides. They share the control's mean, z, and the residual, s; given these
    they are independent (Dunnett 1955, equation 12).
    """
    z, of_z = np.polynomial.hermite_e.hermegauss(NODES)
    shares, of_s = np.polynomial.legendre.leggauss(NODES)
    s = np.sqrt(special.chdtri(degrees, (1 - shares) / 2) / degrees)[:, None]

    def beyond(bound: float) -> float:
        wide = sqrt(2) * bound * s
        within = (special.ndtr(z + wide) - special.ndtr(z - wide)) ** comparisons
        return CONFIDENCE - float(of_s @ within @ of_z / (of_s.sum() * of_z.sum()))

    return float(optimize.brentq(beyond, 1.0, 100.0))


def geometric_mean(values: Sequence[float]) -> float:
    return exp(sum(log(value) for value in values) / len(values))


def _exp(value: float) -> float:
    return exp(value) if value < 700 else inf  # exp overflows a float beyond
