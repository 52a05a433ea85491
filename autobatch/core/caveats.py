"""Warnings of a recommendation: what to mind."""

from collections.abc import Iterator, Mapping, Sequence
from statistics import median

from autobatch.core import effective_batch, time_to_target
from autobatch.core.diagnosis import OVERHEADS
from autobatch.core.evidence import Evidence
from autobatch.core.learning_curves import best_cost
from autobatch.core.snippet import moving_momentum
from autobatch.core.standing import Choice
from autobatch.protocol import BenchmarkResult, EffectiveBatch, ProbeResult
from autobatch.units import format_average, format_duration, format_share

APART = 0.1  # of a loss before training, or of what is learned: noise of evaluations is less
RAGGED_WARNING_SHARE = 0.1  # a last batch below this share of the size makes noisy updates
CONTENTION = 0.15  # of the step time
SHARPNESS = (
    "Sharpness (the largest eigenvalue of the training loss' Hessian where trials ended, on one "
    "batch of validation's size, or of the trial's where load_data builds the batches) decided "
    "nothing: it changes where weights are merely written differently (Dinh et al. 2017), falls as "
    "the learning rate rises, and tells little of new data (Andriushchenko et al. 2023)."
)


def warnings(
    choice: Choice,
    evidence: Evidence,
    probed: ProbeResult,
    measured: BenchmarkResult,
    wished: EffectiveBatch | None,
    *,
    peak_bytes: int | None,
) -> tuple[str, ...]:
    """`peak_bytes`: of the size that is recommended, where it was verified."""
    size, own = choice.setting.batch_size, evidence.compiled.batch_size
    found, inspected = list(evidence.notes), evidence.inspected
    if inspected.nan:
        found.append(f"The data: {inspected.nan}.")
    found.extend(_on_the_start(evidence))
    ragged = measured.point(size).ragged_samples if inspected.is_whole else 0
    if ragged == 1 < size / 2 or 0 < ragged < RAGGED_WARNING_SHARE * size:
        found.append(
            f"The last batch of an epoch has only {ragged} of {size} samples; its update is as "
            "large as the others'. Drop it, or choose a size that divides better."
        )
    if size > probed.ceiling if peak_bytes is None else peak_bytes > probed.kept_bytes:
        found.append(
            f"Batch {size} is {evidence.if_yours('yours', 'the baseline')}, and leaves less than "
            f"the headroom of {format_share(probed.headroom)} free: {probed.ceiling} keeps it."
        )
    if evidence.final_seconds > 0:
        found.append(
            f"Trials trained {format_duration(evidence.final_seconds)}; over much longer training "
            "larger batches gain (the noise scale grows). Tune the learning rate again then."
        )
    went_wrong = evidence.on_the_brink(choice.setting)
    if choice.setting != evidence.baseline and went_wrong:
        found.append(
            f"Twice this learning rate ({2 * evidence.learning_rate(choice.setting):.3g}) "
            f"{went_wrong}. Should your training become unstable, halve it."
        )
    found.extend(_on_the_trials(choice, evidence))
    if inspected.batch_norm_layers and size != own:
        own_size = evidence.if_yours("your batch size", f"batch {own}")
        found.append(
            "For the moving averages of BatchNormalization to forget as fast in samples as at "
            f"{own_size}, its momentum is {format_average(moving_momentum(size, evidence))} "
            f"instead of {format_average(inspected.batch_norm_momentum or 0.0)}. Trials were "
            "compared as if it were."
        )
    found.extend(_on_the_optimizer(choice, evidence))
    found.extend(_on_accumulation(evidence, probed))
    found.extend(_on_sharpness(evidence))
    if wished is not None:
        found.append(effective_batch.told_of(wished, evidence, probed, measured, trained_at=size))
    found.extend(f"Not measured: {reason.removesuffix('.')}." for reason in measured.skipped)
    if measured.steps_per_execution:
        found.extend(
            point.advice
            for point in measured.points
            if point.batch_size == size and point.bound_by in OVERHEADS
        )
    return (*found, *probed.notes, *measured.notes)


def _on_the_start(evidence: Evidence) -> Iterator[str]:
    """Of weights, from seed to seed, and of costs: the first trials have one seed at all sizes."""
    starts = [*evidence.starts.values()]
    if len(starts) > 1 and starts[0] and len({*starts}) == 1:
        yield (
            "All seeds start from the same weights (the model is loaded, made when its file is "
            "imported, or made under a seed that is set): intervals hold no luck of initial "
            "weights. To train from scratch, have its function make it anew, and set no seed."
        )
    costs = {s.batch_size: curve[0][1] for s, curve in evidence.first_curves.items()}
    if not costs:
        return
    low, high = min(costs, key=costs.__getitem__), max(costs, key=costs.__getitem__)
    learned = costs[high] - min(map(best_cost, evidence.first_curves.values()))
    if costs[high] - costs[low] > APART * max(abs(costs[low]), abs(costs[high]), learned):
        told = " and ".join(
            f"{evidence.shown(costs[size]):.4g} at batch {size}" for size in sorted((low, high))
        )
        yield (
            f"Before any training, with the same seed, {evidence.metric} is {told}: it depends on "
            "the batch size, so that sizes cannot be compared by it. Let trials.metric name one "
            "that does not."
        )


