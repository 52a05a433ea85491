"""What trials start from: the baseline, the rule, and the sizes."""

from collections.abc import Sequence
from difflib import get_close_matches
from math import log

from autobatch.core import scaling
from autobatch.core.compiled import Compiled
from autobatch.core.evidence import MIN_UPDATES, Evidence, Setting
from autobatch.core.metric import is_maximised
from autobatch.core.search import BOUNDED_BY
from autobatch.core.trial_sizes import candidate_sizes
from autobatch.core.warmup_stable_decay import READINGS
from autobatch.errors import RecipeError, UsageError, UserCodeError
from autobatch.protocol import SHARPNESS_GRADIENTS, BenchmarkResult, Inspected, ProbeResult, split
from autobatch.recipe import Recipe
from autobatch.stages.ask import Session

SCHEDULE_FREE = "ScheduleFreeAdamW"
ABOUT_ALL = 0.9  # of the samples


def refuse_what_cannot_be_tuned(recipe: Recipe, inspected: Inspected) -> None:
    """Before anything is measured. Raises RecipeError, UsageError or UserCodeError."""
    if inspected.train_samples is None:
        raise RecipeError(
            "recommend needs data: its trials are ranked by validation loss.",
            hint=_how_to_give_data(recipe),
        )
    if recipe.trials.metric not in inspected.metrics:
        raise UsageError(
            f"trials.metric is {recipe.trials.metric}, which this model does not report.",
            hint=_which_metrics(recipe.trials.metric, inspected.metrics),
        )
    if not inspected.validation_samples:
        raise UserCodeError(
            f"{recipe.data} gives no validation samples to rank trials by.",
            hint="Return (train, validation).",
        )
    is_maximised(recipe.trials.metric)
    if inspected.learning_rate == 0 and inspected.learning_rate_schedule:
        raise UserCodeError(
            f"The {inspected.learning_rate_schedule} of the model gives a learning rate of 0 from "
            "now on: a saved model may have come to its end.",
            hint="Name the function that builds the model, or compile it anew before it is saved.",
        )
    if inspected.learning_rate == 0:
        raise UserCodeError(
            "The model is compiled with a learning rate of 0 (does a callback set it?), and trials "
            "train without callbacks that set it.",
            hint="Compile it with the rate that it is to train with.",
        )
    if (recipe.baseline.learning_rate or inspected.learning_rate) is None:
        raise UserCodeError(
            f"The model's optimizer ({inspected.optimizer}) has no learning rate to tune.",
            hint="`autobatch probe` and `autobatch benchmark` work without one.",
        )
    if inspected.accumulation_follows_batch:
        raise UserCodeError(
            "The model's gradient_accumulation_steps go with the batch size: an update has about "
            "as many samples at each, so that the batch size changes time and memory alone.",
            hint="`autobatch benchmark` says which size is fastest. For `recommend`, leave "
            "gradient_accumulation_steps out, or as they are at your own batch size.",
        )
    if recipe.trials.schedule != "own":
        _refuse_what_cannot_be_annealed(recipe.trials.schedule, inspected)


def _refuse_what_cannot_be_annealed(schedule: str, inspected: Inspected) -> None:
    told = f"trials.schedule is {schedule}, and"
    if inspected.learning_rate_schedule:
        raise UsageError(
            f"{told} the model is compiled with a {inspected.learning_rate_schedule}, which trials "
            "keep.",
            hint="Leave trials.schedule out, or compile the optimizer with a number as its "
            "learning rate.",
        )
    if inspected.rate_setters:
        raise UsageError(
            f"{told} a callback of yours sets the learning rate, too: "
            f"{', '.join(inspected.rate_setters)}.",
            hint="Leave it out of `callbacks`, or leave trials.schedule out.",
        )
    if SCHEDULE_FREE in inspected.optimizer:
        raise UsageError(
            f"{told} {SCHEDULE_FREE} averages its weights in place of annealing: with a rate that "
            "falls, the latest of them would hardly count.",
            hint="Leave trials.schedule out.",
        )


def _which_metrics(asked: str, reported: Sequence[str]) -> str:
    if not reported:
        return "It reports: nothing; give it a test_step."
    nearest = [*get_close_matches(asked, reported, n=1), reported[0]][0]
    return f"It reports: {', '.join(reported)}. Use --set trials.metric={nearest}"


