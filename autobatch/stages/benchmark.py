"""What is fast? Samples per second that `fit` delivers, at powers of two up to the ceiling."""

from autobatch.core import throughput
from autobatch.core.throughput import interleaved, sizes_to_measure
from autobatch.errors import UsageError, UserCodeError
from autobatch.protocol import (
    Benchmark,
    BenchmarkPoint,
    BenchmarkResult,
    Inspected,
    Measured,
    Outcome,
    ProbeResult,
)
from autobatch.stages.ask import Session, why_it_failed

JOB_OVERHEAD_SECONDS = 3.0  # process, tracing, warm-up: only for the time told in advance
DEADLINE_FACTOR = 6.0
DEADLINE_SECONDS = 180.0


def benchmark(session: Session, inspected: Inspected, probed: ProbeResult) -> BenchmarkResult:
    """Points of all sizes that could be measured; a failing size never loses the others."""
    seconds = float(session.recipe.benchmark.seconds)
    sizes, skipped = _sizes(session, probed)
    session.begin(
        "benchmark",
        len(sizes),
        len(sizes) * (seconds * 1.25 + JOB_OVERHEAD_SECONDS),
        f"{len(sizes)} sizes, {seconds:g} s each",
    )
    points: list[BenchmarkPoint] = []
    wall_seconds = 0.0
    for size in interleaved(sizes):
        entry = session.ask(
            "benchmark",
            Benchmark(batch_size=size, seconds=seconds, limit_bytes=session.job_limit_bytes),
            str(size),
            lambda outcome, size=size: _phrase(size, outcome),  # type: ignore[misc]
            deadline_seconds=seconds * DEADLINE_FACTOR + DEADLINE_SECONDS,
            user_code_may_fail=True,  # at some sizes: the others are measured all the same
        )
        wall_seconds += entry.seconds
        if isinstance(entry.outcome, Measured):
            points.append(throughput.benchmark_point(size, entry.outcome))
        else:
            skipped.append(f"{size}: {why_it_failed(entry.outcome)}")
    if not points:
        session.raise_for_user(entry)
        raise UserCodeError(
            f"No batch size could be measured ({'; '.join(skipped)}).",
            hint="The logs in the run directory say more.",
        )
    points.sort(key=lambda point: point.batch_size)
    knee, best = throughput.knee(points), throughput.best(points)
    session.end("benchmark", f"knee at {knee}, fastest at {best}")
    return BenchmarkResult(
        points=tuple(points),
        knee=knee,
        best=best,
        bound_by=throughput.bound_by(points),
        skipped=tuple(skipped),
        wall_seconds=wall_seconds,
    )


def _sizes(session: Session, probed: ProbeResult) -> tuple[list[int], list[str]]:
    """Sizes to measure, the baseline always among them where it fits; and why others are not."""
    recipe = session.recipe
    asked = recipe.benchmark.sizes
    if isinstance(asked, str):
        sizes = sizes_to_measure(recipe.batch_sizes.min, probed.ceiling)
    else:
        sizes = sorted(set(asked))
    baseline = recipe.baseline.batch_size
    if baseline <= probed.largest_fitting:
        sizes = sorted({*sizes, baseline})
    skipped = [
        f"{size}: above the largest that fits ({probed.largest_fitting})"
        for size in sizes
        if size > probed.largest_fitting
    ]
    kept = [size for size in sizes if size <= probed.largest_fitting]
    if not kept:
        raise UsageError(
            f"None of benchmark.sizes fits: the largest that does is {probed.largest_fitting}."
        )
    return kept, skipped


def _phrase(size: int, outcome: Outcome) -> str:
    if isinstance(outcome, Measured):
        point = throughput.benchmark_point(size, outcome)
        spread = (point.high - point.low) / 2 / point.samples_per_second
        return f"{point.samples_per_second:,.0f} samples/s ± {spread:.0%}"
    return why_it_failed(outcome)