def _on_the_trials(choice: Choice, evidence: Evidence) -> Iterator[str]:
    rise = evidence.rise(choice.setting) if choice.standing.learns else None
    if rise is not None:
        best, last = rise
        own = evidence.if_yours("your setting", "the baseline")
        also = choice.setting != evidence.baseline and evidence.rise(evidence.baseline)
        # What stops before the end has not annealed.
        stops = "" if evidence.reading.anneals else "EarlyStopping with restore_best_weights, or "
        yield (
            f"In its trials {evidence.metric} got worse again after its best, from {best:.4g} to "
            f"{last:.4g} at their end{f', as at {own}' if also else ''}. Keep the best weights "
            f"({stops}ModelCheckpoint)."
        )
    for setting, curves in evidence.finals.items():
        missing = sum(curve is None for curve in curves.values())
        if 0 < missing < len(curves):
            why = evidence.failed.get(setting)
            how = "diverged" if why is None else f"could not be trained ({why})"
            yield (
                f"{evidence.named(setting).capitalize()} {how} with {missing} of "
                f"{len(curves)} seeds."
            )


def _on_the_optimizer(choice: Choice, evidence: Evidence) -> Iterator[str]:
    size, own = choice.setting.batch_size, evidence.compiled.batch_size
    inspected = evidence.inspected
    if changed := evidence.hyperparameters(choice.setting.batch_size):
        told = ", ".join(f"{name} {format_average(value)}" for name, value in changed.items())
        yield (
            f"Trials at batch {size} had {told}, which go with the batch size; the snippet sets "
            "them too."
        )
    if size != own and (momentum := inspected.optimizer_settings.get("momentum")):
        kappa = evidence.compiled.kappa(size)
        own_size = evidence.if_yours("your size", f"batch {own}")
        yield (
            f"Momentum stays {format_average(momentum)}, as is usual; it averages over {kappa:.4g} "
            f"times the samples that it does at {own_size} (to match, it would be "
            f"{format_average(momentum**kappa, 2)})."
        )
    if inspected.rate_scheduler is not None:
        yield (
            f"Trials went without your {inspected.rate_scheduler}, at one rate throughout (its "
            f"highest is {inspected.learning_rate:.3g}). It would write over a rate that is set."
        )
    seen = (
        f"The trials saw only the first {format_duration(evidence.final_seconds)} of your "
        f"{inspected.learning_rate_schedule or inspected.optimizer}"
    )
    sizes = sorted({setting.batch_size for setting in evidence.first})
    if rising := [each for each in sizes if evidence.ends_in_warm_up(each)]:
        unit = "batches" if inspected.accumulation_steps > 1 else "steps"
        where = "" if rising == sizes else f" at batch {', '.join(map(str, rising))}"
        yield (
            f"{seen}, which warms up for {inspected.schedule_peak_step:,} {unit}: no rate above "
            f"the rule's was tried{where}, as what suits a warm-up is too large for what follows. "
            "Tune the rate with a shorter warm-up, a longer trials.budget, or without the schedule."
        )
    elif inspected.learning_rate_schedule is not None:
        yield f"{seen}; what follows may suit another factor: a longer trials.budget sees more."
    if advice := evidence.compiled.schedule_advice(size):
        micro = " (batches, also between updates)" if inspected.accumulation_steps > 1 else ""
        yield (
            f"Your {inspected.learning_rate_schedule} counts steps{micro}: {advice}, as the trials "
            "did, for it to take as many epochs."
        )


def _on_sharpness(evidence: Evidence) -> Iterator[str]:
    """Where it was asked for."""
    asked = evidence.sharpness
    is_any = any(evidence.mean_sharpness(setting) is not None for setting in asked)
    if is_any:
        yield SHARPNESS
    for why in dict.fromkeys(each for found in asked.values() for each in found):
        if isinstance(why, str):
            those = [setting for setting, found in asked.items() if why in found]
            is_some = is_any or len(those) < len(asked)
            where = f"In trials of {evidence.listed(those)} sharpness" if is_some else "Sharpness"
            yield f"{where} was not measured: {why}."


def _on_accumulation(evidence: Evidence, probed: ProbeResult) -> Iterator[str]:
    """Where as many samples per update fit as one batch, and were timed to take less so."""
    own, steps = evidence.compiled.batch_size, evidence.inspected.accumulation_steps
    samples, seconds = own * steps, evidence.step_seconds
    if steps == 1 or samples > probed.ceiling or not {own, samples} <= seconds.keys():
        return
    accumulated = steps * seconds[own]
    if accumulated > (1 + time_to_target.PAYS) * seconds[samples]:
        yield (
            f"An update of {samples} samples takes {format_duration(accumulated)} as {steps} "
            f"batches of {own}, and {format_duration(seconds[samples])} as one batch, which fits: "
            "leave gradient_accumulation_steps out, and measure again. (BatchNormalization then "
            "sees the larger batch.)"
        )


def contention(pace: Mapping[int, Sequence[float]]) -> Iterator[str]:
    """Of the seconds of trials over those planned, by size.

    Times are of the benchmark; where trials went otherwise, something else was running.
    """
    off = {size: median(each) - 1 for size, each in pace.items()}
    told = [
        f"{abs(off[size]):.0%} {'longer' if off[size] > 0 else 'less'} at batch {size}"
        for size in sorted(off)
        if abs(off[size]) > CONTENTION
    ]
    if told:
        yield (
            f"In trials steps took {', '.join(told)} than in the benchmark, whose times count "
            "here. Is something else running?"
        )
