"""What is fast? Samples per second that `fit` delivers, at powers of two up to the ceiling."""

from collections.abc import Iterator

from autobatch.core import diagnosis, throughput
from autobatch.core.step_time import knee as knee_of
from autobatch.core.step_time import step_time
from autobatch.core.throughput import interleaved, sizes_to_measure
from autobatch.engine.record_file import Entry
from autobatch.errors import InterruptedRunError, UsageError, UserCodeError
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
MANY_SIZES = 4  # few ones are each measured in three processes, to know how much rates differ
DEADLINE_FACTOR = 6.0
DEADLINE_SECONDS = 180.0


def benchmark(session: Session, inspected: Inspected, probed: ProbeResult) -> BenchmarkResult:
    """Points of all sizes that could be measured; a failing size never loses the others."""
    is_named = not isinstance(session.recipe.benchmark.sizes, str)
    few = not is_named and _compiles_dearly(session, inspected)
    sizes, skipped = _sizes(session, inspected, probed, few=few)
    rounds = 2 if len(sizes) > MANY_SIZES else 3
    timer = _Timer(session, skipped, rounds)
    session.begin(
        "benchmark",
        *timer.cost(rounds * len(sizes)),
        f"{len(sizes)} sizes, each in {rounds} processes of {timer.seconds:g} s",
    )
    # The user's own size first, should time run out; and every second round backwards: what changes
    # steadily with time then cancels out.
    baseline = session.recipe.baseline.batch_size
    order = sorted(interleaved(sizes), key=lambda size: size != baseline)
    for round_ in range(rounds):
        for size in order if round_ % 2 == 0 else reversed(order):
            if timer.found and session.is_to_end():
                timer.leave_out(size, round_)
            elif round_ == 0 or size in timer.found:
                timer.measure(size, round_)
    if not timer.found:
        timer.raise_for_user()
        raise UserCodeError(
            f"No batch size could be measured ({'; '.join(skipped)}).",
            hint="The logs in the run directory say more.",
        )
    spread = throughput.spread_between(timer.found.values())
    points = diagnosis.diagnosed(
        [
            throughput.benchmark_point(size, timer.found[size], spread)
            for size in sorted(timer.found)
        ],
        session.job_limit_bytes or session.limit_bytes,
    )
    fine = [size for size in timer.found if size < min(timer.out_of_memory, default=0)]
    ceiling = max(fine, default=None) if timer.out_of_memory else None
    moved = throughput.drift(timer.found.values())
    fitted = step_time(points)
    knee, best = knee_of(points, fitted), throughput.best(points)
    at = {point.batch_size: point for point in points}
    executions = timer.executions(at[knee], spread)
    faster = diagnosis.best_execution(at[knee], executions)
    session.end("benchmark", f"knee at {knee}, fastest at {best}")
    bound_by = at[best].bound_by
    assert bound_by is not None
    return BenchmarkResult(
        points=diagnosis.advised(points, knee, executions, faster),
        knee=knee,
        best=best,
        bound_by=bound_by,
        skipped=tuple(skipped),
        wall_seconds=timer.wall_seconds,
        notes=(*timer.notes, *_notes(moved, timer.out_of_memory, ceiling, few=few)),
        ceiling=ceiling,
        step_time=fitted,
        drift=moved,
        executions=tuple(executions),
        steps_per_execution=faster,
        replicas=session.recipe.device.replicas,
    )


def deadline_seconds(seconds: float) -> float:
    """For a process that times one size for `seconds`."""
    return seconds * DEADLINE_FACTOR + DEADLINE_SECONDS


