"""What trials start from: the baseline, the rule, which way the metric goes, and the budget."""

from math import floor, inf, isfinite, log, log10

from autobatch.core import ranking, scaling
from autobatch.core.evidence import MIN_UPDATES, Evidence, Setting
from autobatch.core.wording import BOUND_BY
from autobatch.errors import RecipeError, TimeLimitError, UsageError, UserCodeError
from autobatch.protocol import BenchmarkResult, Inspected, ProbeResult
from autobatch.recipe import Recipe
from autobatch.stages.ask import Session
from autobatch.stages.pilot import PILOT_JOBS, PILOT_SHARE
from autobatch.units import format_duration

FINALISTS = 4  # beside the baseline
FINAL_SHARE = 2.0  # a finalist trains this many times as long as a first trial
FIRST_LADDER, LATER_LADDERS = 6, 4  # trials expected at the baseline's size, at each other size
VALIDATION_BATCH = 1024
LEAST_VALIDATION_SAMPLES = 256
FORWARD_SPEED = 3.0  # of an evaluation, over that of training

MAXIMISED = {
    *("accuracy", "acc", "auc", "precision", "recall", "f1", "fbeta", "iou", "r2", "similarity"),
    *("sensitivity", "specificity", "bleu", "rouge"),
}
MINIMISED = {
    *("loss", "error", "mae", "mse", "rmse", "mape", "crossentropy", "perplexity", "divergence"),
    *("logcosh", "poisson", "hinge", "distance"),
}


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
            hint=f"It reports: {', '.join(inspected.metrics) or 'nothing; give it a test_step'}.",
        )
    if not inspected.validation_samples:
        raise UserCodeError(
            f"{recipe.data} gives no validation samples to rank trials by.",
            hint="Return (train, validation).",
        )
    is_maximised(recipe.trials.metric)
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


def _how_to_give_data(recipe: Recipe) -> str:
    if recipe.data is None:
        return (
            "Name the function that returns (train, validation): `data: file.py:load_data` in the "
            "recipe, or --set data=file.py:load_data (probe and benchmark need none)."
        )
    source, _, name = recipe.data.partition(":")
    return (
        f"{source} has no {name}: write it, so that it returns (train, validation), or name yours: "
        f"--set data={source}:FUNCTION. Beside a function in Python: data={name}."
    )


def plan(
    session: Session, inspected: Inspected, probed: ProbeResult, measured: BenchmarkResult
) -> Evidence:
    recipe = session.recipe
    rate = recipe.baseline.learning_rate or inspected.learning_rate
    assert rate is not None  # or it was refused
    rule, reason = scaling.rule_for(inspected.optimizer, recipe.trials.learning_rate)
    size = recipe.baseline.batch_size
    step_seconds = {
        point.batch_size: point.step_seconds
        for point in measured.points
        if point.batch_size == size or not measured.is_above_ceiling(point.batch_size)
    }
    step_doubts = {
        point.batch_size: log(point.high / point.low) / 2
        for point in measured.points
        if isfinite(point.high) and point.low > 0
    }
    notes, own = [], size
    if own not in step_seconds:
        size = min(step_seconds, key=lambda each: abs(log(each / own)))
        why = f"at most {probed.largest_fitting}, bounded by {BOUND_BY[probed.bounded_by]}"
        if own <= probed.largest_fitting:
            why = "its benchmark failed"
        told = f"Your batch size {own} cannot be tried ({why}): {size} is the baseline instead"
        are_all = own > probed.largest_fitting and probed.bounded_by == "samples"
        if rule != "none" and not are_all:  # in a batch of all samples yours would be no more
            rate = scaling.scaled(rate, rule, old_batch=own, new_batch=size)
            told += f", with learning rate {rate:.3g} by the rule"
        notes.append(f"{told}.")
    return Evidence(
        baseline=Setting(size, 0),
        rule=rule,
        rule_reason=reason,
        baseline_learning_rate=rate,
        step_seconds=step_seconds,
        step_doubts=step_doubts,
        maximise=is_maximised(recipe.trials.metric),
        optimizer=inspected.optimizer,
        optimizer_settings=inspected.optimizer_settings,
        accumulation_steps=inspected.accumulation_steps,
        instead_of=None if size == own else own,
        notes=notes,
    )


def is_maximised(metric: str) -> bool:
    """Whether more of the metric is better; refuses one of which that is not known."""
    words = metric.lower().replace("io_u", "iou").split("_")  # Keras names IoU io_u
    for word in reversed(words):  # an output's name comes first
        if word in MAXIMISED | MINIMISED:
            return word in MAXIMISED
    raise UsageError(
        f"Whether more or less of trials.metric {metric} is better is not known.",
        hint="Use val_loss, or a metric whose name says what it is: "
        f"{', '.join(sorted(MAXIMISED | MINIMISED))}.",
    )


