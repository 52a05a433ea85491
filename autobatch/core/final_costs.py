"""By how much finalists end lower than the baseline, after equal training time."""

from math import log

from autobatch.core import learning_curves, ranking
from autobatch.core.evidence import Evidence, Setting
from autobatch.core.warmup_stable_decay import DECAY
from autobatch.protocol import Interval


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
    return {s: [each[k] for k in own] for s, each in found.items() if each.keys() == own.keys()}


def doubt(evidence: Evidence, one: Setting, other: Setting) -> float:
    """About their difference, as step times leave in doubt how many steps a trial should have had.

    By how the baseline's cost fell while its rate stayed.
    """
    curves = [curve for curve in evidence.finals[evidence.baseline].values() if curve]
    fell = 0.0
    for curve in curves:
        stays = (1 - DECAY) * curve[-1][0]
        fell += learning_curves.cost_at(curve, stays / 2) - learning_curves.cost_at(curve, stays)
    return fell / len(curves) / log(2) * evidence.step_doubt(one, other)


def learned(evidence: Evidence) -> float:
    """By how much the baseline's cost falls, the mean of its seeds."""
    curves = [curve for curve in evidence.finals[evidence.baseline].values() if curve]
    return sum(curve[0][1] - evidence.reading.cost(curve) for curve in curves) / len(curves)
