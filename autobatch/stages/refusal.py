"""What ends a search in which no size trains, or is to be tried: why, and what to do."""

from typing import NoReturn

from autobatch.engine.verdict import SHARED_MEMORY
from autobatch.errors import NothingFitsError, UsageError, UserCodeError, one_line
from autobatch.protocol import Outcome, OutOfMemory, OverBudget, ProbeResult, UserCodeFailed
from autobatch.recipe import Recipe
from autobatch.stages.ask import Session, why_it_failed
from autobatch.stages.probes import NOT_ABOUT_MEMORY, Probes
from autobatch.units import format_bytes, format_share

NOTHING_FITS = "Nothing fits."


def refuse_range(recipe: Recipe, samples: int | None) -> NoReturn:
    """No size is in the range, has as many samples, and is shared by the replicas."""
    sizes, replicas = recipe.batch_sizes, recipe.device.replicas
    most = min(sizes.max, samples or sizes.max)
    if sizes.min <= most:
        raise UsageError(
            f"{replicas} replicas cannot share any batch of {sizes.min} to {most}.",
            hint=f"Let batch_sizes hold a multiple of {replicas}.",
        )
    raise UsageError(
        f"batch_sizes.min is {sizes.min}, but there are {samples} training samples.",
        hint="Lower batch_sizes.min, or give more data.",
    )


OF_MACHINE = (
    "The machine's memory runs out, not the GPU's: let load_data return smaller arrays, or what "
    "reads them as they are needed, and use fewer workers. The rows on memory of `autobatch "
    "doctor` say what the machine has."
)
OF_SHARED = (
    "Shared memory (/dev/shm) runs out, in which the processes of a DataLoader hand over their "
    "batches. A container has 64 MiB of it unless it is started with more (docker run "
    "--shm-size=2g); or use num_workers=0."
)


def of_machine(outcome: Outcome | None, session: Session) -> str | None:
    """What to do where it was the machine's memory that ran out, and the device has its own.

    Or a part of the machine's that is apart.
    """
    if not isinstance(outcome, OutOfMemory):
        return None
    if SHARED_MEMORY.search(outcome.evidence):
        return OF_SHARED
    on_gpu = session.record.target.device == "gpu"
    return OF_MACHINE if on_gpu and outcome.host_memory else None


def refuse(made: Probes, size: int, budget_bytes: int) -> NoReturn:
    """Not even the smallest size trains: why, by what it came to."""
    session = made.session
    entry = made.failed(size)
    outcome = entry.outcome if entry else None
    short = made.smallest_without_memory()
    if isinstance(outcome, UserCodeFailed) and short is not None:
        raise UserCodeError(
            outcome.message,
            hint=f"Batch {short} is out of memory already. If your model takes no fewer samples "
            "than some number, set batch_sizes.min to that, to see whether it fits.",
            traceback=outcome.traceback,
        )
    if entry is not None:
        session.raise_for_user(entry)
    if entry is not None and isinstance(outcome, NOT_ABOUT_MEMORY):
        raise UserCodeError(
            f"Training with batch {size} does not work: {why_it_failed(outcome)}.",
            hint=f"The end of {session.log_of(entry)} says more.",
        )
    if isinstance(outcome, OutOfMemory) and (hint := of_machine(outcome, session)):
        raise NothingFitsError(
            f"{NOTHING_FITS} Even a batch of {size} does not: memory of the machine runs out "
            f"({one_line(outcome.evidence, 120)}).",
            hint=hint,
        )
    free_bytes = session.record.header.free_bytes
    needs = _needs(outcome)
    if budget_bytes < free_bytes and (fits := made.ask(size, free_bytes)):
        needs = f"with more memory it peaks at {format_bytes(fits.peak_bytes)}"
    allowed = format_bytes(budget_bytes)
    if budget_bytes < session.limit_bytes:
        allowed += f" (the limit less {format_share(session.recipe.device.headroom)} headroom)"
    raise NothingFitsError(
        f"{NOTHING_FITS} Even a batch of {size} does not: {needs}, and may use {allowed}.",
        hint=_remedy(session),
    )


def refuse_without_ceiling(session: Session, probed: ProbeResult) -> None:
    """Where no size keeps the headroom, there is none to go on with."""
    if probed.ceiling:
        return
    of, remedy = format_bytes(probed.limit_bytes), _remedy(session)
    if probed.bounded_by == "host_memory":
        of = "the machine's memory"
        remedy = OF_MACHINE if session.record.target.device == "gpu" else remedy
        if any(SHARED_MEMORY.search(point.evidence or "") for point in probed.probes):
            remedy = OF_SHARED
    raise NothingFitsError(
        f"No batch size keeps {format_share(probed.headroom)} of {of} free; "
        f"the {probed.name_of_largest} is {probed.largest_fitting}.",
        hint="Lower device.headroom (--set device.headroom=0% keeps nothing free). If that is to "
        f"stay: {remedy} `autobatch benchmark --sizes` measures sizes that fit without it.",
    )


def refuse_after_probes(session: Session, told: str, outcome: Outcome | None = None) -> NoReturn:
    """Sizes that fit ran out of memory all the same, when they were timed."""
    is_named = not isinstance(session.recipe.benchmark.sizes, str)
    smaller = "Name smaller sizes. Else: " if is_named else ""
    hint = of_machine(outcome, session) or smaller + _remedy(session)
    raise NothingFitsError(told, hint=hint)


def _remedy(session: Session) -> str:
    """How to have more memory, or to need less.

    A higher limit is none where the limit is all that was free.
    """
    fresh, more = "", "Make"
    if session.more_is_free:
        fresh = "More memory is free now than at the first start: --fresh measures anew. Else: "
    if session.limit_bytes < session.record.header.free_bytes:
        more = "Raise device.memory_limit, make"
    elif not session.more_is_free:
        on_gpu = session.record.target.device == "gpu"
        of = "the GPU (`autobatch doctor` says who holds it)" if on_gpu else "the machine"
        more = f"Free memory of {of} and start with --fresh, make"
    return f"{fresh}{more} the model or its inputs smaller, or use mixed precision."


def _needs(outcome: Outcome | None) -> str:
    needs = "it runs out of memory"
    if isinstance(outcome, OverBudget):
        return f"it peaks at {format_bytes(outcome.peak_bytes)}"
    if isinstance(outcome, OutOfMemory):
        held = f", {format_bytes(outcome.peak_bytes)} held" if outcome.peak_bytes else ""
        return f"{needs} ({one_line(outcome.evidence, 120)}{held})"
    return needs
