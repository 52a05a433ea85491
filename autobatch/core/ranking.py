"""Which candidates to try, and which of those tried are better than which.

Costs are validation metrics made so that lower is better. Times are training seconds: steps times
the measured step time, so that a trial is the same however busy the machine was.
"""

from bisect import bisect_left
from collections.abc import Mapping, Sequence
from math import comb, exp, hypot, log, sqrt
from statistics import geometric_mean as geometric_mean
from typing import TypeVar

import numpy as np

from autobatch.core import luck, quantiles
from autobatch.protocol import Interval

RUNG_BOUNDS = (-8, 12)  # powers of two of the rule's learning rate
EQUIVALENT = 0.02  # of the loss: closer is no practical difference
LEAST_SHARE = 0.01  # of what is learned: a smaller loss is no unit
POWER = 0.84  # standard deviations that four of five runs do not fall short of
MANY_SEEDS = 1000
MANY = 10_000  # degrees of freedom
TIE = 1.1  # a ratio of times closer to 1 than this is of no practical interest


Name = TypeVar("Name")


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
    best = best_rung(costs)
    if best is None:
        lower = min(costs) - 2
        return lower if lower >= RUNG_BOUNDS[0] else None
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


def speedups(
    times: Mapping[Name, Sequence[float]],
    *,
    baseline: Name,
    doubts: Mapping[Name, float] | None = None,
) -> dict[Name, Interval]:
    """Baseline's time over each other candidate's, with simultaneous 95 % intervals.

    `times[name]` has one time per seed, in the same order of seeds. Dunnett's comparisons of log
    times with a control (1955), so that the intervals hold for all candidates at once. Where luck
    is not alike (`core.luck`), Student's t of each one's differences, at Sidak's level. `doubts`
    widen them: half of the 95 % interval of ln of what multiplies all times of a candidate over
    what multiplies the baseline's, its step time, of which seeds tell nothing.
    Needs two candidates and two seeds: one seed has no luck to tell, and ranks nothing.
    """
    found = {}
    for name, (gain, wide) in _gains(logs(times), baseline, doubts or {}).items():
        low, high = map(quantiles.finite_exp, (gain - wide, gain + wide))
        found[name] = Interval(value=exp(gain), low=low, high=high)
    return found


def end_differences(
    costs: Mapping[Name, Sequence[float]],
    *,
    baseline: Name,
    doubts: Mapping[Name, float] | None = None,
    learned: float = 0.0,
) -> dict[Name, Interval]:
    """Final costs less the baseline's, with simultaneous 95 % intervals, as in `speedups`.

    As shares of the baseline's, as in `loss_difference`; `doubts` are of costs.
    """
    found, unit = {}, unit_of(costs[baseline], learned)
    for name, (gain, wide) in _gains(costs, baseline, doubts or {}).items():
        low, high = (-gain - wide) / unit, (wide - gain) / unit
        found[name] = Interval(value=-gain / unit, low=low, high=high)
    return found


def _gains(
    values: Mapping[Name, Sequence[float]], baseline: Name, doubts: Mapping[Name, float]
) -> dict[Name, tuple[float, float]]:
    """By how much each is lower than the baseline, and half of its interval."""
    names, y = list(values), _table(values)
    candidates, seeds = y.shape
    means, own = y.mean(axis=1), names.index(baseline)
    found = {}
    for at, name in enumerate(names):
        if at != own:
            deviation, pooled = luck.of_difference(y, at, own)
            half = _from_one(candidates, seeds, pooled) * deviation / sqrt(seeds)
            wide = with_doubt(half, doubts.get(name, 0.0), candidates - 1)
            found[name] = float(means[own] - means[at]), wide
    return found


def _from_one(candidates: int, seeds: int, pooled: bool) -> float:
    """The bound of all differences from one candidate, in standard errors."""
    others = candidates - 1
    if pooled:
        return quantiles.dunnett(quantiles.CONFIDENCE, others, others * (seeds - 1))
    return quantiles.sidak(quantiles.CONFIDENCE, others, seeds - 1)


def with_doubt(half: float, doubt: float, comparisons: int) -> float:
    """Half of an interval of ln times, and a doubt about one ratio, for all of them at once."""
    at_once = quantiles.dunnett(quantiles.CONFIDENCE, comparisons, MANY)
    return hypot(half, doubt * at_once / quantiles.dunnett(quantiles.CONFIDENCE, 1, MANY))


def told_apart(
    values: Mapping[Name, Sequence[float]], one: Name, other: Name, *, doubt: float = 0.0
) -> bool:
    """Whether two candidates differ, with luck as in `speedups`, by the studentized range.

    Of all pairs at once, since which pair is looked at follows from the values themselves: log
    times, with a `doubt` as in `speedups`, of these two, or final costs, with one of costs.
    """
    names, y = list(values), _table(values)
    candidates, seeds = y.shape
    first, second = names.index(one), names.index(other)
    deviation, pooled = luck.of_difference(y, first, second)
    if pooled:
        degrees = (candidates - 1) * (seeds - 1)
        bound = quantiles.studentized_range(quantiles.CONFIDENCE, candidates, degrees) / sqrt(2)
    else:
        bound = quantiles.sidak(quantiles.CONFIDENCE, comb(candidates, 2), seeds - 1)
    apart = abs(float(y[first].mean() - y[second].mean()))
    return apart > hypot(bound * deviation / sqrt(seeds), doubt)


def logs(times: Mapping[Name, Sequence[float]]) -> dict[Name, list[float]]:
    return {name: [log(time) for time in each] for name, each in times.items()}


def _table(values: Mapping[Name, Sequence[float]]) -> luck.Table:
    """Of shape (candidates, seeds)."""
    y: luck.Table = np.array(list(values.values()), dtype=float)
    return y


def seeds_needed(
    values: Mapping[Name, Sequence[float]],
    one: Name,
    other: Name,
    gain: float,
    *,
    doubt: float = 0.0,
) -> int:
    """Seeds with which `speedups` would tell two apart by `gain`, in four runs of five.

    By the luck that they have in `values`, log times (or of `end_differences`, final costs), with
    as many candidates. MANY_SEEDS: those, or more; also where no number would do, since the doubt
    about step times is as large.
    """
    names, y = list(values), _table(values)
    deviation, pooled = luck.of_difference(y, names.index(one), names.index(other))

    def are_enough(seeds: int) -> bool:
        error = deviation / sqrt(seeds)
        half = _from_one(len(y), seeds, pooled) * error
        return with_doubt(half, doubt, len(y) - 1) + POWER * error <= gain

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
    half = quantiles.student(0.95, count - 1) * float(differences.std(ddof=1)) / sqrt(count)
    mean = float(differences.mean())
    unit = unit_of(baseline, learned)
    return Interval(value=mean / unit, low=(mean - half) / unit, high=(mean + half) / unit)


def unit_of(baseline: Sequence[float], learned: float) -> float:
    return max(abs(float(np.mean(baseline))), LEAST_SHARE * learned) or 1.0
