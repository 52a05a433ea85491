"""By how much finalists end lower than the baseline, after equal training time."""

from math import log

from autobatch.core import learning_curves, ranking
from autobatch.core.evidence import Evidence, Setting
from autobatch.core.warmup_stable_decay import DECAY
from autobatch.protocol import Interval

LONGER = 1.5  # times a first trial: of less, luck of its one seed would be taken for progress


def differences(evidence: Evidence) -> dict[Setting, Interval]:
    """Each paired with the baseline alone: one that ends anywhere would widen all intervals."""
    found = costs(evidence)
    own = found.pop(evidence.baseline)
    if len(own) < 2:
        return {}
    return {
        setting: ranking.loss_difference(each, own, learned=learned(evidence))
        for setting, each in found.items()
    }


def ends(evidence: Evidence) -> dict[Setting, Interval]:
    """The same of all at once, for those of which to say that one of them is better."""
    found = costs(evidence)
    if len(found) < 2:
        return {}
    doubts = {setting: doubt(evidence, setting, evidence.baseline) for setting in found}
    return ranking.end_differences(
        found, baseline=evidence.baseline, doubts=doubts, learned=learned(evidence)
    )


def costs(evidence: Evidence) -> dict[Setting, list[float]]:
    """What trials came to, by seed, of those that were trained with every seed of the baseline."""
    found = {
        setting: {seed: evidence.reading.cost(curve) for seed, curve in curves.items() if curve}
        for setting, curves in evidence.finals.items()
    }
    own = found[evidence.baseline]
    return {s: [each[k] for k in own] for s, each in found.items() if own.keys() <= each.keys()}


def doubt(evidence: Evidence, one: Setting, other: Setting) -> float:
    """About their difference: step times leave in doubt how many steps trials should have had."""
    return _slope(evidence) * evidence.step_doubt(one, other)


def _slope(evidence: Evidence) -> float:
    """By how much the baseline's cost falls in e times the training, the most that was seen.

    While its rate stayed, where noise may hide what is learned. And from the end of its first
    trial, which anneals in less time, to the ends of the others.
    """
    curves = [curve for curve in evidence.finals[evidence.baseline].values() if curve]
    fell = 0.0
    for curve in curves:
        stays = (1 - DECAY) * curve[-1][0]
        fell += learning_curves.cost_at(curve, stays / 2) - learning_curves.cost_at(curve, stays)
    at_its_rate = fell / len(curves) / log(2)
    first, first_seconds = evidence.first.get(evidence.baseline), evidence.first_seconds
    if first is None or not 0 < LONGER * first_seconds <= evidence.final_seconds:
        return at_its_rate
    end = sum(map(evidence.reading.cost, curves)) / len(curves)
    return max(at_its_rate, abs(first - end) / log(evidence.final_seconds / first_seconds))


def in_the_metric(evidence: Evidence, share: Interval) -> Interval:
    """A difference of ends in the metric's own unit, and with its sign."""
    return share.times(evidence.shown(unit(evidence)))


def unit(evidence: Evidence) -> float:
    """What differences are shares of."""
    return ranking.unit_of(costs(evidence)[evidence.baseline], learned(evidence))


def learned(evidence: Evidence) -> float:
    """By how much the baseline's cost falls, the mean of its seeds."""
    curves = [curve for curve in evidence.finals[evidence.baseline].values() if curve]
    return sum(curve[0][1] - evidence.reading.cost(curve) for curve in curves) / len(curves)
