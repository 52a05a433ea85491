"""What the model says beside the trials: where the optimum should be, and whether they agree."""

from dataclasses import dataclass

from autobatch.core import noise_scale, time_to_target
from autobatch.core.evidence import Evidence
from autobatch.core.standing import Choice, steps_to_target
from autobatch.protocol import BenchmarkResult, Interval, Prediction, StepTime


@dataclass(frozen=True)
class Growth:
    """A batch that grows with the noise scale, in two halves of the training time."""

    saving: float  # share of the training time
    early_batch: float
    late_batch: float


@dataclass(frozen=True)
class Accumulation:
    """Of gradients of several batches for one update: the best number of them."""

    batches: int  # 1: it does not pay
    gain: float  # in speed, at most


AGREE = 1.125  # times the least predicted time: within a factor of 2 of the optimum


@dataclass(frozen=True)
class Outlook:
    critical_batch: Interval  # of noise scale and trials together
    predictions: tuple[Prediction, ...]
    optimal_batch: float | None  # of the fitted step time; None where there is none
    relative_time: float  # of the choice, over that at the optimum, if sizes go so far, or at best
    is_described: bool  # by that fit, all that was measured
    growth: Growth | None  # None: not known
    ceiling: int  # above which no batch is recommended
    accumulation: Accumulation | None  # over batches of the size chosen; None: not known
    from_trials: bool  # the critical batch is also theirs
    agrees: bool  # the noise scale was resolved, and predicts the choice to be near the best


def outlook_of(
    choice: Choice, evidence: Evidence, measured: BenchmarkResult, *, ceiling: int
) -> Outlook:
    steps = steps_to_target(evidence, choice.standing)
    critical = evidence.critical_batch(steps)
    usable = [s for s in evidence.step_seconds if s <= ceiling and s not in choice.unverified]
    seconds = {size: evidence.step_seconds[size] for size in usable}
    seconds.setdefault(choice.setting.batch_size, evidence.step_seconds[choice.setting.batch_size])
    times = time_to_target.predicted_times(seconds, critical.value)
    least = best = min(times.values())
    own = evidence.baseline.batch_size
    predictions = tuple(
        Prediction(
            batch_size=size,
            relative_time=times[size] / best,
            relative_samples=1 / time_to_target.efficiency(size, own, critical.value),
        )
        for size in sorted(seconds)
    )
    resolved = any(each.value is not None for each in evidence.noise[-1:])
    before = time_to_target.relative_times(seconds, evidence.critical_batch().value)
    fitted = measured.step_time
    optimum = None if fitted is None else time_to_target.optimal_batch(fitted, critical.value)
    if fitted and optimum and min(seconds) <= optimum <= max(seconds):
        least = min(least, time_to_target.least_time(fitted, critical.value))
    return Outlook(
        critical_batch=critical,
        predictions=predictions,
        optimal_batch=optimum,
        relative_time=times[choice.setting.batch_size] / least,
        is_described=fitted is not None and fitted.describes,
        growth=_growth(evidence, fitted, ceiling),
        ceiling=ceiling,
        accumulation=_accumulation(choice, fitted, critical.value),
        from_trials=len(steps) >= noise_scale.LEAST_SIZES,
        agrees=resolved and before[choice.setting.batch_size] <= AGREE,
    )


def _accumulation(choice: Choice, fitted: StepTime | None, critical: float) -> Accumulation | None:
    """If all that a step takes beside its samples were the update: an upper bound.

    There is none where samples were not seen to take any time.
    """
    if fitted is None or fitted.seconds_per_sample.value <= 0:
        return None
    update_seconds = fitted.overhead_seconds.value
    size = choice.setting.batch_size
    return Accumulation(*time_to_target.accumulation(size, fitted, update_seconds, critical))


def _growth(evidence: Evidence, fitted: StepTime | None, ceiling: int) -> Growth | None:
    """Of a small batch early and a larger one late, if both noise scales were resolved.

    None where it would pay, but the noise scale may not have grown, or the larger does not fit.
    """
    if fitted is None or fitted.seconds_per_sample.value <= 0 or len(evidence.noise) < 2:
        return None
    early, late = evidence.noise[0], evidence.noise[-1]
    if early.value is None or early.high is None or late.value is None:
        return None
    # In samples of a batch, where the user accumulates gradients over several.
    parts = evidence.inspected.accumulation_steps
    values = early.value / parts, late.value / parts
    first, last = (time_to_target.optimal_batch(fitted, value) for value in values)
    saving = time_to_target.schedule_saving(fitted, [(0.5, value) for value in values])
    saving = saving if late.value > early.value else 0.0
    is_sure = late.low > early.high and last <= ceiling
    if saving >= time_to_target.PAYS and not is_sure:
        return None
    return Growth(saving, early_batch=first, late_batch=last)
