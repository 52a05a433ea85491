"""Ask the record, else the engine, then append: the only path from a worker to a result."""

import signal
import textwrap
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from math import inf, isfinite
from pathlib import Path

from autobatch.engine.local import Executor, never
from autobatch.engine.record import Record
from autobatch.engine.record_file import Entry
from autobatch.errors import (
    AutobatchError,
    InterruptedRunError,
    RecipeError,
    UserCodeError,
)
from autobatch.protocol import (
    WORKER_BUG,
    Contest,
    Crashed,
    Diverged,
    Event,
    Fits,
    JobFinished,
    JobStarted,
    Note,
    Outcome,
    OutOfMemory,
    OverBudget,
    Stage,
    StageExpects,
    StageFinished,
    StageStarted,
    TargetMissing,
    Task,
    TimedOut,
    UserCodeFailed,
)
from autobatch.recipe import Recipe
from autobatch.stages.outside import from_outside, twice
from autobatch.units import format_bytes, format_duration

LEAST_DEADLINE_SECONDS, READY_SECONDS, DEADLINE_FACTOR = 60.0, 300.0, 10.0
PHRASE_CHARACTERS = 100

OnEvent = Callable[[Event], None]


@dataclass
class Session:
    """What every stage needs: the recipe, where jobs run, the record, and who is told."""

    recipe: Recipe
    executor: Executor
    record: Record
    on_event: OnEvent
    limit_bytes: int
    more_is_free: bool = False  # now than at the first start, which the limit is of
    started: float = field(default_factory=time.monotonic)
    spent_seconds: float = 0.0  # on all jobs of the answer, whenever they ran
    kept_seconds: float = 0.0  # the same, and equal in a run that goes on
    job_seconds: float = 5.0  # until a process has the model and data ready, as inspected
    step_seconds: dict[int, float] = field(default_factory=dict)  # by batch size, of probes
    least_probe_seconds: float = inf  # of those that fit, beside steps: a process, and the first
    is_stopped: Callable[[], bool] = never  # whether somebody outside has asked for the end

    @property
    def job_limit_bytes(self) -> int | None:
        """The hard limit of benchmarks and trials: only one that the user set.

        Without one they run under the user's own allocator, as the user's training will.
        """
        on_gpu = self.record.target.device == "gpu"
        asked = self.recipe.device.memory_limit is not None
        return self.limit_bytes if asked or on_gpu else None

    @property
    def start_seconds(self) -> float:
        """That a process takes until it trains, as probes took beside their steps."""
        return self.least_probe_seconds if isfinite(self.least_probe_seconds) else self.job_seconds

    def seconds_left(self) -> float:
        return self.recipe.time_limit - (time.monotonic() - self.started)

    def deadline_seconds(self, at_most: float) -> float:
        """For a job that should take far less: what `time_limit` leaves, but a minute at least.

        And many times what a process takes to have model and data ready.
        """
        slow = DEADLINE_FACTOR * self.job_seconds
        return min(at_most, max(LEAST_DEADLINE_SECONDS, slow, self.seconds_left()))

    def deadline_of_work(self, seconds: float, batch_size: int | None = None) -> float:
        """For a job that works for `seconds`, and a few steps, once it has model and data ready.

        A step takes at most as long as one of the next larger size that was probed.
        """
        ready = max(READY_SECONDS, DEADLINE_FACTOR * self.job_seconds)
        larger = [size for size in self.step_seconds if size >= (batch_size or inf)]
        step_seconds = self.step_seconds[min(larger)] if larger else 0.0
        return ready + DEADLINE_FACTOR * (seconds + step_seconds)

    def is_to_end(self) -> bool:
        """Whether to conclude now from what is known: time is up, or somebody asked for it."""
        return self.is_stopped() or self.seconds_left() <= 0

    def why_it_ends(self) -> str:
        if self.is_stopped():
            return "the run was interrupted"
        limit = f"time_limit {format_duration(self.recipe.time_limit)}"
        return f"{limit} {'leaves no time for more' if self.seconds_left() > 0 else 'was reached'}"

    def end_if_stopped(self) -> None:
        if self.is_stopped():
            raise InterruptedRunError

    def ask(
        self,
        stage: Stage,
        task: Task,
        label: str,
        answer: Callable[[Outcome], str],
        *,
        deadline_seconds: float,
        reuse: bool = True,
        user_code_may_fail: bool = False,
    ) -> Entry:
        """The recorded entry for `task`, or a new one. Raises where the user must act.

        Raises InterruptedRunError instead of starting a job for a run that is stopped.
        With `user_code_may_fail` their exception is an answer like others: at some sizes it may be.
        """
        entry = self.record.find(task) if reuse else None
        reused = entry is not None
        if entry is None:
            self.end_if_stopped()
            self.on_event(JobStarted(stage=stage, label=label, task=task))
            entry = self._measure(task, deadline_seconds)
            if what := from_outside(entry.outcome):
                self.note(f"The worker for {label} {what}; trying it once more.")
                entry = self._measure(task, deadline_seconds)
                if what := from_outside(entry.outcome):
                    why = why_it_failed(entry.outcome)
                    raise twice(f"The worker for {label} {what}", why, self.log_of(entry))
        self.spent_seconds += entry.seconds
        # What is asked anew takes more or less, and is not to change what is planned.
        self.kept_seconds += self.record.first_seconds(task)
        if isinstance(entry.outcome, Fits):
            self.step_seconds[entry.task.batch_size] = entry.outcome.step_seconds
            start = max(0.0, entry.seconds - entry.outcome.steps * entry.outcome.step_seconds)
            self.least_probe_seconds = min(self.least_probe_seconds, start)
        if not (user_code_may_fail and isinstance(entry.outcome, UserCodeFailed)):
            self.raise_for_user(entry)
        self.on_event(
            JobFinished(
                stage=stage,
                label=label,
                answer=answer(entry.outcome),
                seconds=entry.seconds,
                reused=reused,
                task=task,
                outcome=entry.outcome,
            )
        )
        return entry

    def begin(
        self,
        stage: Stage,
        jobs: int,
        expected_seconds: float,
        detail: str = "",
        *,
        contest: Contest | None = None,
    ) -> None:
        self.on_event(
            StageStarted(
                stage=stage,
                jobs=jobs,
                expected_seconds=expected_seconds,
                detail=detail,
                limit_bytes=self.limit_bytes,
                contest=contest,
            )
        )

    def expect(self, stage: Stage, jobs_left: int, seconds_left: float) -> None:
        self.on_event(StageExpects(stage=stage, jobs_left=jobs_left, seconds_left=seconds_left))

    def end(self, stage: Stage, answer: str) -> None:
        is_whole = not self.is_stopped()
        told = answer if is_whole else f"so far: {answer}"
        self.on_event(StageFinished(stage=stage, answer=told, is_whole=is_whole))

    def note(self, *sentences: str) -> None:
        for text in sentences:
            self.on_event(Note(text=text))

    def log_of(self, entry: Entry) -> Path:
        return self.record.directory / "logs" / (entry.log or "")

    def raise_for_user(self, entry: Entry) -> None:
        """Raise if `entry` says that the user (or we) must mend something."""
        log = self.log_of(entry)
        match entry.outcome:
            case TargetMissing(message=message, hint=hint):
                raise RecipeError(message, hint=hint)
            case UserCodeFailed(message=message, hint=hint, traceback=traceback):
                hint = hint or f"All it printed is in {log}."
                raise UserCodeError(message, hint=hint, traceback=traceback)
            case Crashed(exit_code=code, log_tail=tail) if code == WORKER_BUG:
                raise AutobatchError(
                    f"A worker failed by a fault of autobatch: {_last_line(tail)}",
                    hint=f"Please report it with {log}.",
                )

    def _measure(self, task: Task, deadline_seconds: float) -> Entry:
        began = time.monotonic()
        outcome = self.executor.run(
            task, deadline_seconds=deadline_seconds, on_progress=self.on_event
        )
        took, stopped = time.monotonic() - began, self.executor.stopped_seconds
        self.started += stopped
        log = self.executor.log_path()
        entry = Entry(
            task=task,
            outcome=outcome,
            seconds=max(took - stopped, min(took, self.job_seconds)),  # it may have gone on
            log=log.name if log else None,
        )
        self.record.add(entry)
        return entry


