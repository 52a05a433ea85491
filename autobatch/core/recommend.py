"""The whole answer to a choice, with its reasons.

Pure: every number in a sentence was measured.
"""

from collections.abc import Sequence
from math import inf
from typing import Any, Literal

from autobatch.core import caveats, outlook_wording, ranking, scaling, time_to_target, wording
from autobatch.core.candidates import candidates
from autobatch.core.evidence import Evidence, Setting
from autobatch.core.memory_line import peak_between
from autobatch.core.outlook import Outlook, outlook_of
from autobatch.core.snippet import snippet
from autobatch.core.standing import Choice
from autobatch.protocol import (
    SCHEMA_VERSION,
    Baseline,
    BenchmarkResult,
    EffectiveBatch,
    ProbeResult,
    Recommendation,
    Replicas,
)

BELOW_DIVERGENCE = 4.0  # times: no rate that was not tried is nearer to where training broke down


def compose(
    choice: Choice,
    evidence: Evidence,
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
    ragged = point.ragged_samples if evidence.inspected.is_whole else 0
    on_memory = wording.on_memory(choice, probed, peak_bytes, ragged_samples=ragged)
    return Recommendation(
        schema_version=SCHEMA_VERSION,
        batch_size=size,
        learning_rate=evidence.learning_rate(choice.setting),
        optimizer=evidence.inspected.optimizer,
        learning_rate_rule=evidence.rule,
        gradient_accumulation_steps=evidence.inspected.accumulation_steps,
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
        learning_rate_schedule="warmup_stable_decay" if evidence.reading.anneals else None,
        speedup=choice.speedup,
        verdict=choice.verdict,
        confidence=_confidence(choice, outlook),
        noise_scale=evidence.noise[-1] if evidence.noise else None,
        noise_scale_early=evidence.noise[0] if evidence.noise else None,
        critical_batch=outlook.critical_batch,
        predictions=outlook.predictions,
        hyperparameters=_whole(evidence.hyperparameters(choice.setting.batch_size)),
        loss_difference=found.loss_difference(choice.setting, maximise=evidence.maximise),
        replicas=_replicas(replicas, choice, outlook, measured, evidence, probed),
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
        warnings=caveats.warnings(
            choice,
            evidence,
            probed,
            measured,
            wished,
            peak_bytes=peak_bytes if is_verified else None,
        ),
        environment=environment,
        snippet=snippet(
            choice,
            evidence,
            steps_per_epoch=point.steps_per_epoch,
            replicas=probed.replicas,
        ),
        wall_seconds=wall_seconds,
    )


def _confidence(choice: Choice, outlook: Outlook) -> Literal["high", "medium", "low"]:
    """High: trials and the model, of the noise scale alone, agree. Low: trials do not decide."""
    if choice.verdict == "inconclusive":
        return "low"
    return "high" if outlook.agrees else "medium"


def _replicas(
    counts: Sequence[int],
    choice: Choice,
    outlook: Outlook,
    measured: BenchmarkResult,
    evidence: Evidence,
    probed: ProbeResult,
) -> tuple[Replicas, ...]:
    fitted, critical = measured.step_time, outlook.critical_batch
    fitting = [point for point in measured.points if point.batch_size <= probed.ceiling]
    seconds = {point.batch_size: point.step_seconds for point in fitting}
    if fitted is not None and fitted.describes:
        least, multiple = min(seconds, default=1), probed.multiple
        seconds = time_to_target.step_seconds(
            fitted, least=least, largest=probed.ceiling, multiple=multiple
        )
    seconds = {size: each for size, each in seconds.items() if size not in choice.unverified}
    chosen = measured.point(choice.setting.batch_size)  # yours may be above the ceiling
    seconds.setdefault(chosen.batch_size, chosen.step_seconds)
    inspected = evidence.inspected
    samples = inspected.train_samples if inspected.is_whole else None
    return time_to_target.replica_plan(counts, seconds, critical, most=samples or inf)


def _wished(
    samples: int | None, choice: Choice, evidence: Evidence, probed: ProbeResult
) -> EffectiveBatch | None:
    """The fewest steps of accumulation for it, in parts that fit; at its best rate, or the rule's.

    Where no noise scale was resolved, at which the rule would end, not near the rate at which a
    range test broke down, unless as high a one was tried.
    """
    if samples is None:
        return None
    own_steps = evidence.inspected.accumulation_steps
    added_bytes = evidence.inspected.parameter_bytes if own_steps == 1 else 0
    steps, size, peak_bytes = _parts(samples, choice, probed, added_bytes)
    recommended = evidence.learning_rate(choice.setting)
    rate = scaling.scaled(
        recommended,
        evidence.rule,
        old_batch=choice.setting.batch_size * own_steps,
        new_batch=steps * size,
        critical_batch=evidence.saturation() * own_steps,
    )
    if evidence.saturation() == inf and evidence.divergence_rate is not None:
        rate = min(rate, max(recommended, evidence.divergence_rate / BELOW_DIVERGENCE))
    tried = _best_tried(size, choice, evidence) if steps == own_steps else None
    if tried is not None:
        rate = evidence.learning_rate(tried)
    elif steps == own_steps:
        rate = min(rate, _below_divergence(size, evidence))
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
        tried=tried is not None,
        peak_bytes=peak_bytes,
    )


def _parts(
    samples: int, choice: Choice, probed: ProbeResult, added_bytes: int
) -> tuple[int, int, int]:
    """(how many, their size, predicted peak): the fewest that keep the headroom, if any do.

    `added_bytes` are of the gradients that are added up, for which probes had no need.
    """
    kept_bytes, multiple = (1 - probed.headroom) * probed.limit_bytes, probed.multiple
    peaks = {probed.ceiling: probed.ceiling_peak_bytes}
    for point in probed.probes:
        if point.outcome == "fits" and point.batch_size <= probed.ceiling:
            peaks[point.batch_size] = max(peaks.get(point.batch_size, 0), point.peak_bytes or 0)
    fewest = -(-samples // probed.ceiling)
    first: tuple[int, int, int] | None = None
    for count in range(fewest, samples + 1):
        size = round(samples / count / multiple) * multiple
        if size and size not in choice.unverified:
            found = count, size, peak_between(peaks, size) + (added_bytes if count > 1 else 0)
            if found[2] <= kept_bytes:
                return found
            first = first or found
    return first or (fewest, multiple, peak_between(peaks, multiple))


def _best_tried(size: int, choice: Choice, evidence: Evidence) -> Setting | None:
    """By the first trials at a size, with no seed of which it failed later."""
    if size == choice.setting.batch_size:
        return choice.setting
    costs = {
        rung: cost
        for rung, cost in evidence.costs(size).items()
        if all(evidence.finals.get(Setting(size, rung), {}).values())
    }
    rung = ranking.best_rung(costs)
    return None if rung is None else Setting(size, rung)


def _below_divergence(size: int, evidence: Evidence) -> float:
    """Half the least rate that diverged at a size; infinite where none did."""
    diverged = [
        Setting(size, rung - 1)
        for rung, cost in evidence.costs(size).items()
        if cost is None and Setting(size, rung) not in evidence.failed
    ]
    return min(map(evidence.learning_rate, diverged), default=inf)


def _whole(hyperparameters: dict[str, float]) -> dict[str, float]:
    """Numbers of steps as Keras takes them."""
    return {k: int(v) if k in scaling.STEPS else v for k, v in hyperparameters.items()}
