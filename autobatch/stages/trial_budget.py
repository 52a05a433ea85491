"""How the training that trials.budget pays for is shared among them."""

from collections.abc import Callable
from math import ceil, floor, inf, log10

from autobatch.core import learning_curves
from autobatch.core.evidence import MIN_UPDATES, Evidence
from autobatch.core.more_seeds import SPARE_SECONDS
from autobatch.core.trial_sizes import MAX_SIZES
from autobatch.errors import UsageError
from autobatch.protocol import BenchmarkPoint, BenchmarkResult, Inspected, ProbeResult
from autobatch.recipe import Recipe
from autobatch.stages.ask import Session
from autobatch.stages.pilot import PILOT_JOBS, PILOT_SHARE, fixed_steps
from autobatch.stages.plan import sharpness_seconds
from autobatch.units import format_duration

FINALISTS = 4  # beside the baseline
FINAL_SHARE = 2.0  # a finalist trains this many times as long as a first trial
FIRST_LADDER, LATER_LADDERS = 6, 4  # trials expected at the baseline's size, at each other size
VALIDATION_BATCH = 1024
LEAST_VALIDATION_SAMPLES = 256
FORWARD_SPEED = 3.0  # of an evaluation, over that of training
EVALUATED_SHARE = 0.5  # of a finalist's training time, that its evaluations take at most
HALVINGS = 30  # of trials.budget, to what the time limit has room for


def allot(
    evidence: Evidence,
    sizes: list[int],
    session: Session,
    probed: ProbeResult,
    measured: BenchmarkResult,
) -> int:
    """Share the budget among the trials expected; refuse one that buys nothing. Their number."""
    trials = session.recipe.trials
    parts, jobs = _parts_and_jobs(session, len(sizes))
    evidence.validation_batch_size = _multiple(min(VALIDATION_BATCH, probed.ceiling), probed)
    if trials.sharpness and evidence.inspected.why_no_sharpness is None:
        evidence.sharpness_seconds = sharpness_seconds(measured, evidence.validation_batch_size)
    least = evidence.least_steps * evidence.step_seconds[evidence.baseline.batch_size]
    pilot_seconds = _pilot_seconds(evidence, session.recipe)
    needed = _needed_seconds(session, evidence, len(sizes))

    def plan(budget: float) -> float:
        """Seconds of all trials, with their evaluations, that share so much training."""
        first_seconds = max(least, (budget - pilot_seconds) / parts)
        # Down to three digits: with more seeds, and as much more of a budget, trials are the same.
        evidence.first_seconds = max(least, _three_digits(first_seconds))
        _plan_evaluations(evidence, session, probed, measured)
        return budget + _beside_seconds(evidence, jobs, trials.seeds)

    budget = _affordable(evidence, session, plan)
    evidence.budget_seconds = budget
    if budget < needed:
        raise _too_little(session, evidence, probed, budget, len(sizes))
    _tell_of_fewer_evaluated(evidence)
    evidence.final_seconds = evidence.first_seconds * FINAL_SHARE
    evidence.first_trials, evidence.seeds = _first_trials(session, len(sizes)), trials.seeds
    evidence.seed_seconds = evidence.final_seconds * (FINALISTS + 1)
    beside_seconds = _beside_seconds(evidence, jobs, trials.seeds)
    evidence.seed_run_seconds = evidence.seed_seconds + _beside_seconds(evidence, FINALISTS + 1, 1)
    evidence.run_seconds = session.kept_seconds + beside_seconds + budget
    evidence.time_limit = session.recipe.time_limit
    return jobs


def _parts_and_jobs(session: Session, sizes: int) -> tuple[float, int]:
    """(first trials that the whole training is as long as, jobs) with so many sizes.

    Beside what of the pilot is not shorter with them.
    """
    first = _first_trials(session, sizes)
    finals = (FINALISTS + 1) * session.recipe.trials.seeds
    return PILOT_SHARE + first + finals * FINAL_SHARE, PILOT_JOBS + first + finals


def _first_trials(session: Session, sizes: int) -> int:
    if session.recipe.trials.learning_rate == "none":
        return sizes
    return FIRST_LADDER + LATER_LADDERS * (sizes - 1)