class _Timer:
    """Asks for one measurement after the other; a failing one never loses the others."""

    def __init__(self, session: Session, skipped: list[str], rounds: int) -> None:
        self.session, self.skipped = session, skipped
        self.seconds = session.recipe.benchmark.seconds / rounds
        self.wall_seconds = 0.0
        self.found: dict[int, list[Measured]] = {}  # by size, in the order of rounds
        self.out_of_memory: list[int] = []  # sizes
        self.notes: list[str] = []
        self._failed: Entry | None = None

    def cost(self, jobs: int) -> tuple[int, float]:
        """The jobs, and the seconds that they are expected to take."""
        return jobs, jobs * (self.seconds * SECONDS_SHARE + self.session.job_seconds)

    def measure(self, size: int, round_: int) -> None:
        """Once more. A size that does not fit after all is measured no more, and forgotten."""
        label = f"{size} again" if round_ else str(size)
        try:
            outcome = self._ask(label, batch_size=size, repeat=round_)
        except InterruptedRunError:
            if not self.found:
                raise
            return self.leave_out(size, round_)
        if isinstance(outcome, Measured):
            self.found.setdefault(size, []).append(outcome)
        elif isinstance(outcome, OutOfMemory):
            self.out_of_memory.append(size)
            self.found.pop(size, None)

    def leave_out(self, size: int, round_: int) -> None:
        told = self.session.why_it_ends()
        if round_ == 0:
            self.skipped.append(f"{size}: {told}")
        elif (note := f"Not every size was measured again, since {told}.") not in self.notes:
            self.notes.append(note)

    def executions(self, point: BenchmarkPoint, spread: float) -> list[Execution]:
        """The rates of larger `steps_per_execution` at this size, where overhead matters."""
        if self.session.record.header.target.backend == "torch":  # Keras has it not there
            return []
        size = point.batch_size
        to_try = diagnosis.executions_to_try(point, self.found[size][0])
        executions = []
        for done, steps in enumerate(to_try):
            self.session.expect("benchmark", *self.cost(len(to_try) - done))
            if self.session.is_to_end():
                break
            label = f"{size}, {steps} steps per execution"
            try:
                outcome = self._ask(label, batch_size=size, steps_per_execution=steps)
            except InterruptedRunError:
                break
            if isinstance(outcome, Measured):
                found = throughput.benchmark_point(size, [outcome], spread)
                executions.append(
                    Execution(
                        steps_per_execution=steps,
                        samples_per_second=found.samples_per_second,
                        low=found.low,
                        high=found.high,
                    )
                )
        return executions

    def _ask(self, label: str, **what: int) -> Outcome:
        limit = self.session.job_limit_bytes
        task = Benchmark(seconds=self.seconds, limit_bytes=limit, **what)
        entry = self.session.ask(
            "benchmark",
            task,
            label,
            lambda outcome: _phrase(task.batch_size, outcome),
            deadline_seconds=deadline_seconds(self.seconds),
            user_code_may_fail=True,  # at some sizes: the others are measured all the same
        )
        self.wall_seconds += entry.seconds
        if not isinstance(entry.outcome, Measured):
            self._failed = entry
            self.skipped.append(f"{label}: {why_it_failed(entry.outcome)}")
        elif moved := throughput.trend(entry.outcome):
            self.notes.append(
                f"Batch {label} became {abs(moved):.0%} {_faster(moved)} while it was measured."
            )
        return entry.outcome

    def raise_for_user(self) -> None:
        if self._failed is not None:
            self.session.raise_for_user(self._failed)


def _faster(moved: float) -> str:
    return "faster" if moved > 0 else "slower"


def _notes(
    moved: float, out_of_memory: list[int], ceiling: int | None, *, few: bool
) -> Iterator[str]:
    if few:
        yield (
            "XLA compiles each size anew in each process, so that only every second power of two "
            "was measured: name others with --set benchmark.sizes=[...]."
        )
    if out_of_memory:
        yield (
            f"Batch {min(out_of_memory)} ran out of memory here, although its probe had passed: "
            + (f"the ceiling is lowered to {ceiling}." if ceiling else "no smaller size is known.")
        )
    if moved:
        yield (
            f"The machine's speed moved: when measured again, sizes were {abs(moved):.0%} "
            f"{_faster(moved)}; the intervals allow for it. Is something else running?"
        )


def _sizes(
    session: Session, inspected: Inspected, probed: ProbeResult, *, few: bool
) -> tuple[list[int], list[str]]:
    """Sizes to measure, the baseline always among them where it fits; and why others are not."""
    samples = inspected.train_samples
    recipe = session.recipe
    asked = recipe.benchmark.sizes
    if isinstance(asked, str):
        replicas = recipe.device.replicas
        sizes = sizes_to_measure(recipe.batch_sizes.min, probed.ceiling, replicas, few=few)
    else:
        sizes = sorted(set(asked))
    baseline = recipe.baseline.batch_size
    if baseline <= probed.largest_fitting:
        sizes = sorted({*sizes, baseline})
    above = f"above the {probed.name_of_largest} ({probed.largest_fitting})"
    too_few = f"there are {samples} training samples"
    skipped = [
        f"{size}: {too_few if samples is not None and size > samples else above}"
        for size in sizes
        if size > probed.largest_fitting
    ]
    kept = [size for size in sizes if size <= probed.largest_fitting]
    if not kept:
        raise UsageError(
            f"None of benchmark.sizes fits; {probed.name_of_largest}: {probed.largest_fitting}."
        )
    return kept, skipped


def _compiles_dearly(session: Session, inspected: Inspected) -> bool:
    """Whether each process compiles its size anew by XLA: TensorFlow keeps no programs on disk."""
    target = session.record.header.target
    return inspected.jit_compile and (target.backend, target.device) == ("tensorflow", "gpu")


def _phrase(size: int, outcome: Outcome) -> str:
    if isinstance(outcome, Measured):
        point = throughput.benchmark_point(size, [outcome])
        spread = (point.high - point.low) / 2 / point.samples_per_second
        return f"{point.samples_per_second:,.0f} samples/s ± {spread:.0%}"
    return why_it_failed(outcome)