def why_it_failed(outcome: Outcome) -> str:
    """One phrase on an outcome that is not the hoped-for one."""
    match outcome:
        case OutOfMemory():
            return "out of memory"
        case OverBudget(peak_bytes=peak):
            return f"over the limit, peak {format_bytes(peak)}"
        case TimedOut(deadline_seconds=seconds, where=where, oom_kills_elsewhere=killed):
            told = f"; it hung in {where}" if where else ""
            others = "; meanwhile the kernel ended a process of others for memory" if killed else ""
            return f"no answer in {format_duration(seconds)}{told}{others}"
        case Crashed(signal=number) if number is not None:
            is_named = number in set(signal.Signals)  # those of real time have no names
            return f"crashed ({signal.Signals(number).name if is_named else f'signal {number}'})"
        case Crashed(exit_code=None, log_tail=tail):
            return _last_line(tail)
        case Crashed(exit_code=code):
            return f"ended with exit code {code} and no answer"
        case UserCodeFailed(message=message):
            line = textwrap.shorten(message.splitlines()[0], PHRASE_CHARACTERS, placeholder=" ...")
            return f"your code failed: {line}"
        case Diverged(step=0):
            return "the loss of the untrained model is not a finite number"
        case Diverged(step=step):
            return f"diverged at step {step}"
        case _:
            return type(outcome).__name__


def _last_line(text: str) -> str:
    return (text.strip().splitlines() or ["it printed nothing"])[-1]
