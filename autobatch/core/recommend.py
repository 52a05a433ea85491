"""From measurements to an answer with its reasons. Pure: every number in a sentence was measured.

`choose` picks a setting and a verdict; `compose` puts it into words once its memory was verified.
"""

from collections.abc import Collection, Iterable, Mapping, Sequence
from math import inf
from typing import Any, Literal

from autobatch.core import caveats, outlook_wording, ranking, scaling, time_to_target, wording
from autobatch.core.candidates import candidates
from autobatch.core.evidence import Evidence, Setting, Verdict
from autobatch.core.outlook import Outlook, outlook_of
from autobatch.core.snippet import snippet
from autobatch.core.standing import Choice, Reached, Standing, onward, standing
from autobatch.protocol import (
    SCHEMA_VERSION,
    Baseline,
    BenchmarkResult,
    EffectiveBatch,
    Inspected,
    Interval,
    ProbeResult,
    Recommendation,
    Replicas,
)

SEEDS_TO_BE_LATER = 3  # with most of which a setting does not get to the target
BELOW_DIVERGENCE = 4.0  # times: no rate that was not tried is nearer to where training broke down


def choose(
    evidence: Evidence,
    *,
    ceiling: int,
    prefer: Literal["small", "large"] = "small",
    unverified: Mapping[int, str] = {},
) -> Choice:
    """Of the settings that are sooner at the baseline's loss, the one that goes on soonest.

    Of those within 10 % of it, the smallest batch, which is robust to errors of the learning rate
    and needs least memory; or the largest. Half its learning rate, if twice its rate no longer
    learns and the half is within 10 % of it, too.

    `better` needs the whole interval above 1; it is the one that is told, since an interval of the
    chosen alone would take no account of the choice. And it needs that after equal time it is not
    worse than the baseline, for certain. What then loses again much of what it has learned, and
    ends above the baseline, is chosen only where nothing else is better. `tie`: nothing tried is
    more than 10 % sooner than it, for certain, or ends better. Otherwise `inconclusive`. With
    either, the baseline stays.
    """
    unusable = {s for s in evidence.finals if not _is_usable(s, evidence, ceiling, unverified)}
    found = standing(evidence).without(unusable)
    parity, usable = Interval(value=1.0, low=1.0, high=1.0), found.speedups
    surely_better = {s: i for s, i in usable.items() if i.low > 1 and not found.ends_worse(s)}
    going_well = {s: i for s, i in surely_better.items() if not evidence.goes_wrong(s)}
    surely_better = going_well or surely_better
    sound = [s for s in usable if not (found.ends_worse(s) or evidence.goes_wrong(s))]
    if not surely_better:
        verdict: Verdict = "tie" if _none_is_sooner(evidence, found, unusable) else "inconclusive"
        alike = [s for s in sound if usable[s].low <= 1 <= usable[s].high]
        ties = _at_other_sizes(alike, evidence.baseline)
        return Choice(evidence.baseline, verdict, parity, ties, found, None, unverified)
    going_on = onward(evidence, found, surely_better)
    seconds = {s: going_on.seconds(s) for s in going_on.times}
    as_good = [s for s in seconds if seconds[s] <= ranking.TIE * min(seconds.values())]
    sign = -1 if prefer == "large" else 1
    chosen = min(as_good, key=lambda s: (sign * s.batch_size, seconds[s]))

    def compared(one: Setting, other: Setting) -> Reached:
        """What gets there with some seeds only is judged earlier."""
        return going_on if {one, other} <= going_on.times.keys() else found

    def are_alike(one: Setting, other: Setting) -> bool:
        """For all that the seeds can tell."""
        times, doubt = compared(one, other).times, evidence.step_doubt(one, other)
        return other not in going_on.later and not ranking.told_apart(
            times, one, other, doubt=doubt
        )

    safer = Setting(chosen.batch_size, chosen.rung - 1)
    if evidence.on_the_brink(chosen) and safer in surely_better and safer not in going_on.later:
        by = compared(chosen, safer)
        if by.seconds(safer) <= ranking.TIE * by.seconds(chosen):
            chosen = safer
    ties = tuple(s for s in _at_other_sizes(sound, chosen) if are_alike(chosen, s))
    further = going_on if len(surely_better) > 1 else None
    return Choice(chosen, "better", surely_better[chosen], ties, found, further, unverified)


