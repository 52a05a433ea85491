"""What a record shows, whether or not its run came to an answer: the content of a report.

Where a command concluded, its own numbers are taken; where none did, what can be derived from the
entries that there are.
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Literal

from autobatch.core import learning_curves, throughput
from autobatch.engine.record_file import Content, Entry, Header
from autobatch.protocol import (
    Benchmark,
    BenchmarkPoint,
    BenchmarkResult,
    Candidate,
    Crashed,
    Diverged,
    Gradients,
    Inspected,
    Measured,
    Probe,
    ProbePoint,
    ProbeResult,
    RangeTest,
    Recommendation,
    TargetMissing,
    TimedOut,
    Trained,
    Trial,
    UserCodeFailed,
    kind_of,
)
from autobatch.stages.ask import why_it_failed
from autobatch.stages.probes import point_of

Role = Literal["chosen", "baseline", "finalist", "dropped", "undecided"]
DEFAULT_METRIC = "val_loss"


@dataclass(frozen=True)
class Curve:
    """One trial: the metric against training time, by the step time that the benchmark measured."""

    batch_size: int
    learning_rate: float
    seed: int
    role: Role
    seconds: tuple[float, ...]
    values: tuple[float, ...]


@dataclass(frozen=True)
class Failure:
    """A job that gave no measurement for a reason that is not memory."""

    job: str
    why: str
    detail: str  # traceback or end of the log
    hint: str


@dataclass(frozen=True)
class Findings:
    """A record, sorted by what a reader asks."""

    name: str
    content: Content
    inspected: Inspected | None
    probed: ProbeResult | None
    measured: BenchmarkResult | None
    probe_points: tuple[ProbePoint, ...]
    limit_bytes: int | None
    benchmark_points: tuple[BenchmarkPoint, ...]
    curves: tuple[Curve, ...]
    failures: tuple[Failure, ...]

    @property
    def header(self) -> Header:
        assert self.content.header is not None  # read_record refuses a record without one
        return self.content.header

    @property
    def recommendation(self) -> Recommendation | None:
        return self.content.recommendation

    @property
    def metric(self) -> str:
        return self.recommendation.metric if self.recommendation else DEFAULT_METRIC

    @property
    def command(self) -> str:
        """What the user asked for, by how far it came."""
        if self.content.verification or self._is_of_verification:
            return "verify"
        kinds = {type(entry.task) for entry in self.content.entries}
        if self.recommendation or kinds & {Trial, Gradients, RangeTest}:
            return "recommend"
        return "benchmark" if self.content.benchmark or Benchmark in kinds else "probe"

    @property
    def _is_of_verification(self) -> bool:
        """It begins with what ends a search, and makes none: also where it came to no answer."""
        tasks = [entry.task for entry in self.content.entries if isinstance(entry.task, Probe)]
        return bool(tasks) and all(task.verify for task in tasks)

    @property
    def finished(self) -> bool:
        return {
            "verify": self.content.verification is not None,
            "recommend": self.content.recommendation is not None,
            "benchmark": self.content.benchmark is not None,
            "probe": self.content.probe is not None,
        }[self.command]


def _probed(content: Content) -> ProbeResult | None:
    """What the page's other numbers rest on, should the record have several."""
    found = content.recommendation.probe if content.recommendation else None
    if found is None or (found.bounded_by == "trials" and content.probe is not None):
        return content.probe
    return found


def findings(content: Content, name: str) -> Findings:
    found = content.recommendation
    probed = _probed(content)
    measured = found.benchmark if found else content.benchmark
    probe_points = tuple(probed.probes if probed else _probe_points(content.entries))
    points = tuple(measured.points if measured else _benchmark_points(content.entries))
    limits = [point.limit_bytes for point in probe_points]
    return Findings(
        name=name,
        content=content,
        inspected=next(
            (e.outcome for e in content.entries if isinstance(e.outcome, Inspected)), None
        ),
        probed=probed,
        measured=measured,
        probe_points=probe_points,
        limit_bytes=probed.limit_bytes if probed else max(limits, default=None),
        benchmark_points=points,
        curves=tuple(_curves(content, {p.batch_size: p.step_seconds for p in points})),
        failures=tuple(_failures(content.entries)),
    )


def _probe_points(entries: Iterable[Entry]) -> Iterator[ProbePoint]:
    for entry in entries:
        if isinstance(entry.task, Probe):
            yield point_of(entry.task, entry)


def _benchmark_points(entries: Iterable[Entry]) -> Iterator[BenchmarkPoint]:
    """Of the processes that measured a size so far."""
    by_size: dict[int, list[Measured]] = {}
    for entry in entries:
        task, outcome = entry.task, entry.outcome
        plain = isinstance(task, Benchmark) and task.steps_per_execution is None
        if plain and isinstance(outcome, Measured):
            by_size.setdefault(task.batch_size, []).append(outcome)
    yield from throughput.benchmark_points(by_size)


def _curves(content: Content, step_seconds: dict[int, float]) -> Iterator[Curve]:
    """Of the candidates' trials that the answer rests on; of all, where there is none yet."""
    found = content.recommendation
    metric = found.metric if found else DEFAULT_METRIC
    candidates = {(c.batch_size, c.learning_rate): c for c in found.candidates} if found else {}
    for entry in content.entries:
        task, outcome = entry.task, entry.outcome
        if not isinstance(task, Trial) or not isinstance(outcome, Trained | Diverged):
            continue
        if task.batch_size not in step_seconds:
            continue
        if found and task.schedule != (found.learning_rate_schedule or "own"):
            continue
        step = step_seconds[task.batch_size]
        evaluated = [e for e in outcome.evaluations if metric in e.metrics]
        seen = [(e.step * step, e.metrics[metric]) for e in evaluated]
        steadied = learning_curves.steadied(seen) if seen else []
        stays = task.schedule != "own"
        told = learning_curves.until(steadied, task.steps * step, stays=stays)  # as compared
        candidate = candidates.get((task.batch_size, task.learning_rate))
        if found and (candidate is None or not _counts([*told, *seen], candidate)):
            continue
        yield Curve(
            batch_size=task.batch_size,
            learning_rate=task.learning_rate,
            seed=task.seed,
            role=_role(candidate, found),
            seconds=tuple(seconds for seconds, _ in told),
            values=tuple(value for _, value in told),
        )


def _counts(told: list[tuple[float, float]], candidate: Candidate) -> bool:
    """Whether the candidate's figures rest on this trial: what it came to is among them."""
    kept = candidate.val_loss_per_seed
    return not kept or any(value in kept for _, value in told)


def _role(candidate: Candidate | None, found: Recommendation | None) -> Role:
    if candidate is None or found is None:
        return "undecided"
    if (candidate.batch_size, candidate.learning_rate) == (found.batch_size, found.learning_rate):
        return "chosen"
    if candidate.status == "baseline":
        return "baseline"
    return "finalist" if candidate.is_finalist else "dropped"


def _failures(entries: Iterable[Entry]) -> Iterator[Failure]:
    for entry in entries:
        outcome = entry.outcome
        size = getattr(entry.task, "batch_size", None)
        job = kind_of(entry.task) + (f" of batch {size}" if size else "")
        match outcome:
            case UserCodeFailed(traceback=detail, hint=hint):
                yield Failure(job, why_it_failed(outcome), detail, hint or "")
            case TargetMissing(message=message, hint=hint):
                yield Failure(job, message, "", hint or "")
            case Crashed(log_tail=detail) | TimedOut(log_tail=detail):
                yield Failure(job, why_it_failed(outcome), detail, "")
