"""The curves of trials: where they are evaluated, and how they are read.

A curve holds (training seconds, cost), from the untrained model on. Costs are validation metrics
made so that lower is better. Times are steps times the measured step time, so that a trial is the
same however busy the machine was.
"""

from collections.abc import Iterable, Sequence
from math import inf

import numpy as np

Curve = list[tuple[float, float]]

EVALUATIONS = 18  # of a finalist's trial, beside that of the untrained model
FIRST_EVALUATIONS = 5  # of a first trial
MORE_EVALUATIONS = EVALUATIONS / FIRST_EVALUATIONS - 1  # of a finalist's, in those of a first trial
EVALUATION_RATIO = 0.75  # of successive fractions: a finalist's first is 1 % of its trial


def evaluation_steps(steps: int, *, is_final: bool, late: Sequence[float] = ()) -> tuple[int, ...]:
    """0, and steps whose fractions of all fall by a constant ratio.

    Of a first trial every second, down to a tenth: what it is ranked by is how it ends. Of a
    finalist's, `late` fractions stand in place of as many of the earliest.
    """
    exponents = range(0, FIRST_EVALUATIONS * 2, 2)
    if is_final:
        exponents = range(EVALUATIONS - len(late))
    fractions = [EVALUATION_RATIO**k for k in exponents] + [*late] * is_final
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


def steadied(curve: Sequence[tuple[float, float]]) -> list[tuple[float, float]]:
    """Each cost but the first and the last as the median of it and its neighbours.

    At high rates the loss goes up and down from evaluation to evaluation, and the least of them
    would be at a target by luck, with nearly every seed (bench/null.py). What falls stays as it is.
    """
    times, costs = np.array(curve).T
    costs[1:-1] = np.median([costs[:-2], costs[1:-1], costs[2:]], axis=0)
    return list(zip(times.tolist(), costs.tolist(), strict=True))


def until(
    curve: Sequence[tuple[float, float]], seconds: float, *, stays: bool = False
) -> list[tuple[float, float]]:
    """What of it was seen by `seconds`, where it went on longer.

    By a straight line to what was seen next; or, where it `stays` from then on since its learning
    rate is 0, by that alone.
    """
    before = [point for point in curve if point[0] <= seconds]
    if len(before) < len(curve) and before[-1][0] < seconds:
        times, costs = np.array(curve).T
        later = curve[len(before)][1]
        before.append((seconds, later if stays else float(np.interp(seconds, times, costs))))
    return before


def best_cost(curve: Sequence[tuple[float, float]]) -> float:
    return min(cost for _, cost in curve)


def last_cost(curve: Sequence[tuple[float, float]]) -> float:
    return curve[-1][1]


def only_cost(curves: Iterable[Curve]) -> float | None:
    """The cost that all of them have throughout; None where any differs, or there is none."""
    costs = {cost for curve in curves for _, cost in curve}
    return costs.pop() if len(costs) == 1 else None


def cost_at(curve: Sequence[tuple[float, float]], seconds: float) -> float:
    """Best cost so far at `seconds`, read between evaluations by a straight line."""
    times, costs = np.array(curve).T
    return float(np.interp(seconds, times, np.minimum.accumulate(costs)))