def step_seconds_at_most(session: Session, inspected: Inspected) -> float:
    """Steps that take longer are too few in a trial; infinite where large sizes are asked for."""
    recipe = session.recipe
    wished = recipe.recommend.effective_batch is not None or recipe.recommend.replicas
    if wished or not isinstance(recipe.benchmark.sizes, str):
        return inf
    parts, _ = _parts_and_jobs(session, MAX_SIZES)
    updates, accumulated = MIN_UPDATES * parts, inspected.accumulation_steps
    steps = updates * accumulated + fixed_steps(recipe, accumulated)
    return min(recipe.trials.budget, recipe.time_limit) / steps


def _needed_seconds(session: Session, evidence: Evidence, sizes: int) -> float:
    """Of training, for trials of so many sizes that tell something."""
    parts, _ = _parts_and_jobs(session, sizes)
    least = evidence.least_steps * evidence.step_seconds[evidence.baseline.batch_size]
    return least * parts + _pilot_seconds(evidence, session.recipe)


def _pilot_seconds(evidence: Evidence, recipe: Recipe) -> float:
    steps = fixed_steps(recipe, evidence.inspected.accumulation_steps)
    return steps * evidence.step_seconds[evidence.baseline.batch_size]


def _beside_seconds(evidence: Evidence, jobs: int, seeds: int) -> float:
    """Of so many jobs, beside training; finalists and baseline with so many seeds among them."""
    finals = (FINALISTS + 1) * seeds
    return jobs * evidence.overhead_seconds + finals * evidence.sharpness_seconds


