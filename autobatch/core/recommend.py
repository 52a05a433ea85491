"""From measurements to an answer with its reasons. Pure: every number in a sentence was measured.

`choose` picks a setting and a verdict; `compose` puts it into words once its memory was verified.
"""

from typing import Any

from autobatch.core import ranking, wording
from autobatch.core.evidence import Choice, Evidence, Setting, Verdict, standing
from autobatch.protocol import (
    SCHEMA_VERSION,
    Baseline,
    BenchmarkResult,
    Candidate,
    Inspected,
    Interval,
    ProbeResult,
    Recommendation,
)


def choose(evidence: Evidence, *, ceiling: int) -> Choice:
    """The setting soonest at the baseline's loss; of those within 10 % of it, the smallest batch.

    Half its learning rate, if twice its rate no longer learns and the half is as good for all that
    the seeds can tell.

    `better` needs the whole interval above 1. `tie`: every interval lies within 10 % of 1.
    Otherwise `inconclusive`, and the baseline stays: nothing measured beats it for certain.
    """
    found = standing(evidence)
    parity = Interval(value=1.0, low=1.0, high=1.0)
    usable = {s: i for s, i in found.speedups.items() if s.batch_size <= ceiling}
    surely_better = {s: i for s, i in usable.items() if i.low > 1}
    if not surely_better:
        equal = all(i.low >= 1 / ranking.TIE and i.high <= ranking.TIE for i in usable.values())
        verdict: Verdict = "tie" if equal and usable else "inconclusive"
        ties = tuple(sorted({s.batch_size for s, i in usable.items() if i.low <= 1 <= i.high}))
        return Choice(evidence.baseline, verdict, parity, ties, found)
    best = max(interval.value for interval in surely_better.values())
    as_good = [s for s, i in surely_better.items() if i.value * ranking.TIE >= best]
    chosen = min(as_good, key=lambda s: (s.batch_size, -surely_better[s].value))
    safer = Setting(chosen.batch_size, chosen.rung - 1)
    if (
        evidence.on_the_brink(chosen)
        and safer in surely_better
        and not found.told_apart(chosen, safer)
    ):
        chosen = safer
    alike = {s.batch_size for s in usable if not found.told_apart(chosen, s)}
    ties = tuple(sorted(alike - {chosen.batch_size}))
    return Choice(chosen, "better", surely_better[chosen], ties, found)


def compose(
    choice: Choice,
    evidence: Evidence,
    inspected: Inspected,
    probed: ProbeResult,
    measured: BenchmarkResult,
    *,
    metric: str,
    peak_bytes: int,
    environment: dict[str, Any],
    wall_seconds: float,
) -> Recommendation:
    """The whole recommendation."""
    size = choice.setting.batch_size
    samples = inspected.train_samples or 0
    point = next(p for p in measured.points if p.batch_size == size)
    rate = evidence.learning_rate(choice.setting)
    return Recommendation(
        schema_version=SCHEMA_VERSION,
        batch_size=size,
        learning_rate=rate,
        optimizer=inspected.optimizer,
        learning_rate_rule=evidence.rule,
        gradient_accumulation_steps=1,
        per_replica_batch_size=size,
        steps_per_epoch=-(-samples // size),
        ragged_samples=samples % size,
        baseline=Baseline(
            batch_size=evidence.baseline.batch_size,
            learning_rate=evidence.baseline_learning_rate,
            val_loss=evidence.final_cost(evidence.baseline),
        ),
        val_loss=evidence.final_cost(choice.setting),
        metric=metric,
        speedup=choice.speedup,
        verdict=choice.verdict,
        confidence="low" if choice.verdict == "inconclusive" else "medium",
        noise_scale=None,
        candidates=_candidates(choice, evidence),
        tied_with=choice.tied_with,
        target_loss=evidence.shown(choice.standing.target),
        peak_bytes=peak_bytes,
        samples_per_second=point.samples_per_second,
        samples_per_second_low=point.low,
        samples_per_second_high=point.high,
        epoch_seconds=point.epoch_seconds,
        probe=probed,
        benchmark=measured,
        reasons=wording.reasons(choice, evidence, probed, measured, metric, peak_bytes),
        warnings=wording.warnings(choice, evidence, inspected, probed, measured),
        environment=environment,
        snippet=wording.snippet(choice, evidence, inspected),
        wall_seconds=wall_seconds,
    )


def _failure(evidence: Evidence, setting: Setting) -> str:
    reason = evidence.failed.get(setting, "diverged")
    return "diverged" if reason.startswith("diverged") else f"failed: {reason}"


def _candidates(choice: Choice, evidence: Evidence) -> tuple[Candidate, ...]:
    """Finalists by time to the target, then the pruned by loss, then the diverged."""
    ranked = []
    for setting, curves in evidence.finals.items():
        costs = [ranking.best_cost(curve) for curve in curves.values() if curve]
        times = choice.standing.times.get(setting)
        status = "baseline" if setting == evidence.baseline else "finalist"
        ranked.append(
            Candidate(
                batch_size=setting.batch_size,
                learning_rate=evidence.learning_rate(setting),
                seeds=len(costs),
                val_loss=evidence.final_cost(setting),
                val_loss_per_seed=tuple(evidence.shown(cost) for cost in costs),
                time_to_target_seconds=ranking.geometric_mean(times) if times else None,
                speedup=choice.standing.speedups.get(setting),
                status=status
                if times
                else _failure(evidence, setting)
                if not costs
                else "target not reached",
            )
        )
    ranked.sort(key=lambda c: (c.time_to_target_seconds is None, c.time_to_target_seconds or 0))
    others = [
        Candidate(
            batch_size=setting.batch_size,
            learning_rate=evidence.learning_rate(setting),
            seeds=0 if cost is None else 1,
            val_loss=None if cost is None else evidence.shown(cost),
            val_loss_per_seed=() if cost is None else (evidence.shown(cost),),
            time_to_target_seconds=None,
            speedup=None,
            status=_failure(evidence, setting) if cost is None else "pruned",
        )
        for setting, cost in sorted(
            evidence.first.items(), key=lambda item: (item[1] is None, item[1] or 0.0)
        )
        if setting not in evidence.finals
    ]
    return (*ranked, *others)