def _how_to_give_data(recipe: Recipe) -> str:
    if recipe.data is None:
        return (
            "Name the function that returns (train, validation): `data: file.py:load_data` in the "
            "recipe, or --set data=file.py:load_data (probe and benchmark need none)."
        )
    source, name = split(recipe.data)
    return (
        f"{source} has no {name} of its own: write it, so that it returns (train, validation), or "
        f"name yours: --set data={source}:FUNCTION. Beside a function in Python: data={name}."
    )


def plan(
    session: Session, inspected: Inspected, probed: ProbeResult, measured: BenchmarkResult
) -> Evidence:
    recipe = session.recipe
    rate = recipe.baseline.learning_rate or inspected.learning_rate
    assert rate is not None  # or it was refused
    if recipe.baseline.learning_rate is None and inspected.batch_size:  # it may be a smaller one
        kappa = recipe.baseline.batch_size / inspected.batch_size
        rate *= kappa**inspected.learning_rate_exponent
    own_rate = float(rate)
    rule, reason = scaling.rule_for(inspected.optimizer, recipe.trials.learning_rate)
    size = recipe.baseline.batch_size
    step_seconds = {
        point.batch_size: point.step_seconds
        for point in measured.points
        if point.batch_size == size or not measured.is_above_ceiling(point.batch_size)
    }
    step_doubts = {point.batch_size: log(point.high / point.low) / 2 for point in measured.points}
    notes, own = [], size
    if own not in step_seconds:
        size = min(step_seconds, key=lambda each: abs(log(each / own)))
        why = f"at most {probed.largest_fitting}, bounded by {BOUNDED_BY[probed.bounded_by]}"
        if own <= probed.largest_fitting:
            why = "its benchmark failed"
        told = f"Your batch size {own} cannot be tried ({why}): {size} is the baseline instead"
        if probed.bounded_by == "samples":  # yours is no more than all of them, or about so many
            own = min(own, probed.largest_fitting)
            own = size if size > ABOUT_ALL * own else own
        if rule != "none" and size != own:
            rate = scaling.scaled(rate, rule, old_batch=own, new_batch=size)
            told += f", with learning rate {rate:.3g} by the rule"
        notes.append(f"{told}.")
    return Evidence(
        baseline=Setting(size, 0),
        rule=rule,
        rule_reason=reason,
        baseline_learning_rate=rate,
        compiled=Compiled(own, own_rate, inspected),
        step_seconds=step_seconds,
        step_doubts=step_doubts,
        metric=recipe.trials.metric,
        reading=READINGS[recipe.trials.schedule],
        instead_of=None if size == recipe.baseline.batch_size else recipe.baseline.batch_size,
        notes=notes,
    )


def usable(evidence: Evidence, ceiling: int) -> dict[int, float]:
    """Seconds of a step, by size: of those that fit, and whose trials are not too short."""
    seconds = evidence.step_seconds
    return {s: t for s, t in seconds.items() if s <= ceiling and not _is_too_slow(evidence, s)}


def sizes_to_try(evidence: Evidence, ceiling: int) -> list[int]:
    return candidate_sizes(
        {s: t for s, t in evidence.step_seconds.items() if not _is_too_slow(evidence, s)},
        baseline=evidence.baseline.batch_size,
        ceiling=ceiling,
        critical_batch=evidence.critical_batch().value,
    )


def tell_what_is_too_slow(evidence: Evidence, ceiling: int) -> None:
    fitting = sorted(size for size in evidence.step_seconds if size <= ceiling)
    if slow := [size for size in fitting if _is_too_slow(evidence, size)]:
        evidence.notes.append(
            f"Not tried, since the budget buys fewer than {MIN_UPDATES} updates: batch "
            f"{', '.join(map(str, slow))}."
        )


def _is_too_slow(evidence: Evidence, size: int) -> bool:
    return 0 < evidence.first_seconds < evidence.least_steps * evidence.step_seconds[size]


def sharpness_seconds(measured: BenchmarkResult, size: int) -> float:
    """Of a trial: a gradient of so many samples takes what a step does, by the nearest size."""
    nearest = min(measured.points, key=lambda point: abs(log(point.batch_size / size)))
    step_seconds = nearest.step_seconds * max(1.0, size / nearest.batch_size)
    return SHARPNESS_GRADIENTS * step_seconds