def _at_other_sizes(settings: Iterable[Setting], chosen: Setting) -> tuple[Setting, ...]:
    return tuple(sorted(s for s in settings if s.batch_size != chosen.batch_size))


def _is_usable(
    setting: Setting, evidence: Evidence, ceiling: int, unverified: Collection[int]
) -> bool:
    """The user's own size, which is what stays otherwise, wherever the ceiling is."""
    size = setting.batch_size
    return size == evidence.baseline.batch_size or (size <= ceiling and size not in unverified)


def _none_is_sooner(evidence: Evidence, found: Standing, unusable: Collection[Setting]) -> bool:
    """Whether for certain no other finalist is more than 10 % sooner than the baseline.

    And that none ends better. One that most of three seeds or more do not get to where the baseline
    is in half of its trial, not in all of it, is later.
    """
    own = evidence.baseline
    others = [s for s in evidence.finals if s != own and s not in unusable]
    seeds = len(evidence.finals[own])
    return bool(others) and all(
        not found.ends_better(s)
        and (
            found.speedups[s].high <= ranking.TIE
            if s in found.speedups
            else s in found.later and seeds >= SEEDS_TO_BE_LATER
        )
        for s in others
    )


def compose(
    choice: Choice,
    evidence: Evidence,
    inspected: Inspected,
    probed: ProbeResult,
    measured: BenchmarkResult,
    *,
    peak_bytes: int,
    is_verified: bool,
    environment: dict[str, Any],
    wall_seconds: float,
    replicas: Sequence[int] = (),
    effective_batch: int | None = None,
) -> Recommendation:
    """The whole recommendation; `is_verified`: its size by itself, with `peak_bytes`."""
    outlook = outlook_of(choice, evidence, measured, ceiling=probed.ceiling)
    wished = _wished(effective_batch, choice, evidence, probed)
    size, found = choice.setting.batch_size, choice.standing
    point = measured.point(size)
    ragged = point.ragged_samples if inspected.is_whole else 0
    on_memory = wording.on_memory(choice, probed, peak_bytes, ragged_samples=ragged)
    return Recommendation(
        schema_version=SCHEMA_VERSION,
        batch_size=size,
        learning_rate=evidence.learning_rate(choice.setting),
        optimizer=inspected.optimizer,
        learning_rate_rule=evidence.rule,
        gradient_accumulation_steps=evidence.accumulation_steps,
        per_replica_batch_size=size // probed.replicas,
        steps_per_epoch=point.steps_per_epoch,
        ragged_samples=ragged,
        baseline=Baseline(
            batch_size=evidence.baseline.batch_size,
            learning_rate=evidence.baseline_learning_rate,
            val_loss=evidence.final_cost(evidence.baseline),
            instead_of=evidence.instead_of,
        ),
        val_loss=evidence.final_cost(choice.setting),
        metric=evidence.metric,
        speedup=choice.speedup,
        verdict=choice.verdict,
        confidence=_confidence(choice, outlook),
        noise_scale=evidence.noise[-1] if evidence.noise else None,
        noise_scale_early=evidence.noise[0] if evidence.noise else None,
        critical_batch=outlook.critical_batch,
        predictions=outlook.predictions,
        hyperparameters=_whole(evidence.hyperparameters(choice.setting.batch_size)),
        loss_difference=found.loss_difference(choice.setting, maximise=evidence.maximise),
        replicas=_replicas(replicas, choice, outlook, measured, inspected, probed.ceiling),
        effective_batch=wished,
        candidates=candidates(choice, evidence),
        tied_with=tuple(sorted({each.batch_size for each in choice.tied_with})),
        target_loss=evidence.shown(found.target),
        target_seconds=found.target_seconds if evidence.baseline in found.times else None,
        peak_bytes=peak_bytes,
        samples_per_second=point.samples_per_second,
        samples_per_second_low=point.low,
        samples_per_second_high=point.high,
        epoch_seconds=point.epoch_seconds,
        probe=probed,
        benchmark=measured,
        reasons=(
            *wording.reasons(choice, evidence, measured),
            *((on_memory,) if is_verified else ()),
            *wording.after_equal_time(choice, evidence),
            *outlook_wording.on_the_model(choice, evidence, outlook),
            *(outlook_wording.on_a_guess(evidence, outlook) if replicas else ()),
        ),
        warnings=caveats.warnings(choice, evidence, inspected, probed, measured, wished),
        environment=environment,
        snippet=snippet(choice, evidence, inspected, replicas=probed.replicas),
        wall_seconds=wall_seconds,
    )


