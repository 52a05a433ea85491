"""What is fast? Samples per second that `fit` delivers, at powers of two up to the ceiling."""

from collections.abc import Iterator

from autobatch.core import diagnosis, throughput
from autobatch.core.step_time import knee as knee_of
from autobatch.core.step_time import step_time
from autobatch.core.throughput import interleaved, sizes_to_measure
from autobatch.engine.record import Entry
from autobatch.errors import UsageError, UserCodeError
from autobatch.protocol import (
    Benchmark,
    BenchmarkPoint,
    BenchmarkResult,
    Execution,
    Inspected,
    Measured,
    Outcome,
    OutOfMemory,
    ProbeResult,
)
from autobatch.stages.ask import Session, why_it_failed

SECONDS_SHARE = 1.6  # of the seconds asked: with warm-up, resident batch and pipeline alone
DEADLINE_FACTOR = 6.0
DEADLINE_SECONDS = 180.0


def benchmark(session: Session, inspected: Inspected, probed: ProbeResult) -> BenchmarkResult:
    """Points of all sizes that could be measured; a failing size never loses the others."""
    sizes, skipped = _sizes(session, inspected, probed)
    timer = _Timer(session, skipped)
    jobs = len(sizes) + (len(sizes) > 1)
    session.begin(
        "benchmark",
        jobs,
        jobs * (timer.seconds * SECONDS_SHARE + session.job_seconds),
        f"{len(sizes)} sizes, {timer.seconds:g} s each, the first one twice",
    )
    baseline = session.recipe.baseline.batch_size
    # The user's own size first, and again last: that is the one to tell by whether speed moved.
    order = sorted(interleaved(sizes), key=lambda size: size != baseline)
    found = {size: point for size in order if (point := timer.point(size))}
    points = [found[size] for size in sorted(found)]
    if not points:
        timer.raise_for_user()
        raise UserCodeError(
            f"No batch size could be measured ({'; '.join(skipped)}).",
            hint="The logs in the run directory say more.",
        )
    moved = 0.0
    if len(points) > 1 and order[0] in found and (again := timer.point(order[0], repeat=1)):
        moved = throughput.drift(found[order[0]], again)
        points = [throughput.widened(point, moved) for point in points]
    fine = [size for size in found if size < min(timer.out_of_memory, default=0)]
    ceiling = max(fine, default=None) if timer.out_of_memory else None
    points = list(diagnosis.diagnosed(points, session.job_limit_bytes or session.limit_bytes))
    knee, best = knee_of(points), throughput.best(points)
    at = {point.batch_size: point for point in points}
    executions = timer.executions(at[knee])
    faster = diagnosis.best_execution(at[knee], executions)
    session.end("benchmark", f"knee at {knee}, fastest at {best}")
    bound_by = at[best].bound_by
    assert bound_by is not None
    return BenchmarkResult(
        points=tuple(points),
        knee=knee,
        best=best,
        bound_by=bound_by,
        skipped=tuple(skipped),
        wall_seconds=timer.wall_seconds,
        notes=(*timer.notes, *_notes(moved, order[0], timer.out_of_memory, ceiling)),
        ceiling=ceiling,
        advice=(diagnosis.advice(at[knee], executions, faster),),
        step_time=step_time(points),
        drift=moved,
        executions=tuple(executions),
        steps_per_execution=faster,
    )


class _Timer:
    """Asks for one measurement after the other; a failing one never loses the others."""

    def __init__(self, session: Session, skipped: list[str]) -> None:
        self.session, self.skipped = session, skipped
        self.seconds = float(session.recipe.benchmark.seconds)
        self.wall_seconds = 0.0
        self.out_of_memory: list[int] = []  # sizes
        self.notes: list[str] = []
        self._failed: Entry | None = None
        self._steps_per_epoch: dict[int, int] = {}

    def point(
        self, size: int, *, repeat: int = 0, steps_per_execution: int | None = None
    ) -> BenchmarkPoint | None:
        """None if it failed, and why among what was skipped."""
        label = str(size) + (" again" if repeat else "")
        if steps_per_execution is not None:
            label += f", {steps_per_execution} steps per execution"
        task = Benchmark(
            batch_size=size,
            seconds=self.seconds,
            limit_bytes=self.session.job_limit_bytes,
            steps_per_execution=steps_per_execution,
            repeat=repeat,
        )
        entry = self.session.ask(
            "benchmark",
            task,
            label,
            lambda outcome: _phrase(size, outcome),
            deadline_seconds=self.seconds * DEADLINE_FACTOR + DEADLINE_SECONDS,
            user_code_may_fail=True,  # at some sizes: the others are measured all the same
        )
        self.wall_seconds += entry.seconds
        if isinstance(entry.outcome, Measured):
            self._steps_per_epoch[size] = entry.outcome.steps_per_epoch
            if moved := throughput.trend(entry.outcome):
                self.notes.append(
                    f"Batch {label} became {abs(moved):.0%} {_faster(moved)} while it was measured."
                )
            return throughput.benchmark_point(size, entry.outcome)
        self._failed = entry
        if isinstance(entry.outcome, OutOfMemory):
            self.out_of_memory.append(size)
        self.skipped.append(f"{label}: {why_it_failed(entry.outcome)}")
        return None

    def executions(self, point: BenchmarkPoint) -> list[Execution]:
        """The rates of larger `steps_per_execution` at this size, where overhead matters."""
        if self.session.record.header.target.backend == "torch":  # Keras has it not there
            return []
        tried = diagnosis.executions_to_try(point, self._steps_per_epoch[point.batch_size])
        return [
            Execution(
                steps_per_execution=steps,
                samples_per_second=found.samples_per_second,
                low=found.low,
                high=found.high,
            )
            for steps in tried
            if (found := self.point(point.batch_size, steps_per_execution=steps))
        ]

    def raise_for_user(self) -> None:
        if self._failed is not None:
            self.session.raise_for_user(self._failed)


def _faster(moved: float) -> str:
    return "faster" if moved > 0 else "slower"


def _notes(moved: float, size: int, out_of_memory: list[int], ceiling: int | None) -> Iterator[str]:
    if out_of_memory:
        yield (
            f"Batch {min(out_of_memory)} ran out of memory here, although its probe had passed: "
            + (f"the ceiling is lowered to {ceiling}." if ceiling else "no smaller size is known.")
        )
    if moved:
        yield (
            f"The machine's speed moved: batch {size} was {abs(moved):.0%} {_faster(moved)} when "
            "measured again at the end, more than its intervals allow. All intervals are widened "
            "by that. Is something else running?"
        )


def _sizes(
    session: Session, inspected: Inspected, probed: ProbeResult
) -> tuple[list[int], list[str]]:
    """Sizes to measure, the baseline always among them where it fits; and why others are not."""
    samples = inspected.train_samples
    recipe = session.recipe
    asked = recipe.benchmark.sizes
    if isinstance(asked, str):
        sizes = sizes_to_measure(recipe.batch_sizes.min, probed.ceiling)
    else:
        sizes = sorted(set(asked))
    baseline = recipe.baseline.batch_size
    if baseline <= probed.largest_fitting:
        sizes = sorted({*sizes, baseline})
    above = f"above the largest that fits ({probed.largest_fitting})"
    few = f"there are {samples} training samples"
    skipped = [
        f"{size}: {few if samples is not None and size > samples else above}"
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
