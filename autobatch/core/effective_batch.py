"""How to train with a wished number of samples per update: in which parts, at which rate.

Nothing of it is measured, unless trials had that size: it is told how far its figures are known.
"""

from math import inf

from autobatch.core import ranking, scaling
from autobatch.core.evidence import Evidence, Setting
from autobatch.core.memory_line import peak_between
from autobatch.core.snippet import moving_momentum
from autobatch.core.standing import Choice
from autobatch.protocol import (
    RATE_FUNCTION,
    BenchmarkResult,
    EffectiveBatch,
    Inspected,
    ProbeResult,
)
from autobatch.units import format_average, format_bytes

BELOW_DIVERGENCE = 4.0  # times: no rate that was not tried is nearer to where training broke down


def effective_batch(
    samples: int | None, choice: Choice, evidence: Evidence, probed: ProbeResult
) -> EffectiveBatch | None:
    """The fewest steps of accumulation for it, in parts that fit; at its best rate, or the rule's.

    None where it was not asked for, or no parts are of a size that may be used.

    Where no noise scale was resolved, at which the rule would end, not near the rate at which a
    range test broke down, unless as high a one was tried.
    """
    if samples is None:
        return None
    own_steps = evidence.inspected.accumulation_steps
    added_bytes = evidence.inspected.parameter_bytes if own_steps == 1 else 0
    parts = _parts(samples, choice, evidence, probed, added_bytes)
    if parts is None:
        return None
    steps, size, peak_bytes = parts
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
        hyperparameters=scaling.whole_steps(
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
    samples: int, choice: Choice, evidence: Evidence, probed: ProbeResult, added_bytes: int
) -> tuple[int, int, int | None] | None:
    """(how many, their size, predicted peak): the fewest that keep the headroom, if any do.

    None is of a size that the user's code was seen to refuse, or, unless it was timed (as their own
    is), smaller than any that may be used.
    `added_bytes` are of the gradients that are added up, for which probes had no need: what adds
    none up keeps it. No peak is predicted where none is known below the ceiling.
    """
    multiple = probed.multiple
    peaks = {probed.ceiling: probed.ceiling_peak_bytes}
    # Steps may take more where there is more: what the least limit left them is what they need.
    for point in sorted(probed.probes, key=lambda each: -each.limit_bytes):
        if point.outcome in ("fits", "predicted") and point.batch_size < probed.ceiling:
            peaks[point.batch_size] = point.peak_bytes or 0
    failed = {point.batch_size for point in probed.probes if point.outcome == "user_code_failed"}
    refused = failed | {*choice.unverified}
    fewest = -(-samples // probed.ceiling)
    first: tuple[int, int, int | None] | None = None
    for count in range(fewest, samples + 1):
        size = round(samples / count / multiple) * multiple
        too_small = size < probed.least and size not in evidence.step_seconds
        if size and not too_small and size not in refused:
            more_bytes = added_bytes if count > 1 else 0
            if more_bytes and len(peaks) == 1:
                return count, size, None
            peak_bytes = peak_between(peaks, size) + more_bytes
            if not more_bytes or peak_bytes <= probed.kept_bytes:
                return count, size, peak_bytes
            first = first or (count, size, peak_bytes)
    return first


def cannot_be_had(samples: int, probed: ProbeResult) -> str:
    return (
        f"{samples} samples per update cannot be had in equal batches: those have at least "
        f"{probed.least} samples (batch_sizes.min, or what your code takes) and at most "
        f"{probed.ceiling}, without sizes that failed."
    )


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


def told_of(
    wished: EffectiveBatch,
    evidence: Evidence,
    probed: ProbeResult,
    measured: BenchmarkResult,
    *,
    trained_at: int,
) -> str:
    """`trained_at`: the batch size that is recommended, which trials did train with."""
    steps, inspected = wished.gradient_accumulation_steps, evidence.inspected
    size, trained = wished.batch_size, trained_at * inspected.accumulation_steps
    others = "".join(f", {n} {format_average(v)}" for n, v in wished.hyperparameters.items())
    told = f"For {wished.samples} samples per update: batch_size={wished.batch_size}"
    if steps > 1:
        told += f" with gradient_accumulation_steps={steps} in the optimizer"
    elif inspected.accumulation_steps > 1:
        told += " without gradient_accumulation_steps in the optimizer"
    told += f", learning rate {wished.learning_rate:.4g}{others}"
    told += _how_its_rate_is_known(wished, evidence, trained)
    if steps > 1:
        if inspected.batch_norm_layers:
            told += " BatchNormalization still sees the smaller batch."
        told += _on_its_memory(wished, evidence, probed)
    if inspected.batch_norm_layers and evidence.compiled.kappa(size) != 1:
        momentum = format_average(moving_momentum(size, evidence))
        told += f" The momentum of BatchNormalization is {momentum} at batch {size}."
    if not evidence.reading.anneals:
        told += _wished_schedule(wished, evidence)
    elif size != trained_at:
        epoch = _epoch_steps(size, measured, inspected) if inspected.is_whole else "STEPS_PER_EPOCH"
        told += f" The schedule in the snippet then has steps=EPOCHS * {epoch}: batches of {size}"
        told += ", also between updates." if steps > 1 else "."
    if inspected.is_whole and wished.samples > (inspected.train_samples or wished.samples):
        told += f" There are only {inspected.train_samples} training samples."
    return told


def _on_its_memory(wished: EffectiveBatch, evidence: Evidence, probed: ProbeResult) -> str:
    """Of gradients that are added up, where what was probed did not."""
    peak_bytes, inspected = wished.peak_bytes, evidence.inspected
    if inspected.accumulation_steps > 1:
        return ""
    more = format_bytes(inspected.parameter_bytes)
    told = f" The gradients added up take up to {more} more memory"
    if peak_bytes is None:
        return f"{told}."
    told += f": {format_bytes(peak_bytes)} of {format_bytes(probed.limit_bytes)} is predicted"
    if peak_bytes <= probed.kept_bytes:
        return f"{told}."
    return f"{told}, and no smaller batch keeps the headroom; probe the model with them first."


def _how_its_rate_is_known(wished: EffectiveBatch, evidence: Evidence, trained: int) -> str:
    if wished.tried:
        return ", the best that was tried."
    told = " by the rule; not tried."
    factor = max(wished.samples / trained, trained / wished.samples)
    if factor > scaling.FAR_BEYOND:
        told += (
            f" So far from what was tried ({factor:.0f} times), no rule is more than a guess: try "
            "rates of a quarter to four times that, too."
        )
    elif wished.samples > trained and evidence.saturation() == inf and evidence.rule != "none":
        told += (
            " Up to which batch the rule holds is not known here (the noise scale was not "
            "resolved): try lower rates, too."
        )
    return told


def _epoch_steps(size: int, measured: BenchmarkResult, inspected: Inspected) -> int:
    """Batches of an epoch; where the last one is left out at other sizes, without it."""
    for point in measured.points:
        if point.batch_size == size:
            return point.steps_per_epoch
    samples = inspected.train_samples or 0
    drops = any(point.samples_per_epoch < samples for point in measured.points)
    return samples // size if drops else -(-samples // size)


def _wished_schedule(wished: EffectiveBatch, evidence: Evidence) -> str:
    """Its steps are batches of `fit`, however many of them an update has."""
    schedule = evidence.inspected.learning_rate_schedule
    advice = evidence.compiled.schedule_advice(wished.batch_size)
    is_split = wished.gradient_accumulation_steps > 1
    if schedule in (None, RATE_FUNCTION) or not (is_split or advice):
        return ""
    told = f" Your {schedule} counts {'batches, also between updates' if is_split else 'steps'}"
    if advice:
        return f"{told}: {advice}."
    return f"{told}: leave its numbers of steps as they are at batch {wished.batch_size}."
