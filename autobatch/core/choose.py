"""Measurements of trials -> the setting that is recommended, and the verdict on it."""

from collections.abc import Collection, Iterable, Mapping
from typing import Literal

from autobatch.core import ending, ranking
from autobatch.core.evidence import Evidence, Setting, Verdict
from autobatch.core.standing import Choice, Reached, Standing, onward, standing
from autobatch.protocol import Interval

PARITY = Interval(value=1.0, low=1.0, high=1.0)


def choose(
    evidence: Evidence,
    *,
    ceiling: int,
    prefer: Literal["small", "large"] = "small",
    unverified: Mapping[int, str] = {},
) -> Choice:
    """Of the settings that are sooner at the baseline's loss, the one that goes on soonest.

    `better` needs the whole interval above 1; it is the one that is told, since an interval of the
    chosen alone would take no account of the choice. And it needs that after equal time it is not
    worse than the baseline, for certain. What then loses again much of what it has learned, and
    ends above the baseline, is chosen only where nothing else is better. `tie`: nothing tried is
    more than 10 % sooner than it, for certain, or ends better; the baseline stays. Otherwise
    `inconclusive`: what is likely to be better is chosen, and where nothing is, the baseline stays.
    (To change only to what is proven better gives away what is likely: such a rule has the larger
    regret; Manski 2004, Econometrica 72. Measured by bench/null.py.) Of annealed trials, what ends
    lower for certain is `better`, however soon it was anywhere.
    """
    reasons = {s: _why_of_no_use(s, evidence, ceiling, unverified) for s in evidence.finals}
    unusable = {setting: why for setting, why in reasons.items() if why}
    of_all = standing(evidence)
    found = of_all.without(unusable)
    compared = found.ends if evidence.reading.anneals else found.speedups
    better = [s for s in compared if found.is_better(s)]
    better = [s for s in better if not evidence.goes_wrong(s)] or better
    sound = [s for s in compared if not (found.ends_worse(s) or evidence.goes_wrong(s))]
    verdict: Verdict = "better"
    further: Reached | None = None
    if not better:
        verdict = "tie" if _none_is_sooner(evidence, found, unusable) else "inconclusive"
    likely = [s for s in sound if verdict == "inconclusive" and found.is_likely_better(s)]
    among, others = (better, sound) if better else (likely, [*sound, evidence.baseline])
    if not among:
        setting, alike = evidence.baseline, [s for s in sound if found.is_alike(s)]
    elif evidence.reading.anneals:
        setting = ending.chosen(evidence, found, among, prefer)
        alike = ending.not_told_apart(evidence, setting, others)
    else:
        going_on = onward(evidence, found, among)
        setting, alike = _soonest(evidence, found, going_on, among, others, prefer)
        further = going_on if len(among) > 1 else None
    ties = sorted(s for s in alike if s.batch_size != setting.batch_size)
    return Choice(
        setting=setting,
        verdict=verdict,
        speedup=found.speedups.get(setting, PARITY),
        tied_with=tuple(ties),
        standing=found,
        of_all=of_all,
        onward=further,
        unverified=unverified,
        unusable=unusable,
    )


def _soonest(
    evidence: Evidence,
    found: Standing,
    going_on: Reached,
    better: Collection[Setting],
    sound: Iterable[Setting],
    prefer: Literal["small", "large"],
) -> tuple[Setting, list[Setting]]:
    """Of those within 10 % of the one that goes on soonest, and what cannot be told apart from it.

    The smallest batch, which is robust to errors of the learning rate and needs least memory; or
    the largest. Half its learning rate, if twice its rate no longer learns and the half is within
    10 % of it, too.
    """
    seconds = {s: going_on.seconds(s) for s in going_on.times}
    as_good = [s for s in seconds if seconds[s] <= ranking.TIE * min(seconds.values())]
    sign = -1 if prefer == "large" else 1
    chosen = min(as_good, key=lambda s: (sign * s.batch_size, seconds[s]))

    def compared(one: Setting, other: Setting) -> Reached:
        """What gets there with some seeds only is judged earlier."""
        return going_on if {one, other} <= going_on.times.keys() else found

    def are_alike(one: Setting, other: Setting) -> bool:
        """For all that the seeds can tell."""
        times, doubt = ranking.logs(compared(one, other).times), evidence.step_doubt(one, other)
        return other not in going_on.later and not ranking.told_apart(
            times, one, other, doubt=doubt
        )

    safer = Setting(chosen.batch_size, chosen.rung - 1)
    if evidence.on_the_brink(chosen) and safer in better and safer not in going_on.later:
        by = compared(chosen, safer)
        if by.seconds(safer) <= ranking.TIE * by.seconds(chosen):
            chosen = safer
    others = [s for s in sound if s.batch_size != chosen.batch_size]
    return chosen, [s for s in others if are_alike(chosen, s)]


def _why_of_no_use(
    setting: Setting, evidence: Evidence, ceiling: int, unverified: Mapping[int, str]
) -> str:
    """Empty where it is of use: as the user's own size, which is what stays otherwise, always is.

    What was tried was at most as large as the ceiling then was: it is lowered where memory ran out.
    """
    size = setting.batch_size
    if size == evidence.baseline.batch_size:
        return ""
    if size in unverified:
        return f"did not pass a verification of its own ({unverified[size]})"
    return "is larger than one at which memory ran out" if size > ceiling else ""


def _none_is_sooner(evidence: Evidence, found: Standing, unusable: Collection[Setting]) -> bool:
    """Whether for certain no other finalist is more than 10 % sooner than the baseline.

    And that none ends better; of annealed trials, that none does by more than 2 %.
    """
    own = evidence.baseline
    others = [s for s in evidence.finals if s != own and s not in unusable]
    seeds = len(evidence.finals[own])
    return bool(others) and all(found.is_no_better(s, seeds) for s in others)