def _multiple(samples: int, probed: ProbeResult) -> int:
    """The most up to `samples` that the user's code takes, perhaps in multiples alone."""
    return max(1, samples // probed.multiple) * probed.multiple


def _plan_evaluations(
    evidence: Evidence, session: Session, probed: ProbeResult, measured: BenchmarkResult
) -> None:
    """On so many samples that a finalist's evaluations take a share of its training at most.

    By a power of two: what went into it may change a little, and trials are the same.
    """
    evaluations = learning_curves.EVALUATIONS + 1
    points = measured.points
    if evidence.inspected.validation_is_batched:  # as training is, at the baseline
        points = (measured.point(evidence.baseline.batch_size),)
    rate = max(map(_evaluated_per_second, points))
    seconds = EVALUATED_SHARE * FINAL_SHARE * evidence.first_seconds
    affordable = max(LEAST_VALIDATION_SAMPLES, int(seconds * rate / evaluations))
    known = evidence.inspected.validation_samples
    assert known is not None  # or it was refused
    evidence.validation_samples = None
    if affordable < known:
        evidence.validation_samples = _multiple(1 << (affordable.bit_length() - 1), probed)
    samples = evidence.validation_samples or known
    evidence.overhead_seconds = session.start_seconds + evaluations * samples / rate


def _tell_of_fewer_evaluated(evidence: Evidence) -> None:
    if evidence.validation_samples is not None:
        evidence.notes.append(
            f"Trials are validated on {evidence.validation_samples:,} of "
            f"{evidence.inspected.validation_samples:,} samples, since all would take over half as "
            "long as training: of arrays on a random part, else on the first, which must not be "
            "sorted. A larger trials.budget affords more."
        )


def _evaluated_per_second(point: BenchmarkPoint) -> float:
    """Samples, no faster than the input pipeline delivers those of training."""
    delivered = point.samples_per_second
    drawn = max(delivered, point.input_samples_per_second or inf)
    return min(FORWARD_SPEED * delivered, drawn)


def _three_digits(seconds: float) -> float:
    unit = 10.0 ** (floor(log10(seconds)) - 2)
    return floor(seconds / unit + 1e-6) * unit


def most_first_trials(evidence: Evidence) -> int:
    """After which the trials of finalists are, within the budget, as long as a first one each."""
    finals = (FINALISTS + 1) * evidence.seeds
    return evidence.first_trials + int(finals * (FINAL_SHARE - 1))


def share_what_is_left(evidence: Evidence, recipe: Recipe, finalists: int) -> None:
    """Among the trials of finalists and baseline, where ladders were longer than expected.

    Each is as long as planned at most, and as a first trial at least.
    """
    spent = (PILOT_SHARE + len(evidence.first)) * evidence.first_seconds
    spent += _pilot_seconds(evidence, recipe)
    left = (evidence.budget_seconds - spent) / (finalists * recipe.trials.seeds)
    cut = max(evidence.first_seconds, left)
    if cut < evidence.final_seconds:
        evidence.final_seconds, evidence.goes_on = cut, False


def _affordable(evidence: Evidence, session: Session, plan: Callable[[float], float]) -> float:
    """Training seconds: trials.budget, or what the time limit leaves for it; negative: none.

    By what the jobs before took, whenever they ran: a run that goes on plans the same trials. And
    so does one that is given this budget, with more time: evaluations go by the budget alone.
    """
    recipe = session.recipe
    left = recipe.time_limit - session.kept_seconds
    budget, most = 0.0, float(recipe.trials.budget)
    if plan(most) <= left:
        return most
    for _ in range(HALVINGS):
        middle = (budget + most) / 2
        if plan(middle) <= left:
            budget = middle
        else:
            most = middle
    budget += min(0.0, left - plan(budget))
    evidence.notes.append(
        f"time_limit {format_duration(recipe.time_limit)} leaves "
        f"{format_duration(max(0.0, budget))} of training for trials, instead of trials.budget "
        f"{format_duration(recipe.trials.budget)}."
    )
    return budget


def _too_little(
    session: Session, evidence: Evidence, probed: ProbeResult, budget: float, sizes: int
) -> UsageError:
    """By trials.budget or time_limit; with all that is to be given for an answer.

    Where larger sizes were left out for it, they are tried then, too.
    """
    recipe, allowed = session.recipe, session.recipe.trials.budget
    then = MAX_SIZES if probed.bounded_by == "trials" else sizes
    needed = _needed_seconds(session, evidence, then)
    _, jobs = _parts_and_jobs(session, then)
    whole = session.kept_seconds + _beside_seconds(evidence, jobs, recipe.trials.seeds) + needed
    give = []
    if allowed < needed:
        give.append(
            f"at least --set trials.budget={int(needed) + 1}s (it is training time, all trials)"
        )
    if recipe.time_limit < whole:
        give.append(f"about --set time_limit={ceil(whole) + SPARE_SECONDS}s")
    if budget < allowed:
        left = f"{format_duration(budget)} of training" if budget > 0 else "no time"
        least = _needed_seconds(session, evidence, sizes)
        told = (
            f"time_limit {format_duration(recipe.time_limit)} leaves {left} for trials. To compare "
            f"anything takes {format_duration(least)} at least."
        )
    else:
        parts, _ = _parts_and_jobs(session, sizes)
        step_seconds = evidence.step_seconds[evidence.baseline.batch_size]
        training = max(0.0, budget - _pilot_seconds(evidence, recipe))
        told = (
            f"trials.budget {format_duration(allowed)} buys "
            f"{int(training / parts / step_seconds)} steps a trial at "
            f"{evidence.if_yours('your batch size', f'batch {evidence.baseline.batch_size}')}; "
            f"fewer than {evidence.least_steps} tell nothing."
        )
    return UsageError(told, hint=f"Give {' and '.join(give)}. What was measured is kept.")


def time_limit_ended(session: Session, evidence: Evidence, overhead_seconds: float) -> UsageError:
    """With a limit that has room for all trials anew: with more time they may be longer.

    They are as long as trials.budget has them at most, and `overhead_seconds` each beside it, or
    as was planned; those of finalists also with their sharpness.
    """
    recipe = session.recipe
    used = max(session.spent_seconds, recipe.time_limit - min(0.0, session.seconds_left()))
    jobs = PILOT_JOBS + evidence.first_trials + (FINALISTS + 1) * evidence.seeds
    more_seconds = jobs * max(0.0, overhead_seconds - evidence.overhead_seconds)
    beside_seconds = _beside_seconds(evidence, jobs, evidence.seeds) + more_seconds
    needed = used + beside_seconds + recipe.trials.budget
    return UsageError(
        f"time_limit {format_duration(recipe.time_limit)} ended before any setting could be "
        "compared with the baseline.",
        hint=f"Give about --set time_limit={ceil(needed) + SPARE_SECONDS}s, or a smaller "
        "trials.budget. What was measured is kept.",
    )
