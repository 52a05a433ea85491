"""Which batch size and learning rate to train a Keras model with on this machine, measured.

    import autobatch

    result = autobatch.recommend("recipe.yaml")
    model.optimizer.learning_rate = result.learning_rate
    model.fit(x, y, batch_size=result.batch_size)

The functions do what the commands of the same names do, return the same frozen results, and share
the same record: what was measured is not measured again.
"""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

from autobatch.errors import AutobatchError
from autobatch.protocol import BenchmarkResult, Event, ProbeResult, Recommendation

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
]

Result = TypeVar("Result")


def _ignore(event: Event) -> None:
    pass


def probe(
    target: str | Path,
    *,
    overrides: Sequence[str] = (),
    run_directory: str | Path | None = None,
    fresh: bool = False,
    on_event: Callable[[Event], None] = _ignore,
    exact: bool = False,
) -> ProbeResult:
    """The largest batch that fits in device memory.

    `target` is what the command line takes: a recipe, train.py[:build_model],
    package.module:callable or model.keras. `overrides` are "key=value" strings over the recipe, as
    with `--set`. Raises AutobatchError.
    """
    from autobatch import tuner

    def work(session: "Session") -> ProbeResult:
        return tuner.probe(session, exact=exact)

    return _in_session(work, target, overrides, run_directory, fresh, on_event)


def benchmark(
    target: str | Path,
    *,
    overrides: Sequence[str] = (),
    run_directory: str | Path | None = None,
    fresh: bool = False,
    on_event: Callable[[Event], None] = _ignore,
    sizes: Sequence[int] | None = None,
) -> BenchmarkResult:
    """Samples per second that training delivers, by batch size. Arguments as for `probe`.

    `sizes` are the batch sizes to measure, instead of powers of two up to the largest that fits.
    """
    from autobatch import tuner

    if sizes is not None:
        overrides = [*overrides, f"benchmark.sizes={[int(size) for size in sizes]}"]
    return _in_session(tuner.benchmark, target, overrides, run_directory, fresh, on_event)


def recommend(
    target: str | Path,
    *,
    overrides: Sequence[str] = (),
    run_directory: str | Path | None = None,
    fresh: bool = False,
    on_event: Callable[[Event], None] = _ignore,
) -> Recommendation:
    """A batch size and a learning rate, with the evidence. Arguments as for `probe`."""
    from autobatch import tuner

    return _in_session(tuner.tune, target, overrides, run_directory, fresh, on_event)


def _in_session(
    work: "Callable[[Session], Result]",
    target: str | Path,
    overrides: Sequence[str],
    run_directory: str | Path | None,
    fresh: bool,
    on_event: Callable[[Event], None],
) -> Result:
    from autobatch.opening import open_session

    with open_session(
        str(target),
        overrides=overrides,
        run_directory=None if run_directory is None else Path(run_directory),
        fresh=fresh,
        on_event=on_event,
    ) as session:
        return work(session)
