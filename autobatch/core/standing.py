"""The finalists against the baseline: how much sooner, or later, each gets to its loss."""

from dataclasses import dataclass, field
from math import inf

from autobatch.core import ranking
from autobatch.core.evidence import Evidence, Setting, Verdict
from autobatch.protocol import Interval

# Of the baseline's trial: what is half as fast still gets there, so that all are timed with all
# their seeds. At the end of the trial only those would be that are sooner, or that were lucky. The
# later ones are for baselines that begin to learn late.
TARGETS_AT = (0.5, 0.75, 1.0)
MANY_STEPS = 50  # to the target: on runs of fewer the hyperbola misleads (test T5)


@dataclass(frozen=True)
class Standing:
    """What the finalists' curves say, against the baseline's."""

    target: float  # a cost that the baseline reaches with every seed
    target_seconds: float  # of its training, in which it does
    times: dict[Setting, list[float]]  # seconds to it, by seed; only of those that reach it always
    speedups: dict[Setting, Interval]  # baseline's time over theirs, simultaneous intervals
    learns: bool = True  # the baseline: with every seed it got below where it started
    # Most seeds of theirs did not get there in the whole trial.
    later: frozenset[Setting] = frozenset()
    # Best cost of the whole trial, against the baseline's, as shares of it; 90 % intervals.
    differences: dict[Setting, Interval] = field(default_factory=dict)

    def seconds(self, setting: Setting) -> float:
        return ranking.geometric_mean(self.times[setting])

    def told_apart(self, one: Setting, other: Setting) -> bool:
        return ranking.told_apart(self.times, one, other)

    def ends_worse(self, setting: Setting) -> bool:
        """Than the baseline after equal time, for certain, however soon it was at the target."""
        found = self.differences.get(setting)
        return found is not None and found.low > ranking.EQUIVALENT

    def ends_better(self, setting: Setting) -> bool:
        found = self.differences.get(setting)
        return found is not None and found.high < -ranking.EQUIVALENT


@dataclass(frozen=True)
class Choice:
    """The setting recommended, and what supports it."""

    setting: Setting
    verdict: Verdict
    speedup: Interval
    tied_with: tuple[int, ...]
    standing: Standing


def standing(evidence: Evidence) -> Standing:
    """Compare the finalists by time to what the baseline has reached in half of its trial.

    Or in more of it, where it was not below where it started until then.
    """
    curves = [curve for curve in evidence.finals[evidence.baseline].values() if curve]
    trial_seconds = max(curve[-1][0] for curve in curves)
    start = min(curve[0][1] for curve in curves)
    for share in TARGETS_AT:
        seconds = share * trial_seconds
        target = max(ranking.cost_at(curve, seconds) for curve in curves)
        if target < start:
            break
    else:
        return Standing(target, seconds, {}, {}, learns=False)  # nothing to be sooner at
    times: dict[Setting, list[float]] = {}
    later = set()
    for setting, by_seed in evidence.finals.items():
        found = [ranking.time_to(curve, target) if curve else None for curve in by_seed.values()]
        shortest = evidence.step_seconds[setting.batch_size]  # a time is one step at least
        reached = [max(seconds, shortest) for seconds in found if seconds is not None]
        if len(reached) == len(by_seed):
            times[setting] = reached
        elif 2 * len(reached) < len(by_seed) and setting not in evidence.failed:
            later.add(setting)
    if evidence.baseline not in times or not evidence.seeds_differ():
        return Standing(target, seconds, times, {})  # one seed alone ranks nothing
    speedups = {}
    if len(times) > 1:
        speedups = ranking.speedups(times, baseline=evidence.baseline)
    return Standing(
        target,
        seconds,
        times,
        speedups,
        later=frozenset(later),
        differences=_differences(evidence),
    )


def _differences(evidence: Evidence) -> dict[Setting, Interval]:
    """Of those that were trained with every seed."""
    costs = {
        setting: [ranking.best_cost(curve) for curve in curves.values() if curve]
        for setting, curves in evidence.finals.items()
    }
    seeds = len(costs[evidence.baseline])
    costs = {setting: found for setting, found in costs.items() if len(found) == seeds}
    if seeds < 2:
        return {}
    return {
        setting: ranking.loss_difference(costs, setting, evidence.baseline)
        for setting in costs
        if setting != evidence.baseline
    }


def steps_to_target(evidence: Evidence, found: Standing) -> list[tuple[float, float]]:
    """(batch size, steps) of the soonest finalist at each size; of those that took many."""
    steps: dict[int, float] = {}
    for setting, times in found.times.items():
        needed = ranking.geometric_mean(times) / evidence.step_seconds[setting.batch_size]
        steps[setting.batch_size] = min(needed, steps.get(setting.batch_size, inf))
    return sorted((size, needed) for size, needed in steps.items() if needed >= MANY_STEPS)
