"""Times batch sizes, one process after the other; a failing one never loses the others."""

from collections.abc import Sequence
from typing import NoReturn

from autobatch.core import diagnosis, throughput
from autobatch.core.step_time import seconds_between
from autobatch.engine.record_file import Entry
from autobatch.errors import InterruptedRunError, UserCodeError
from autobatch.protocol import (
    Benchmark,
    BenchmarkPoint,
    Execution,
    Measured,
    Outcome,
    OutOfMemory,
    Stage,
)
from autobatch.stages.ask import Session, why_it_failed
from autobatch.stages.refusal import refuse_after_probes
from autobatch.units import format_rate

# Of the seconds asked, with warm-up; and more in the first process of a size, for the resident
# batch and the pipeline alone. Of long steps some are made all the same.
SECONDS_SHARE, EXPLAINED_SHARE = 1.2, 0.4
TIMED_STEPS, EXPLAINED_STEPS = 6, 3
SLACK = 2.0  # of the longest step: of fewer sizes, trials are longer


class Timer:
    """What was found so far, by size, and what to say of it."""

    def __init__(self, session: Session, rounds: int, stage: Stage = "benchmark") -> None:
        self.session, self.stage = session, stage
        self.skipped: list[str] = []  # sizes that were left out, and why
        self.seconds = session.recipe.benchmark.seconds / rounds
        self.wall_seconds = 0.0
        self.found: dict[int, list[Measured]] = {}  # by size, in the order of rounds
        self.out_of_memory: list[int] = []  # sizes
        self.logs_of_unknown: dict[int, str | None] = {}  # by size: what holds it back
        self.notes: list[str] = []
        self._took: dict[int, float] = {}  # seconds of the last process, by size
        self._failed: Entry | None = None  # the last, rather other than for memory

    def cost(self, jobs: Sequence[tuple[int, int]]) -> tuple[int, float]:
        """The number of jobs, (size, round) each, and the seconds that they probably take."""
        return len(jobs), sum(self._seconds(*job) for job in jobs)

    def expect(self, jobs: Sequence[tuple[int, int]]) -> None:
        self.session.expect(self.stage, *self.cost(jobs))

    def _seconds(self, size: int, round_: int) -> float:
        """As long as it took before."""
        if size in self._took:
            return self._took[size]
        of_step = seconds_between(self.session.step_seconds, size)
        timed = max(SECONDS_SHARE * self.seconds, TIMED_STEPS * of_step)
        explained = max(EXPLAINED_SHARE * self.seconds, EXPLAINED_STEPS * of_step)
        return self.session.job_seconds + timed + (0.0 if round_ else explained)

    def measure(self, size: int, round_: int) -> None:
        """Once more. A size that does not fit after all is measured no more, and forgotten."""
        label = f"{size} again" if round_ else str(size)
        try:
            outcome = self.ask(label, batch_size=size, repeat=round_)
        except InterruptedRunError:
            if not self.found:
                raise
            return self.leave_out(size, round_)
        if isinstance(outcome, Measured):
            self.found.setdefault(size, []).append(outcome)
        elif isinstance(outcome, OutOfMemory):
            self.out_of_memory.append(size)
            self.found.pop(size, None)

    def is_worth_more(self, size: int, step_seconds_at_most: float) -> bool:
        """Whether to measure it once more: it could be, and trials may use it."""
        if size not in self.found:
            return False
        point = throughput.benchmark_point(size, self.found[size])
        is_own = size == self.session.recipe.baseline.batch_size
        return is_own or point.step_seconds <= SLACK * step_seconds_at_most

    def leave_out(self, size: int, round_: int) -> None:
        told = self.session.why_it_ends()
        if round_ == 0:
            self.skipped.append(f"{size}: {told}")
        elif (note := f"Not every size was measured again, since {told}.") not in self.notes:
            self.notes.append(note)

    def executions(self, point: BenchmarkPoint, spread: float) -> list[Execution]:
        """The rates of larger `steps_per_execution` at this size, where overhead matters."""
        size = point.batch_size
        to_try = diagnosis.executions_to_try(point, self.found[size][0])
        executions = []
        waits = throughput.share_that_wait(self.found.values())
        for done, steps in enumerate(to_try):
            self.expect([(size, 0)] * (len(to_try) - done))
            if self.session.is_to_end():
                break
            label = f"{size}, {steps} steps per execution"
            try:
                outcome = self.ask(label, batch_size=size, steps_per_execution=steps)
            except InterruptedRunError:
                break
            if isinstance(outcome, Measured):
                found = throughput.benchmark_point(size, [outcome], spread, waits)
                executions.append(
                    Execution(
                        steps_per_execution=steps,
                        samples_per_second=found.samples_per_second,
                        low=found.low,
                        high=found.high,
                    )
                )
        return executions

    def ask(self, label: str, **what: int) -> Outcome:
        """One process; of one that fails it is kept why, and nothing raised."""
        limit = self.session.job_limit_bytes
        task = Benchmark(seconds=self.seconds, limit_bytes=limit, **what)
        entry = self.session.ask(
            self.stage,
            task,
            label,
            lambda outcome: _phrase(task.batch_size, outcome),
            deadline_seconds=self.session.deadline_of_work(self.seconds, task.batch_size),
            user_code_may_fail=True,  # at some sizes: the others are measured all the same
        )
        self.wall_seconds += entry.seconds
        if not isinstance(entry.outcome, Measured):
            if self._failed is None or not isinstance(entry.outcome, OutOfMemory):
                self._failed = entry
            self.skipped.append(f"{label}: {why_it_failed(entry.outcome)}")
            return entry.outcome
        self._took[task.batch_size] = entry.seconds
        if task.explains and not entry.outcome.device_windows:
            self.logs_of_unknown.setdefault(task.batch_size, entry.log)
        return entry.outcome

    def ceiling(self) -> int | None:
        """Below the smallest that ran out of memory; 0: nothing is. None if none ran out."""
        if not self.out_of_memory:
            return None
        return max((size for size in self.found if size < min(self.out_of_memory)), default=0)

    def refuse(self, skipped: list[str]) -> NoReturn:
        """Nothing could be measured: why, beside what was `skipped` before."""
        entry = self._failed
        told = f"No batch size could be measured ({'; '.join((*skipped, *self.skipped))})."
        if entry is not None:
            self.session.raise_for_user(entry)
            if isinstance(entry.outcome, OutOfMemory):
                refuse_after_probes(self.session, told, entry.outcome)
        logs = self.session.record.directory / "logs"
        raise UserCodeError(told, hint=f"The logs in {logs} say more.")


def _phrase(size: int, outcome: Outcome) -> str:
    if isinstance(outcome, Measured):
        point = throughput.benchmark_point(size, [outcome])
        return f"{format_rate(point.samples_per_second)} samples/s ± {point.half_width:.0%}"
    return why_it_failed(outcome)
