"""What the probes of a run show beside the sizes that fit: leaks, uneven memory, other failures."""

import re

from autobatch.core.leak import host_leak_sentence, leak_sentence
from autobatch.engine import machine
from autobatch.engine.verdict import SHARED_MEMORY
from autobatch.protocol import OutOfMemory, OverBudget, UserCodeFailed
from autobatch.stages.ask import why_it_failed
from autobatch.stages.probes import NOT_ABOUT_MEMORY, Probes
from autobatch.stages.refusal import OF_SHARED

PROCESS_ID = re.compile(r" \(pid(\(s\))? [\d, ]+\)")  # a DataLoader's: another each time


def remarks(made: Probes) -> tuple[str, ...]:
    """Sentences for the user, after those that the probes brought as they went."""
    return (
        *made.notes,
        *_not_about_memory(made),
        *_shared_memory(made),
        *_leaks(made),
        *_uneven(made),
        *_unvalidated(made),
    )


def _not_about_memory(made: Probes) -> list[str]:
    """One for each way of failing, however many sizes failed so."""
    failed: dict[tuple[str, str], set[int]] = {}
    for task, entry in made.entries.items():
        if isinstance(entry.outcome, NOT_ABOUT_MEMORY):
            why = PROCESS_ID.sub("", why_it_failed(entry.outcome))
            why = why.replace(f"At batch {task.batch_size}: ", "")
            is_known = isinstance(entry.outcome, UserCodeFailed)
            known = "Not about memory." if is_known else "Nothing it left says that memory is why."
            failed.setdefault((why, known), set()).add(task.batch_size)
    return [
        f"Batch {min(sizes)}{_and_larger(len(sizes) - 1)}: {why}. {known}"
        for (why, known), sizes in failed.items()
    ]


def _shared_memory(made: Probes) -> list[str]:
    """Where it is that which bounds the batch, and not all of the machine's."""
    evidences = (getattr(entry.outcome, "evidence", "") for entry in made.entries.values())
    return [OF_SHARED] if any(map(SHARED_MEMORY.search, evidences)) else []


def _and_larger(count: int) -> str:
    return f" and {count} larger that {'was' if count == 1 else 'were'} tried" if count else ""


def _leaks(made: Probes) -> list[str]:
    """Of the largest size seen to hold more after every step: of the device's memory.

    Else of the machine's. Where both do, it may be the same memory.
    """
    of_device = [found for found in made.fitted if found[1].leak_bytes_per_step]
    if of_device:
        task, fits = max(of_device, key=lambda found: found[0].batch_size)
        if told := leak_sentence(task.batch_size, fits, made.session.limit_bytes):
            return [told]
    of_host = [found for found in made.fitted if found[1].host_leak_bytes_per_step]
    if not of_host:
        return []
    task, fits = max(of_host, key=lambda found: found[0].batch_size)
    trains_there = made.session.record.target.device != "gpu"
    spare = machine.spare_bytes() - (fits.peak_bytes if trains_there else 0)
    told = host_leak_sentence(task.batch_size, fits, max(0, spare))
    return [told] if told else []


def _uneven(made: Probes) -> list[str]:
    """Where a size failed for memory though it, or a larger one, had trained under the limit.

    With validation, if that failed with it.
    """
    limit_bytes, short = made.session.limit_bytes, (OutOfMemory, OverBudget)
    failed = [task for task, e in made.entries.items() if isinstance(e.outcome, short)]
    pairs = [
        (fits.batch_size, fails.batch_size)
        for fits, _ in made.fitted
        for fails in failed
        if fits.limit_bytes == fails.limit_bytes == limit_bytes
        and fits.batch_size >= fails.batch_size
        and fits.verify >= fails.verify
    ]
    if not pairs:
        return []
    fits, fails = max(size for size, _ in pairs), min(size for _, size in pairs)
    return [
        f"Memory is uneven: {fits} trained in one process, {fails} did not in "
        "another. It varies from run to run, or does not grow with each sample: train with "
        "the size that keeps the headroom."
    ]


def _unvalidated(made: Probes) -> list[str]:
    """Where what was verified has no validation, whose memory may be more than that of training."""
    verified = [fits for task, fits in made.fitted if task.verify]
    if not verified or any(fits.validated for fits in verified):
        return []
    return [
        "Verified without a validation pass: there is no validation data, or the model cannot be "
        "evaluated."
    ]
