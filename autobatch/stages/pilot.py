"""What the baseline's own training tells before any trial: its gradients' noise, its highest rate.

Neither decides anything: the noise scale says which sizes are worth a trial, the range test which
rates are not. Where they cannot be had, that is said, and trials go on without.
"""

import sys
from collections.abc import Callable

from autobatch.core import range_test
from autobatch.core.evidence import MIN_UPDATES, Evidence
from autobatch.core.noise_scale import noise_scale
from autobatch.protocol import (
    Differentiated,
    Gradients,
    NoiseScale,
    Outcome,
    Ranged,
    RangeTest,
    changed,
)
from autobatch.recipe import Recipe
from autobatch.stages.ask import Session, why_it_failed

PILOT_JOBS = 2
PILOT_SHARE = 3.0  # first trials that both jobs take as long as, beside `fixed_steps`
LEAST_MICRO_BATCHES, MOST_MICRO_BATCHES = 32, 256
WANTED_SAMPLES = 4096  # differentiated: resolves a noise scale of 1000
EARLY_SHARE = 0.1  # of the steps of the late measurement
RANGE_UPDATES = 100  # where gradients are accumulated, each has the rate of its last batch
LOWEST_FACTOR, HIGHEST_FACTOR = 0.1, 4096.0  # of the baseline's learning rate; 2^12, as the ladder


def fixed_steps(recipe: Recipe, accumulation_steps: int) -> int:
    """That both jobs take at most beside PILOT_SHARE first trials, however short these are."""
    least = MIN_UPDATES * accumulation_steps  # of a first trial, and as many micro-batches twice
    steps = 2 * max(0, LEAST_MICRO_BATCHES - least)
    searches_rates = recipe.trials.learning_rate != "none"
    return steps + RANGE_UPDATES * accumulation_steps if searches_rates else steps


def pilot(session: Session, evidence: Evidence) -> None:
    """Both measurements, filed into the evidence."""
    evidence.noise = _noise(session, evidence)
    if session.recipe.trials.learning_rate != "none" and not session.is_to_end():
        evidence.divergence_rate = _divergence_rate(session, evidence)


def _noise(session: Session, evidence: Evidence) -> tuple[NoiseScale, ...]:
    """Early and late in the baseline's training; empty where it cannot be measured."""
    size, samples = evidence.baseline.batch_size, evidence.inspected.train_samples or 0
    steps = max(1, round(evidence.first_seconds / evidence.step_seconds[size]))
    micro = max(1, min(size, samples // LEAST_MICRO_BATCHES))
    most = min(MOST_MICRO_BATCHES, steps)  # each takes as long as a step, at most
    count = max(LEAST_MICRO_BATCHES, min(most, WANTED_SAMPLES // micro))
    if samples < 2 * LEAST_MICRO_BATCHES:
        evidence.notes.append(f"The noise scale cannot be measured with {samples} samples.")
        return ()
    task = Gradients(
        batch_size=size,
        learning_rate=evidence.baseline_learning_rate,
        measure_at=(max(1, round(EARLY_SHARE * steps)), steps),
        micro_batch_size=micro,
        micro_batches=count,
        # Not of a number that is only known as a least: no population, then, that was seen whole.
        training_samples=samples if evidence.inspected.is_whole else sys.maxsize,
        seed=session.recipe.seed,
        limit_bytes=session.job_limit_bytes,
        rate_argument_stays=evidence.inspected.rate_argument_stays,
    )
    label = f"noise scale, {count} x {micro} samples"
    outcome = _ask(session, evidence, task, label, _phrase, steps=steps + 2 * count)
    if isinstance(outcome, Differentiated) and outcome.moments:
        measured = map(noise_scale, outcome.moments)
        if found := tuple(each for each in measured if each.low > 0):
            return found
        outcome = changed(outcome, moments=(), reason="the gradients do not vary, or are too few")
    evidence.notes.append(f"The noise scale was not measured: {_why_not(outcome)}.")
    return ()


def _divergence_rate(session: Session, evidence: Evidence) -> float | None:
    """Where training breaks down; None if it does not, or that is not known."""
    steps = RANGE_UPDATES * evidence.inspected.accumulation_steps
    task = RangeTest(
        batch_size=evidence.baseline.batch_size,
        learning_rate=evidence.baseline_learning_rate,
        lowest_factor=LOWEST_FACTOR,
        highest_factor=HIGHEST_FACTOR,
        steps=steps,
        seed=session.recipe.seed,
        limit_bytes=session.job_limit_bytes,
        rate_argument_stays=evidence.inspected.rate_argument_stays,
    )
    rate = evidence.baseline_learning_rate

    def phrase(outcome: Outcome) -> str:
        return _range_phrase(outcome, rate)

    outcome = _ask(session, evidence, task, "learning-rate range", phrase, steps=steps)
    if not isinstance(outcome, Ranged) or not outcome.losses:
        evidence.notes.append(
            f"The learning-rate range test failed ({phrase(outcome)}): no upper end of rates is "
            "known."
        )
        return None
    return _found(outcome, rate)


def _ask(
    session: Session,
    evidence: Evidence,
    task: Gradients | RangeTest,
    label: str,
    phrase: Callable[[Outcome], str],
    *,
    steps: int,
) -> Outcome:
    seconds = steps * evidence.step_seconds[evidence.baseline.batch_size]
    entry = session.ask(
        "trials",
        task,
        label,
        phrase,
        deadline_seconds=session.deadline_of_work(seconds),
        user_code_may_fail=True,
    )
    return entry.outcome


def _found(outcome: Ranged, rate: float) -> float | None:
    rates = [factor * rate for factor in outcome.factors]
    return range_test.divergence_rate(rates, outcome.losses, broke_down=outcome.broke_down)


def _why_not(outcome: Outcome) -> str:
    return outcome.reason if isinstance(outcome, Differentiated) else why_it_failed(outcome)


def _phrase(outcome: Outcome) -> str:
    if not isinstance(outcome, Differentiated) or not outcome.moments:
        return _why_not(outcome)
    return ", later ".join(_scale(noise_scale(each)) for each in outcome.moments)


def _scale(found: NoiseScale) -> str:
    return f"at least {found.low:.3g}" if found.value is None else f"{found.value:.3g}"


def _range_phrase(outcome: Outcome, rate: float) -> str:
    if not isinstance(outcome, Ranged):
        return why_it_failed(outcome)
    if not outcome.losses:
        return "its first step had no loss that is a finite number"
    found = _found(outcome, rate)
    if found is None:
        return f"trains up to {outcome.factors[-1] * rate:.3g}"
    return f"breaks down at {found:.3g}"
