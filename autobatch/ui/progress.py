"""What a watcher wants to know of a run, from its events. No terminal here: `live.py` draws it."""

import time
from collections.abc import Callable
from dataclasses import dataclass, field
from math import isclose
from statistics import fmean

from autobatch.protocol import (
    Benchmark,
    Contest,
    Event,
    Fits,
    JobFinished,
    JobProgress,
    JobStarted,
    Measured,
    Outcome,
    Predicted,
    Probe,
    StageExpects,
    StageFinished,
    StageStarted,
    Trained,
    Trial,
)

Setting = tuple[int, float]  # batch size, learning rate
Curve = tuple[float, ...]  # the metric at each evaluation


@dataclass(frozen=True)
class Probed:
    """What one batch size was seen to need."""

    fits: bool
    peak_bytes: int | None
    answer: str


@dataclass(frozen=True)
class Ranked:
    """One setting among those tried; `value`: what trials are judged by, mean over seeds."""

    batch_size: int
    learning_rate: float
    value: float
    seeds: int
    curve: Curve  # of the last seed
    is_baseline: bool


@dataclass
class Progress:
    """The present stage, what is tried now, and what was found so far."""

    clock: Callable[[], float] = time.monotonic
    stages: int = 0  # begun so far
    stage: StageStarted | None = None
    job: JobStarted | None = None
    share: float = 0.0  # of the present job
    last: str = ""
    done: int = 0
    reused: int = 0
    probed: dict[int, Probed] = field(default_factory=dict)
    rates: dict[int, list[float]] = field(default_factory=dict)  # samples/s of each process
    rate_now: float | None = None
    trials: dict[Setting, dict[int, Curve]] = field(default_factory=dict)  # by seed; empty: failed
    curve_now: list[float] = field(default_factory=list)
    _run_began: float = 0.0
    _began: float = 0.0
    _expects: StageExpects | None = None
    _expected_at: float = 0.0
    _done_then: int = 0

    def __post_init__(self) -> None:
        self._run_began = self.clock()

    def update(self, event: Event) -> None:
        match event:
            case StageStarted():
                self._begin(event)
            case StageExpects():
                self._expects, self._expected_at = event, self.clock()
                self._done_then = self.done
            case JobStarted():
                if self.stage is None:  # a job on its own, after its stage
                    self._begin(StageStarted(stage=event.stage, jobs=1, expected_seconds=0))
                self._present(event)
            case JobProgress():
                self._go_on(event)
            case JobFinished():
                self._finish(event)
            case StageFinished():
                self.stage = None
                self._present(None)

    def elapsed_seconds(self) -> float:
        return self.clock() - self._began

    def run_seconds(self) -> float:
        return self.clock() - self._run_began

    def left(self) -> tuple[int, float]:
        """(jobs of the stage in all, seconds to go; 0 where that is not known)."""
        assert self.stage is not None
        done = self.done + self.share
        least = max(self.done + (self.job is not None), 1)
        if self._expects is not None:
            since = self.clock() - self._expected_at
            jobs = max(self._done_then + self._expects.jobs_left, least)
            return jobs, max(0.0, self._expects.seconds_left - since)
        jobs = max(self.stage.jobs, least)
        measured = self.done - self.reused
        if measured >= 2:  # by then what the jobs of this run took is the better guide
            each = self.elapsed_seconds() / max(measured + self.share, 1)
            return jobs, each * (jobs - done)
        return jobs, self.stage.expected_seconds * (1 - done / jobs)

    def ranking(self) -> list[Ranked]:
        """Best first. Once finalists run, which train longer and with other seeds, they alone."""
        contest = self.stage.contest if self.stage else None
        ranked = []
        for (size, rate), by_seed in self.trials.items():
            curves = [curve for seed, curve in by_seed.items() if curve and self._counts(seed)]
            if contest is not None and curves:
                best: Callable[[Curve], float] = max if contest.maximise else min
                judged = (lambda curve: curve[-1]) if contest.anneals else best
                ranked.append(
                    Ranked(
                        batch_size=size,
                        learning_rate=rate,
                        value=fmean(map(judged, curves)),
                        seeds=len(curves),
                        curve=curves[-1],
                        is_baseline=_is_baseline(contest, size, rate),
                    )
                )
        sign = -1 if contest and contest.maximise else 1
        return sorted(ranked, key=lambda each: (sign * each.value, each.batch_size))

    def is_final(self) -> bool:
        """Whether finalists run: the first trials have one seed, and no finalist has it."""
        return len(self._seeds()) > 1

    def failed(self) -> int:
        """Settings that diverged or failed, of those that the ranking is about."""
        return sum(
            any(not curve and self._counts(seed) for seed, curve in by_seed.items())
            for by_seed in self.trials.values()
        )

    def trial(self) -> Trial | None:
        task = self.job.task if self.job else None
        return task if isinstance(task, Trial) else None

    def _seeds(self) -> list[int]:
        seen = [seed for by_seed in self.trials.values() for seed in by_seed]
        if trial := self.trial():
            seen.append(trial.seed)
        return list(dict.fromkeys(sorted(seen)))

    def _counts(self, seed: int) -> bool:
        seeds = self._seeds()
        return not self.is_final() or seed != seeds[0]

    def _begin(self, stage: StageStarted) -> None:
        self.stage, self._began, self._expects = stage, self.clock(), None
        self.stages += 1
        self.done = self.reused = 0
        self.last = ""
        self.probed, self.rates, self.trials = {}, {}, {}
        self._present(None)

    def _present(self, job: JobStarted | None) -> None:
        self.job, self.share = job, 0.0
        self.rate_now, self.curve_now = None, []

    def _go_on(self, event: JobProgress) -> None:
        self.share = min(1.0, event.done / max(event.total, 1))
        if event.samples_per_second is not None:
            self.rate_now = event.samples_per_second
        contest = self.stage.contest if self.stage else None
        if contest and contest.metric in event.metrics:
            self.curve_now.append(event.metrics[contest.metric])

    def _finish(self, event: JobFinished) -> None:
        self.done += 1
        self.reused += event.reused
        self.last = f"{event.label}: {event.answer}"
        self._present(None)
        match event.task:
            case Probe() as task:
                self._file_probe(task, event.outcome, event.answer)
            case Benchmark(batch_size=size, steps_per_execution=None):
                if isinstance(event.outcome, Measured):
                    from autobatch.core.throughput import delivered  # with NumPy and SciPy

                    self.rates.setdefault(size, []).append(delivered(event.outcome).value)
            case Trial(batch_size=size, learning_rate=rate, seed=seed):
                found = self.trials.setdefault((size, rate), {})
                found[seed] = self._curve(event.outcome)

    def _file_probe(self, task: Probe, outcome: Outcome | None, answer: str) -> None:
        before = self.probed.get(task.batch_size)
        limit = self.stage.limit_bytes if self.stage else None
        fits = isinstance(outcome, (Fits, Predicted))
        if not fits and before and before.fits and limit and task.limit_bytes < limit:
            return  # it fits; less memory was tried for the headroom
        peak_bytes = getattr(outcome, "peak_bytes", None)
        self.probed[task.batch_size] = Probed(fits, peak_bytes, answer)

    def _curve(self, outcome: Outcome | None) -> Curve:
        contest = self.stage.contest if self.stage else None
        if contest is None or not isinstance(outcome, Trained):
            return ()
        metrics = [evaluation.metrics for evaluation in outcome.evaluations]
        return tuple(found[contest.metric] for found in metrics if contest.metric in found)


def _is_baseline(contest: Contest, size: int, rate: float) -> bool:
    return size == contest.batch_size and isclose(rate, contest.learning_rate)