def allot(
    evidence: Evidence,
    sizes: list[int],
    session: Session,
    inspected: Inspected,
    probed: ProbeResult,
    measured: BenchmarkResult,
) -> int:
    """Share the budget among the trials expected; refuse one that buys nothing. Their number."""
    trials = session.recipe.trials
    parts, jobs = _parts_and_jobs(session, len(sizes))
    evidence.validation_batch_size = _validation_batch(session, probed.ceiling)
    step_seconds = evidence.step_seconds[evidence.baseline.batch_size]
    least = evidence.least_steps * step_seconds
    needed = least * parts
    left = session.recipe.time_limit - session.kept_seconds - jobs * session.start_seconds
    left /= 1 + jobs / parts  # evaluations take as long as training
    first_seconds = max(least, min(trials.budget, left) / parts)
    _plan_evaluations(evidence, first_seconds, session, inspected, measured)
    budget = _affordable(evidence, session, jobs)
    evidence.budget_seconds = budget
    if budget < min(needed, trials.budget):
        raise _time_limit_too_short(session, budget, needed)
    if budget < needed:
        raise UsageError(
            f"trials.budget {format_duration(trials.budget)} buys "
            f"{int(budget / parts / step_seconds)} steps a trial at "
            f"{evidence.if_yours('your batch size', f'batch {evidence.baseline.batch_size}')}; "
            f"fewer than {evidence.least_steps} tell nothing.",
            hint="Give at least --set trials.budget="
            f"{int(needed) + 1}s (it is training time, all trials).",
        )
    # Down to three digits: with more seeds, and as much more of a budget, trials are the same.
    evidence.first_seconds = max(least, _three_digits(budget / parts))
    evidence.final_seconds = evidence.first_seconds * FINAL_SHARE
    evidence.seeds = trials.seeds
    evidence.seed_seconds = evidence.final_seconds * (FINALISTS + 1)
    used = session.kept_seconds + jobs * evidence.overhead_seconds + trials.budget
    evidence.spare_seeds = (session.recipe.time_limit - used) / (
        evidence.seed_seconds + evidence.overhead_seconds * (FINALISTS + 1)
    )
    return jobs


def _parts_and_jobs(session: Session, sizes: int) -> tuple[float, int]:
    """(first trials that the whole training is as long as, jobs) with so many sizes."""
    trials = session.recipe.trials
    ladders = 1 if trials.learning_rate == "none" else LATER_LADDERS
    first = (1 if ladders == 1 else FIRST_LADDER) + ladders * (sizes - 1)
    finals = (FINALISTS + 1) * trials.seeds
    return PILOT_SHARE + first + finals * FINAL_SHARE, PILOT_JOBS + first + finals


def step_seconds_at_most(session: Session, inspected: Inspected) -> float:
    """Steps that take longer are too few in a trial; infinite where large sizes are asked for."""
    recipe = session.recipe
    wished = recipe.recommend.effective_batch is not None or recipe.recommend.replicas
    if wished or not isinstance(recipe.benchmark.sizes, str):
        return inf
    parts, _ = _parts_and_jobs(session, ranking.MAX_SIZES)
    least_steps = MIN_UPDATES * inspected.accumulation_steps
    return min(recipe.trials.budget, recipe.time_limit) / parts / least_steps


def _validation_batch(session: Session, ceiling: int) -> int:
    size, replicas = min(VALIDATION_BATCH, ceiling), session.recipe.device.replicas
    return max(1, size // replicas) * replicas


def _plan_evaluations(
    evidence: Evidence,
    first_seconds: float,
    session: Session,
    inspected: Inspected,
    measured: BenchmarkResult,
) -> None:
    """On as many samples as take no longer than a trial trains, all its evaluations together.

    A power of two: what went into it may change a little, and trials are the same.
    """
    few, many = ranking.EVALUATIONS // 2 + 1, ranking.EVALUATIONS + 1  # of a first, of a finalist's
    rate = FORWARD_SPEED * max(point.samples_per_second for point in measured.points)
    affordable = max(LEAST_VALIDATION_SAMPLES, int(first_seconds * rate / few))
    known = inspected.validation_samples or affordable
    if affordable < known:
        evidence.validation_samples = 1 << (affordable.bit_length() - 1)
        evidence.notes.append(
            f"Trials are validated on {evidence.validation_samples:,} of {known:,} samples, since "
            "all would take longer than training: of arrays on a random part, else on the first, "
            "which must not be sorted. A larger trials.budget affords more."
        )
    samples = evidence.validation_samples or known
    evidence.overhead_seconds = session.start_seconds + many * samples / rate


def _three_digits(seconds: float) -> float:
    unit = 10.0 ** (floor(log10(seconds)) - 2)
    return floor(seconds / unit + 1e-6) * unit


def share_what_is_left(evidence: Evidence, trials: int) -> None:
    """Among so many trials of finalists, where ladders were longer than expected.

    Each is as long as planned at most, and as a first trial at least.
    """
    spent = (PILOT_SHARE + len(evidence.first)) * evidence.first_seconds
    left = (evidence.budget_seconds - spent) / trials
    evidence.final_seconds = min(evidence.final_seconds, max(evidence.first_seconds, left))


def _affordable(evidence: Evidence, session: Session, jobs: int) -> float:
    """Training seconds: trials.budget, or what the time limit leaves for it; negative: none.

    By what the jobs before took, whenever they ran: a run that goes on plans the same trials.
    """
    recipe = session.recipe
    left = recipe.time_limit - session.kept_seconds - jobs * evidence.overhead_seconds
    if left >= recipe.trials.budget:
        return float(recipe.trials.budget)
    evidence.notes.append(
        f"time_limit {format_duration(recipe.time_limit)} leaves "
        f"{format_duration(max(0.0, left))} of training for trials, instead of trials.budget "
        f"{format_duration(recipe.trials.budget)}."
    )
    return left


def _time_limit_too_short(session: Session, budget: float, needed: float) -> TimeLimitError:
    limit = session.recipe.time_limit
    left = f"{format_duration(budget)} of training" if budget > 0 else "no time"
    return TimeLimitError(
        f"time_limit {format_duration(limit)} leaves {left} for trials. To compare "
        f"anything takes {format_duration(needed)} at least.",
        hint=f"Give about --set time_limit={int(limit + needed - budget) + 60}s. What was measured "
        "is kept.",
    )
