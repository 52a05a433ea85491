"""Which candidates to try, and which of those tried are better than which.

Costs are validation metrics made so that lower is better. Times are training seconds: steps times
the measured step time, so that a trial is the same however busy the machine was.
"""

from collections.abc import Mapping, Sequence
from functools import cache
from math import exp, inf, log, sqrt
from typing import TypeVar

import numpy as np
from scipy import stats

from autobatch.protocol import Interval

# Of small supervised tasks 200 to 900 (McCandlish et al. 2018, Table 1); the size to try is flat in
# it: a factor of 4 costs at most 12.5 % (design.md 9.1).
FALLBACK_CRITICAL_BATCH = 500.0
MAX_SIZES = 5
RUNG_BOUNDS = (-8, 12)  # powers of two of the rule's learning rate
EVALUATIONS = 18
EVALUATION_RATIO = 0.8  # of successive fractions: dense early, where fast candidates arrive
CONFIDENCE = 0.95
TIE = 1.1  # a ratio of times closer to 1 than this is of no practical interest


Name = TypeVar("Name")


def candidate_sizes(
    step_seconds: Mapping[int, float],
    *,
    baseline: int,
    ceiling: int,
    critical_batch: float = FALLBACK_CRITICAL_BATCH,
) -> list[int]:
    """Up to five measured sizes: baseline, ceiling, and those of least predicted time to target.

    Time to target is proportional to t(B) (1 + B_c / B), with t the measured step time.
    """
    predicted = sorted(
        (size for size in step_seconds if size <= ceiling),
        key=lambda size: step_seconds[size] * (1 + critical_batch / size),
    )
    always = [size for size in dict.fromkeys((baseline, ceiling)) if size in step_seconds]
    others = [size for size in predicted if size not in always]
    return sorted([*always, *others[: MAX_SIZES - len(always)]])


def next_rung(costs: Mapping[int, float | None], *, start: int, stride: int) -> int | None:
    """The next power of two of the learning rate to try at one size; None: the best is bracketed.

    `costs` holds what is known by power (None: diverged). The ladder is extended for as long as the
    best rung is at an edge; with a stride of 2 the gaps beside the best are filled at the end.
    """
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
        if rung in costs or not RUNG_BOUNDS[0] <= rung <= RUNG_BOUNDS[1]:
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
    time (candidate + seed) with one pooled residual; studentized range, so that the intervals hold
    for all pairs at once (science: pooled blocked analysis instead of pairwise tests).
    Needs two candidates and two seeds: one seed has no residual, and ranks nothing.
    """
    names = list(times)
    y = np.log(np.array([times[name] for name in names], dtype=float))
    candidates, seeds = y.shape
    means = y.mean(axis=1)
    residuals = y - means[:, None] - y.mean(axis=0)[None, :] + y.mean()
    degrees = (candidates - 1) * (seeds - 1)
    sigma = sqrt(float((residuals**2).sum()) / degrees)
    half = _studentized_range(candidates, degrees) * sigma / sqrt(seeds)
    reference = float(means[names.index(baseline)])
    found = {}
    for name, mean in zip(names, means, strict=True):
        if name != baseline:
            gain = reference - float(mean)
            found[name] = Interval(value=exp(gain), low=_exp(gain - half), high=_exp(gain + half))
    return found


@cache
def _studentized_range(candidates: int, degrees: int) -> float:
    return float(stats.studentized_range.ppf(CONFIDENCE, candidates, degrees))


def geometric_mean(values: Sequence[float]) -> float:
    return exp(sum(log(value) for value in values) / len(values))


def _exp(value: float) -> float:
    return exp(value) if value < 700 else inf  # exp overflows a float beyond
