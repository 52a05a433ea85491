"""The whole answer to a choice, with its reasons.

Pure: every number in a sentence was measured.
"""

from collections.abc import Sequence
from math import inf
from typing import Any, Literal

from autobatch.core import caveats, outlook_wording, scaling, time_to_target, wording
from autobatch.core.candidates import candidates
from autobatch.core.effective_batch import cannot_be_had, effective_batch
from autobatch.core.evidence import Evidence
from autobatch.core.outlook import Outlook, outlook_of
from autobatch.core.snippet import snippet
from autobatch.core.standing import Choice
from autobatch.protocol import (
    SCHEMA_VERSION,
    Baseline,
    BenchmarkResult,
    ProbeResult,
    Recommendation,
    Replicas,
)


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
    samples_per_update: int | None = None,
) -> Recommendation:
    """The whole recommendation; `is_verified`: its size by itself, with `peak_bytes`."""
    outlook = outlook_of(choice, evidence, measured, ceiling=probed.ceiling)
    wished = effective_batch(samples_per_update, choice, evidence, probed)
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
        hyperparameters=scaling.whole_steps(evidence.hyperparameters(choice.setting.batch_size)),
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
        warnings=(
            *(
                (cannot_be_had(samples_per_update, probed),)
                if samples_per_update and not wished
                else ()
            ),
            *caveats.warnings(
                choice,
                evidence,
                probed,
                measured,
                wished,
                peak_bytes=peak_bytes if is_verified else None,
            ),
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
