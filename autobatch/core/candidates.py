"""Every setting that was tried, and what became of it."""

from math import inf

from autobatch.core import final_costs, learning_curves, ranking
from autobatch.core.evidence import Evidence, Setting
from autobatch.core.standing import Choice
from autobatch.protocol import Candidate


def _failure(evidence: Evidence, setting: Setting) -> tuple[str, str]:
    """(status, why) of one that gave no curve."""
    reason = evidence.failed.get(setting, "")
    return ("failed" if reason else "diverged"), reason


def _of_a_finalist(choice: Choice, evidence: Evidence, setting: Setting) -> tuple[str, str]:
    """(status, why) likewise."""
    is_timed = setting in choice.standing.times or not choice.standing.learns
    status = "finalist" if is_timed else "target_not_reached"
    if not any(evidence.finals[setting].values()):
        return _failure(evidence, setting)
    if setting == evidence.baseline:
        return "baseline", ""
    if setting in choice.unusable:
        return status, choice.unusable[setting]
    return status, "" if setting in choice.standing.times else evidence.failed.get(setting, "")


def _rank(candidate: Candidate, evidence: Evidence) -> tuple[bool, float]:
    """The least comes first: the least time; where trials anneal, the lowest end."""
    seconds, end = candidate.time_to_target_seconds, candidate.end_difference
    if not evidence.reading.anneals:
        return seconds is None, seconds or 0.0
    if candidate.status == "baseline":
        return False, 0.0
    return end is None, seconds or inf if end is None else evidence.shown(end.value)


def candidates(choice: Choice, evidence: Evidence) -> tuple[Candidate, ...]:
    """Finalists by what they are compared by, then the pruned by loss, then the diverged."""
    ranked = []
    at_steps = _at_equal(evidence, by_samples=False)
    at_samples = _at_equal(evidence, by_samples=True)
    for setting, curves in evidence.finals.items():
        costs = [evidence.reading.cost(curve) for curve in curves.values() if curve]
        times, end = choice.standing.times.get(setting), choice.of_all.ends.get(setting)
        status, why = _of_a_finalist(choice, evidence, setting)
        ranked.append(
            Candidate(
                batch_size=setting.batch_size,
                learning_rate=evidence.learning_rate(setting),
                seeds=len(costs),
                val_loss=evidence.final_cost(setting),
                val_loss_per_seed=tuple(evidence.shown(cost) for cost in costs),
                time_to_target_seconds=ranking.geometric_mean(times) if times else None,
                speedup=choice.of_all.speedups.get(setting),
                end_difference=final_costs.in_the_metric(evidence, end) if end else None,
                val_loss_at_equal_steps=at_steps.get(setting),
                val_loss_at_equal_samples=at_samples.get(setting),
                sharpness=evidence.mean_sharpness(setting),
                status=status,
                failure=why,
            )
        )
    ranked.sort(key=lambda candidate: _rank(candidate, evidence))
    others = []
    for setting, cost in sorted(
        evidence.first.items(), key=lambda item: (item[1] is None, item[1] or 0.0)
    ):
        if setting in evidence.finals:
            continue
        status, why = _failure(evidence, setting) if cost is None else ("pruned", "")
        found = Candidate(
            batch_size=setting.batch_size,
            learning_rate=evidence.learning_rate(setting),
            seeds=0 if cost is None else 1,
            val_loss=None if cost is None else evidence.shown(cost),
            val_loss_per_seed=() if cost is None else (evidence.shown(cost),),
            status=status,
            failure=why,
        )
        others.append(found)
    return (*ranked, *others)


def _at_equal(evidence: Evidence, *, by_samples: bool) -> dict[Setting, float]:
    """The metric of each finalist where all had made as many steps, or seen as many samples.

    Not of annealed trials: there some would be at their ends, and others before their tails.
    """
    if evidence.reading.anneals:
        return {}
    done: dict[Setting, float] = {}  # steps or samples of the shortest trial
    for setting, curves in evidence.finals.items():
        unit = setting.batch_size if by_samples else 1
        ends = [curve[-1][0] for curve in curves.values() if curve]
        if ends:
            done[setting] = min(ends) / evidence.step_seconds[setting.batch_size] * unit
    if not done:
        return {}
    common = min(done.values())
    found = {}
    for setting in done:
        steps = common / (setting.batch_size if by_samples else 1)
        seconds = steps * evidence.step_seconds[setting.batch_size]
        costs = [
            learning_curves.cost_at(c, seconds) for c in evidence.finals[setting].values() if c
        ]
        found[setting] = evidence.shown(sum(costs) / len(costs))
    return found
