"""What the probes of a run show beside the sizes that fit: leaks, uneven memory, other failures."""

from autobatch.core.leak import leak_sentence
from autobatch.protocol import Fits, OutOfMemory, OverBudget
from autobatch.stages.ask import why_it_failed
from autobatch.stages.probes import NOT_ABOUT_MEMORY, Probes


def remarks(made: Probes) -> tuple[str, ...]:
    """Sentences for the user, after those that the probes brought as they went."""
    return (
        *made.notes,
        *_not_about_memory(made),
        *_leaks(made),
        *_uneven(made),
        *_unvalidated(made),
    )


def _not_about_memory(made: Probes) -> list[str]:
    """One for each way of failing, however many sizes failed so."""
    failed: dict[str, set[int]] = {}
    for task, entry in made.entries.items():
        if isinstance(entry.outcome, NOT_ABOUT_MEMORY):
            why = why_it_failed(entry.outcome).replace(f"At batch {task.batch_size}: ", "")
            failed.setdefault(why, set()).add(task.batch_size)
    return [
        f"Batch {min(sizes)}{_and_larger(len(sizes) - 1)}: {why}. Not about memory."
        for why, sizes in failed.items()
    ]


def _and_larger(count: int) -> str:
    return f" and {count} larger that {'was' if count == 1 else 'were'} tried" if count else ""


def _leaks(made: Probes) -> list[str]:
    """Of the largest size seen to hold more after every step."""
    leaking = [
        (task.batch_size, entry.outcome)
        for task, entry in made.entries.items()
        if isinstance(entry.outcome, Fits) and entry.outcome.leak_bytes_per_step
    ]
    if not leaking:
        return []
    size, fits = max(leaking, key=lambda found: found[0])
    told = leak_sentence(size, fits, made.session.limit_bytes)
    return [told] if told else []


def _uneven(made: Probes) -> list[str]:
    """Where a size failed for memory though it, or a larger one, had trained under the limit."""
    under = [
        (task.batch_size, entry.outcome)
        for task, entry in made.entries.items()
        if task.limit_bytes == made.session.limit_bytes
    ]
    failed = [size for size, outcome in under if isinstance(outcome, (OutOfMemory, OverBudget))]
    fitted = [size for size, outcome in under if isinstance(outcome, Fits)]
    if not failed or not fitted or max(fitted) < min(failed):
        return []
    return [
        f"Memory is uneven: {max(fitted)} trained in one process, {min(failed)} did not in "
        "another. It varies from run to run, or does not grow with each sample: train with "
        "the size that keeps the headroom."
    ]


def _unvalidated(made: Probes) -> list[str]:
    """Where what was verified has no validation, whose memory may be more than that of training."""
    verified = [
        entry.outcome
        for task, entry in made.entries.items()
        if task.verify and isinstance(entry.outcome, Fits)
    ]
    if not verified or any(fits.validated for fits in verified):
        return []
    return [
        "Verified without a validation pass: there is no validation data, or the model cannot be "
        "evaluated."
    ]
