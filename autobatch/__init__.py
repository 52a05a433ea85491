"""Which batch size and learning rate to train a Keras model with on this machine, measured.

    import autobatch

    result = autobatch.recommend("recipe.yaml")
    print(result.snippet)  # the lines to paste: all that changes

The functions do what the commands of the same names do, return the same frozen results, and share
the same record: what was measured is not measured again. A script or a notebook may pass what it
defines: `autobatch.recommend(build_model, data=load_data)`. In a notebook results show as tables.
"""

import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, TypeVar

from autobatch.errors import AutobatchError, FromOption
from autobatch.protocol import (
    BenchmarkResult,
    Event,
    Note,
    ProbeResult,
    Recommendation,
    Verification,
    ignore,
)

if TYPE_CHECKING:
    from autobatch.stages.ask import Session

__all__ = [
    "AutobatchError",
    "BenchmarkResult",
    "ProbeResult",
    "Recommendation",
    "benchmark",
    "probe",
    "recommend",
    "verify",
]

Model = str | Path | Callable[..., Any]  # a compiled keras.Model is callable, too
Result = TypeVar("Result")
ANOTHER_CALL = "Another call of autobatch is at work in this Python process: waiting for its end."
_at_work = threading.RLock()


def probe(
    target: Model,
    *,
    data: Any = None,
    overrides: Sequence[str] | str = (),
    run_directory: str | Path | None = None,
    fresh: bool = False,
    on_event: Callable[[Event], None] = ignore,
    exact: bool = False,
) -> ProbeResult:
    """The largest batch that fits in device memory.

    `target` is what the command line takes: a recipe, train.py[:build_model],
    package.module:callable or model.keras; or else a function that returns the compiled model, or
    that model itself. With such a one, `data` is a function that returns (train, validation), or
    these themselves, if they can be pickled. `overrides` are "key=value" strings over the recipe,
    as with `--set`, or one of them. `exact` searches to the sample instead of to 1 %. Raises
    AutobatchError.
    """
    from autobatch import tuner

    def work(session: "Session") -> ProbeResult:
        return tuner.probe(session, exact=exact)

    return _in_session(work, target, data, overrides, run_directory, fresh, on_event)


def benchmark(
    target: Model,
    *,
    data: Any = None,
    overrides: Sequence[str] | str = (),
    run_directory: str | Path | None = None,
    fresh: bool = False,
    on_event: Callable[[Event], None] = ignore,
    sizes: Sequence[int] | None = None,
) -> BenchmarkResult:
    """Samples per second that training delivers, by batch size. Arguments as for `probe`.

    `sizes` are the batch sizes to measure, instead of powers of two up to the largest that fits.
    """
    from autobatch import tuner

    if sizes is not None:
        written = [int(size) for size in sizes]
        typed = f"sizes={written}"
        overrides = [*_listed(overrides), FromOption(f"benchmark.sizes={written}", typed=typed)]
    return _in_session(tuner.benchmark, target, data, overrides, run_directory, fresh, on_event)


def recommend(
    target: Model,
    *,
    data: Any = None,
    overrides: Sequence[str] | str = (),
    run_directory: str | Path | None = None,
    fresh: bool | Literal["trials"] = False,
    on_event: Callable[[Event], None] = ignore,
) -> Recommendation:
    """A batch size and a learning rate, with the evidence. Arguments as for `probe`.

    With `fresh="trials"` these are trained anew, and what was measured before them is kept. The
    HTML page of it is report.html in the run directory, which its `environment` names.
    """
    from autobatch import tuner
    from autobatch.ui.report import add_report

    def work(session: "Session") -> Recommendation:
        found = tuner.tune(session)
        add_report(session.record.directory, quiet=True)
        return found

    return _in_session(work, target, data, overrides, run_directory, fresh, on_event)


def verify(
    recommendation: Recommendation | str | Path,
    *,
    target: str | Path | None = None,
    overrides: Sequence[str] | str = (),
    run_directory: str | Path | None = None,
    on_event: Callable[[Event], None] = ignore,
) -> Verification:
    """Does a recommendation still fit, and run as fast, here and now?

    `recommendation` is a result of `recommend`, its recommendation.json, or its run: the directory,
    the name or the target. What is measured is the model and data that it was made for, or else
    those of `target`.
    """
    from autobatch import tuner
    from autobatch.opening import open_verification, recommendation_in

    if not isinstance(recommendation, Recommendation):
        recommendation = recommendation_in(str(recommendation))
    with (
        _alone(on_event),
        open_verification(
            recommendation,
            None if target is None else str(target),
            overrides=_listed(overrides),
            run_directory=None if run_directory is None else Path(run_directory),
            on_event=on_event,
        ) as session,
    ):
        return tuner.verify(session, recommendation)


@contextmanager
def _alone(on_event: Callable[[Event], None]) -> Iterator[None]:
    """One thread at a time: two would measure each other, and have workers of one template."""
    if not _at_work.acquire(blocking=False):
        on_event(Note(text=ANOTHER_CALL))
        _at_work.acquire()
    try:
        yield
    finally:
        _at_work.release()


def _listed(overrides: Sequence[str] | str) -> Sequence[str]:
    return [overrides] if isinstance(overrides, str) else overrides


def _in_session(
    work: "Callable[[Session], Result]",
    target: Model,
    data: Any,
    overrides: Sequence[str] | str,
    run_directory: str | Path | None,
    fresh: bool | Literal["trials"],
    on_event: Callable[[Event], None],
) -> Result:
    from autobatch.locator import at_home
    from autobatch.objects import seen_from_here, target_of
    from autobatch.opening import open_session

    settings = _listed(overrides)
    if not isinstance(target, str | Path):
        settings = [seen_from_here(each) for each in settings]
    directory = None if run_directory is None else at_home(Path(run_directory))
    with (
        _alone(on_event),
        open_session(
            target_of(target, data, directory),
            overrides=settings,
            run_directory=directory,
            fresh=fresh,
            on_event=on_event,
        ) as session,
    ):
        return work(session)


def _repr_html_(result: ProbeResult | BenchmarkResult | Recommendation | Verification) -> str:
    """What a notebook shows."""
    from autobatch.ui.notebook import html

    return html(result)


for _kind in (ProbeResult, BenchmarkResult, Recommendation, Verification):
    _kind._repr_html_ = _repr_html_  # type: ignore[union-attr]
