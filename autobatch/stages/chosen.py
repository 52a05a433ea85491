"""What is chosen must pass a verification of its own; where it does not, another is chosen."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

from autobatch.core.choose import choose
from autobatch.core.evidence import Evidence
from autobatch.core.memory_line import peak_between
from autobatch.core.standing import Choice
from autobatch.errors import InterruptedRunError
from autobatch.protocol import (
    BenchmarkResult,
    Outcome,
    OutOfMemory,
    OverBudget,
    ProbeResult,
    changed,
)
from autobatch.stages.ask import why_it_failed
from autobatch.stages.probes import Probes


@dataclass(frozen=True)
class Chosen:
    choice: Choice
    probed: ProbeResult  # with the ceiling that holds for the choice
    peak_bytes: int
    is_verified: bool
    doubts: tuple[str, ...]


def verified_choice(
    made: Probes,
    evidence: Evidence,
    probed: ProbeResult,
    measured: BenchmarkResult,
    *,
    prefer: Literal["small", "large"],
) -> Chosen:
    """Ends with the user's own batch size at the latest, which is what they train with as it is."""
    doubts: list[str] = []
    unverified: dict[int, str] = {}
    while True:
        choice = choose(evidence, ceiling=probed.ceiling, prefer=prefer, unverified=unverified)
        size = choice.setting.batch_size
        is_own = size == evidence.baseline.batch_size
        peak_bytes, failed = _verify(made, size, ceiling=probed.ceiling, is_own=is_own)
        if peak_bytes is not None:
            doubts += [made.doubt] if made.doubt else []
            if size <= probed.ceiling and peak_bytes > probed.kept_bytes:
                probed = lowered(made, probed, measured, _below(size, probed, measured, unverified))
            return Chosen(choice, probed, peak_bytes, True, tuple(doubts))
        why = "the run was interrupted before" if failed is None else why_it_failed(failed)
        if failed is None or is_own:
            doubts.append(f"{_unverified(size, why)}the peak told is of another size.")
            return Chosen(choice, probed, probed.ceiling_peak_bytes, False, tuple(doubts))
        unverified[size] = why
        doubts.append(f"{_unverified(size, why)}what is recommended was chosen without it.")
        if isinstance(failed, (OutOfMemory, OverBudget)) or size == probed.ceiling:
            probed = lowered(made, probed, measured, _below(size, probed, measured, unverified))


def _below(
    size: int, probed: ProbeResult, measured: BenchmarkResult, unverified: Mapping[int, str]
) -> int:
    """The next smaller size that was measured, and did not fail."""
    smaller = [point.batch_size for point in measured.points if point.batch_size < size]
    left = [each for each in smaller if each not in unverified]
    return max(left, default=max(size - probed.multiple, probed.multiple))


def lowered(
    made: Probes, probed: ProbeResult, measured: BenchmarkResult, ceiling: int
) -> ProbeResult:
    """With a lower ceiling, and the peak there: by the benchmark, or else by the probes.

    What fails had passed its probe; so the largest, too, was no more than seen to fit.
    """
    held = {point.batch_size: point.peak_bytes for point in measured.points}
    peak_bytes = held.get(ceiling) or peak_between(made.peaks(), ceiling)
    return changed(probed, ceiling=ceiling, ceiling_peak_bytes=peak_bytes, verified=False)


def _unverified(size: int, why: str) -> str:
    return f"Batch {size} was not verified by itself ({why}); "


def _verify(
    made: Probes, size: int, *, ceiling: int, is_own: bool
) -> tuple[int | None, Outcome | None]:
    """The peak, if it passes; else what came of it, if the run was not interrupted before.

    What keeps the headroom has to do so here, too; the user's own size may do without.
    """
    limit_bytes, headroom = made.session.limit_bytes, made.session.recipe.device.headroom
    limits = [int(limit_bytes * (1 - headroom))] if size <= ceiling else []
    limits += [limit_bytes] if is_own else []
    try:
        if any(made.final(size, each) is not None for each in limits):
            return made.peak(size), None
    except InterruptedRunError:
        return None, None
    return None, made.failed_verification(size, limits[-1]).outcome
