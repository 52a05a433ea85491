"""What the user's model and data are, and that they work: always asked anew."""

from collections.abc import Mapping

from autobatch.engine.record_file import Entry
from autobatch.errors import NothingFitsError, UserCodeError, one_line
from autobatch.protocol import (
    Inspect,
    Inspected,
    Outcome,
    OutOfMemory,
    Task,
    TimedOut,
    UserCodeFailed,
)
from autobatch.stages.ask import Session, why_it_failed
from autobatch.stages.refusal import of_machine

INSPECT_DEADLINE_SECONDS = 600.0  # or half of time_limit, where that is more
SMALLER = 4  # each size that is tried for want of memory is so many times smaller


def inspect(session: Session, batch_size: int | None = None) -> Inspected:
    """What the user's model and data are. Always asked anew: it shows whether they are the same.

    At `batch_size`, or else the user's own; where memory runs out there, at a smaller one.
    """
    session.begin("inspect", 1, 10.0)
    own = Inspect(batch_size=batch_size or session.recipe.baseline.batch_size)
    first = session.record.first_inspection()
    known: dict[Task, Entry] = {}
    if first is not None and first != own:  # what depends on the size is comparable only there
        known[first] = _inspect(session, first)
    entry = _with_memory(session, _inspect(session, own), known)
    size = entry.task.batch_size
    if isinstance(entry.outcome, OutOfMemory):
        smaller = (
            "Make the model or its inputs smaller; where the model or load_data is built for one "
            f"batch size, lower baseline.batch_size, too ({own.batch_size}). `autobatch doctor` "
            "says what memory there is and, of GPUs, who holds it."
        )
        raise NothingFitsError(
            f"Nothing fits: memory runs out before anything trains, with batch {size} and without "
            f"a limit of ours: {one_line(entry.outcome.evidence, 300)}.",
            hint=of_machine(entry.outcome, session) or smaller,
        )
    if not isinstance(entry.outcome, Inspected):
        is_late = isinstance(entry.outcome, TimedOut)
        longer = "It may take half of time_limit: give it more if need be. " if is_late else ""
        raise UserCodeError(
            f"The model or its data could not be looked at: {why_it_failed(entry.outcome)}.",
            hint=f"{longer}All it printed is in {session.log_of(entry)}.",
        )
    session.job_seconds = max(1.0, entry.seconds - entry.outcome.saved_seconds)
    session.end("inspect", _describe(entry.outcome, session.record.target.backend))
    if size < own.batch_size:
        session.note(
            f"Memory runs out with batch {own.batch_size} before anything trains: what is known of "
            f"model and data is from batch {size}."
        )
    session.note(*entry.outcome.notes)
    if entry.outcome.nan:
        session.note(f"The data: {entry.outcome.nan}.")
    return entry.outcome


def _with_memory(session: Session, entry: Entry, known: Mapping[Task, Entry]) -> Entry:
    """The first entry, from `entry` to ever smaller sizes, whose process had memory enough.

    The last one without, if none had. Nothing smaller is asked where memory once was enough: it
    is scarcer now, and what depends on the size could not be compared.
    """
    replicas = session.recipe.device.replicas
    least = -(-session.recipe.batch_sizes.min // replicas) * replicas
    while isinstance(entry.outcome, OutOfMemory) and session.record.find(entry.task) is None:
        size = entry.task.batch_size
        task = Inspect(batch_size=max(least, size // SMALLER // replicas * replicas))
        if task.batch_size >= size or session.seconds_left() <= 0:
            break
        smaller = known.get(task) or _inspect(session, task, user_code_may_fail=True)
        if isinstance(smaller.outcome, UserCodeFailed):  # the model may take no fewer samples
            break
        entry = smaller
    return entry


def _inspect(session: Session, task: Inspect, *, user_code_may_fail: bool = False) -> Entry:
    target = session.record.target
    is_own = task.batch_size == session.recipe.baseline.batch_size
    at = "" if is_own else f", batch {task.batch_size}"
    return session.ask(
        "inspect",
        task,
        f"{target.model}{at}",
        lambda outcome: _describe(outcome, target.backend),
        deadline_seconds=session.deadline_seconds(
            max(INSPECT_DEADLINE_SECONDS, session.recipe.time_limit / 2)
        ),
        reuse=False,
        user_code_may_fail=user_code_may_fail,
    )


def _describe(outcome: Outcome, backend: str) -> str:
    if not isinstance(outcome, Inspected):
        return why_it_failed(outcome)
    samples = "synthetic samples"
    if outcome.train_samples is not None:
        more = "" if outcome.is_whole else "at least "
        samples = f"{more}{outcome.train_samples:,} training samples"
    return (
        f"{outcome.model_name}: {outcome.parameters:,} parameters, {outcome.optimizer}, {samples}, "
        f"{backend} on {outcome.device_name}"
    )
