"""What the user's model and data are, and that they work: always asked anew."""

from autobatch.engine.record_file import Entry
from autobatch.errors import NothingFitsError, UserCodeError, one_line
from autobatch.protocol import Inspect, Inspected, Outcome, OutOfMemory, TimedOut
from autobatch.stages.ask import Session, why_it_failed

INSPECT_DEADLINE_SECONDS = 600.0  # or half of time_limit, where that is more


def inspect(session: Session) -> Inspected:
    """What the user's model and data are. Always asked anew: it shows whether they are the same."""
    session.begin("inspect", 1, 10.0)
    task = Inspect(batch_size=session.recipe.baseline.batch_size)
    first = session.record.first_inspection()
    if first is not None and first != task:  # what depends on the size is comparable only there
        _inspect(session, first)
    entry = _inspect(session, task)
    if isinstance(entry.outcome, OutOfMemory):
        raise NothingFitsError(
            "Nothing fits: memory runs out before anything trains, without a limit of ours: "
            f"{one_line(entry.outcome.evidence, 300)}.",
            hint="Make the model or its inputs smaller; where the model or load_data is built for "
            f"one batch size, lower baseline.batch_size, too ({task.batch_size}). `autobatch "
            "doctor` says what memory there is, and who holds it.",
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
    session.note(*entry.outcome.notes)
    if entry.outcome.nan:
        session.note(f"The data: {entry.outcome.nan}.")
    return entry.outcome


def _inspect(session: Session, task: Inspect) -> Entry:
    target = session.record.header.target
    return session.ask(
        "inspect",
        task,
        target.model,
        lambda outcome: _describe(outcome, target.backend),
        deadline_seconds=session.deadline_seconds(
            max(INSPECT_DEADLINE_SECONDS, session.recipe.time_limit / 2)
        ),
        reuse=False,
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
