"""The spine: probe -> benchmark -> trials -> recommend, over one open session.

A `Session` (see `opening.py`) binds the effects: recipe, executor, record, and who is told. All
above the executor works on a pretend device too.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import cast

import msgspec

from autobatch.core import recommend as conclusion
from autobatch.engine import gpus
from autobatch.engine.record_file import Answer
from autobatch.errors import AutobatchError, UsageError
from autobatch.protocol import (
    BenchmarkResult,
    Inspected,
    ProbeResult,
    Recommendation,
    Struct,
    Verification,
    changed,
    to_json,
)
from autobatch.stages.apart import apart_from_theirs
from autobatch.stages.ask import Session
from autobatch.stages.benchmark import benchmark as benchmark_stage
from autobatch.stages.chosen import lowered, verified_choice
from autobatch.stages.inspection import inspect as inspect
from autobatch.stages.plan import refuse_what_cannot_be_tuned
from autobatch.stages.probe import Prober
from autobatch.stages.refusal import refuse_after_probes, refuse_without_ceiling
from autobatch.stages.trial_budget import step_seconds_at_most
from autobatch.stages.trials import run_trials
from autobatch.stages.verify import verify as verify_stage


def probe(session: Session, *, exact: bool = False) -> ProbeResult:
    """What fits?"""
    with _told_when_ended(session) as told:
        inspected = inspect(session)
        apart = apart_from_theirs(session, inspected, of_memory=True)
        session.note(*apart)
        found = Prober(session, inspected, exact=exact).run()
        found = changed(found, notes=(*found.notes, *inspected.notes, *apart))
        told(found)
    _keep(session, Answer(probe=found))
    return found


def benchmark(session: Session) -> BenchmarkResult:
    """What is fast? Sizes up to what fits; of named ones, whether the largest does."""
    sizes = session.recipe.benchmark.sizes
    own = session.recipe.baseline.batch_size
    at_most = None if isinstance(sizes, str) else max(*sizes, own)
    with _told_when_ended(session) as told:
        inspected = inspect(session)
        apart = apart_from_theirs(session, inspected)
        session.note(*apart)
        probed = Prober(session, inspected, at_most=at_most).run()
        told(probed)
        if isinstance(sizes, str):
            refuse_without_ceiling(session, probed)
        measured = benchmark_stage(session, inspected, probed)
        measured = changed(measured, notes=(*measured.notes, *inspected.notes, *apart))
        told(measured)
    whole = probed if at_most is None else None  # else it says less than an earlier one may
    _keep(session, Answer(probe=whole, benchmark=measured))
    return measured


def tune(session: Session) -> Recommendation:
    """What learns soonest, and so what to type."""
    with _told_when_ended(session) as told:
        recommendation = _tune(session, told)
        told(recommendation)
    _keep(session, Answer(recommendation=recommendation))
    return recommendation


@contextmanager
def _told_when_ended(session: Session) -> Iterator[Callable[[Struct], None]]:
    """What ends a run early tells the answers there were by then; they are not recorded as such.

    It yields what is told each of them, and then ends a run that was stopped.
    """
    known: list[Struct] = []

    def told(answer: Struct) -> None:
        known.append(answer)
        session.end_if_stopped()

    try:
        yield told
    except AutobatchError as end:
        end.so_far = tuple(known)
        raise


def _tune(session: Session, told: Callable[[Struct], None]) -> Recommendation:
    inspected = inspect(session)
    refuse_what_cannot_be_tuned(session.recipe, inspected)
    apart = apart_from_theirs(session, inspected)
    session.note(*apart)
    slowest = step_seconds_at_most(session, inspected)  # that trials can use
    prober = Prober(session, inspected, step_seconds_at_most=slowest)
    probed = prober.run()
    told(probed)
    refuse_without_ceiling(session, probed)
    measured = benchmark_stage(session, inspected, probed, step_seconds_at_most=slowest)
    told(measured)
    if measured.ceiling == 0:
        refuse_after_probes(session, f"No size is left to try ({'; '.join(measured.skipped)}).")
    if measured.ceiling is not None and measured.ceiling < probed.ceiling:
        probed = lowered(prober.made, probed, measured, measured.ceiling)
    evidence = run_trials(session, inspected, probed, measured)
    wishes = session.recipe.recommend
    chosen = verified_choice(prober.made, evidence, probed, measured, prefer=wishes.prefer)
    recommendation = conclusion.compose(
        chosen.choice,
        evidence,
        chosen.probed,
        measured,
        peak_bytes=chosen.peak_bytes,
        is_verified=chosen.is_verified,
        environment=_environment(session, inspected),
        wall_seconds=session.spent_seconds,
        replicas=wishes.replicas,
        samples_per_update=wishes.effective_batch,
    )
    warnings = (*chosen.doubts, *recommendation.warnings, *inspected.notes, *apart)
    return changed(recommendation, warnings=warnings)


def verify(session: Session, recommended: Recommendation) -> Verification:
    """Does a recommendation still hold, here and now?"""
    inspected = inspect(session, recommended.environment.get("inspected_batch_size"))
    found = verify_stage(session, inspected, recommended, _environment(session, inspected))
    _keep(session, Answer(verification=found))
    return found


def _environment(session: Session, inspected: Inspected) -> dict[str, object]:
    """With the backend in the recipe: elsewhere, KERAS_BACKEND may name another, or none."""
    recipe = msgspec.to_builtins(session.recipe, enc_hook=_plain)
    return {
        "device": inspected.device_name,
        "device_kind": inspected.device_kind,
        "replicas": session.recipe.device.replicas,
        "precision": inspected.precision,
        "jit_compile": inspected.jit_compile,
        "versions": inspected.versions | _driver(inspected),
        "settings": inspected.settings,
        "data": inspected.data_source,
        "data_fingerprint": inspected.data_fingerprint,
        "code_fingerprint": inspected.code_fingerprint,
        "configuration": inspected.configuration,
        "inspected_batch_size": inspected.batch_size,
        "model": session.record.target.model,
        "folder": session.record.target.folder,
        "parameters": inspected.parameters,
        "run_directory": str(session.record.directory),
        "measured": session.record.header.created[:10],  # the date, in UTC, that the run began
        "recipe": recipe | {"backend": session.record.target.backend},
    }


def _driver(inspected: Inspected) -> dict[str, str]:
    used = gpus.usable() if inspected.device_kind == "gpu" else []
    return {"NVIDIA driver": used[0].driver} if used else {}


def _plain(value: object) -> object:
    return float(value) if isinstance(value, float) else int(cast(int, value))


def _keep(session: Session, answer: Answer) -> None:
    """Write an answer into the run; without room it is only told, as it follows from the rest."""
    try:
        session.record.add_answer(answer)
        if answer.recommendation is not None:
            _write(session.record.directory / "recommendation.json", answer.recommendation)
    except (OSError, UsageError) as error:
        session.note(f"The answer is not kept in the run directory: {error.args[-1]}")


def _write(path: Path, recommendation: Recommendation) -> None:
    aside = path.with_suffix(".tmp")
    aside.write_text(to_json(recommendation) + "\n", encoding="utf-8")
    aside.replace(path)