def _confidence(choice: Choice, outlook: Outlook) -> Literal["high", "medium", "low"]:
    """High: trials and the model, of the noise scale alone, agree. Low: trials say nothing."""
    if choice.verdict == "inconclusive":
        return "low"
    return "high" if outlook.agrees else "medium"


def _replicas(
    counts: Sequence[int],
    choice: Choice,
    outlook: Outlook,
    measured: BenchmarkResult,
    inspected: Inspected,
    ceiling: int,
) -> tuple[Replicas, ...]:
    fitted, critical = measured.step_time, outlook.critical_batch
    seconds = {p.batch_size: p.step_seconds for p in measured.points if p.batch_size <= ceiling}
    chosen = measured.point(choice.setting.batch_size)  # yours may be above the ceiling
    seconds.setdefault(chosen.batch_size, chosen.step_seconds)
    if fitted is not None and fitted.describes:
        seconds = time_to_target.step_seconds(fitted, largest=ceiling)
    samples = inspected.train_samples if inspected.is_whole else None
    return time_to_target.replica_plans(counts, seconds, critical, most=samples or inf)


def _wished(
    samples: int | None, choice: Choice, evidence: Evidence, probed: ProbeResult
) -> EffectiveBatch | None:
    """The fewest steps of accumulation for it, in parts that fit; the rate by the rule.

    Where no noise scale was resolved, at which the rule would end, not near the rate at which a
    range test broke down, unless as high a one was tried.
    """
    if samples is None:
        return None
    fewest, replicas = -(-samples // probed.ceiling), probed.replicas
    parts = ((n, round(samples / n / replicas) * replicas) for n in range(fewest, samples + 1))
    left = ((n, each) for n, each in parts if each and each not in choice.unverified)
    steps, size = next(left, (fewest, replicas))
    own_steps = evidence.accumulation_steps
    tried = evidence.learning_rate(choice.setting)
    rate = scaling.scaled(
        tried,
        evidence.rule,
        old_batch=choice.setting.batch_size * own_steps,
        new_batch=steps * size,
        critical_batch=evidence.saturation() * own_steps,
    )
    if evidence.saturation() == inf and evidence.divergence_rate is not None:
        rate = min(rate, max(tried, evidence.divergence_rate / BELOW_DIVERGENCE))
    return EffectiveBatch(
        samples=steps * size,
        batch_size=size,
        gradient_accumulation_steps=steps,
        learning_rate=rate,
        hyperparameters=_whole(
            {
                name: value
                for samples, by_batch in ((steps * size / own_steps, False), (size, True))
                for name, value in evidence.hyperparameters(samples).items()
                if (name in scaling.BY_BATCH) is by_batch
            }
        ),
    )


def _whole(hyperparameters: dict[str, float]) -> dict[str, float]:
    """Numbers of steps as Keras takes them."""
    return {k: int(v) if k in scaling.STEPS else v for k, v in hyperparameters.items()}
