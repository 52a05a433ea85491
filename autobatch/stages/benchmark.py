"""What is fast? Samples per second that `fit` delivers, at powers of two up to the ceiling."""

from collections.abc import Iterator, Mapping, Sequence
from math import inf
from statistics import median

from autobatch.core import diagnosis, throughput
from autobatch.core.step_time import knee as knee_of
from autobatch.core.step_time import step_time
from autobatch.core.throughput import interleaved, sizes_to_measure
from autobatch.errors import UsageError
from autobatch.protocol import (
    BenchmarkPoint,
    BenchmarkResult,
    Inspected,
    Measured,
    ProbeResult,
)
from autobatch.stages.ask import Session
from autobatch.stages.timer import Timer
from autobatch.units import format_duration

TOLD_WAITS = 0.02  # of the time
WIDE_SPREAD = 0.3  # of a rate, from process to process: more than a quiet machine has
MANY_SIZES = 4  # few ones are each measured in three processes, to know how much rates differ


def benchmark(
    session: Session,
    inspected: Inspected,
    probed: ProbeResult,
    *,
    step_seconds_at_most: float = inf,
) -> BenchmarkResult:
    """Points of all sizes that could be measured; a failing size never loses the others.

    Those of longer steps are measured in one process alone, with an interval as wide.
    """
    is_named = not isinstance(session.recipe.benchmark.sizes, str)
    few = not is_named and inspected.abilities.compiles_anew and inspected.jit_compile
    sizes, skipped = _sizes(session, inspected, probed, few=few)
    rounds = 2 if len(sizes) > MANY_SIZES else 3
    timer = Timer(session, rounds)
    # The user's own size first, should time run out; and every second round backwards: what changes
    # steadily with time then cancels out.
    baseline = session.recipe.baseline.batch_size
    order = sorted(interleaved(sizes), key=lambda size: size != baseline)
    jobs = [(s, k) for k in range(rounds) for s in (order if k % 2 == 0 else reversed(order))]
    session.begin(
        "benchmark",
        *timer.cost(jobs),
        f"{len(sizes)} sizes, each in {rounds} processes of {format_duration(timer.seconds)}",
    )
    while jobs:
        size, round_ = jobs.pop(0)
        if (timer.found or timer.skipped) and session.is_to_end():
            timer.leave_out(size, round_)
        else:
            timer.measure(size, round_)
        if not timer.is_worth_more(size, step_seconds_at_most):
            jobs = [job for job in jobs if job[0] != size]
        timer.expect(jobs)
    if not timer.found:
        session.end_if_stopped()
        timer.refuse(skipped)
    spread = throughput.spread_between(timer.found.values())
    points = diagnosis.diagnosed(
        throughput.benchmark_points(timer.found), session.job_limit_bytes or session.limit_bytes
    )
    ceiling = timer.ceiling()
    moved = throughput.drift(timer.found.values())
    usable = [point for point in points if ceiling is None or point.batch_size <= ceiling] or points
    fitted = step_time(usable)
    knee = knee_of(usable, fitted)
    best = max(usable, key=lambda point: point.samples_per_second).batch_size
    at = {point.batch_size: point for point in points}
    several = inspected.abilities.executes_several_steps
    executions = timer.executions(at[knee], spread) if several else []
    faster = diagnosis.best_execution(at[knee], executions)
    session.end("benchmark", f"knee at {knee}, fastest at {best}")
    bound_by = at[best].bound_by
    assert bound_by is not None
    return BenchmarkResult(
        points=diagnosis.advised(points, knee, executions, faster, inspected),
        knee=knee,
        best=best,
        bound_by=bound_by,
        skipped=(*skipped, *timer.skipped),
        wall_seconds=timer.wall_seconds,
        share_that_wait=throughput.share_that_wait(timer.found.values()),
        notes=(
            *timer.notes,
            *_on_unknown(timer.logs_of_unknown),
            *_notes(moved, timer.out_of_memory, ceiling, few=few),
            *_on_spread(spread),
            *_on_waits(timer.found, points),
            *(_on_long_epochs(timer.found, at) if inspected.train_samples is not None else ()),
        ),
        ceiling=ceiling,
        step_time=fitted,
        drift=moved,
        executions=tuple(executions),
        steps_per_execution=faster,
        replicas=session.recipe.device.replicas,
    )


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
        by = f"{abs(moved):.0%} {'faster' if moved > 0 else 'slower'}"
        yield (
            f"The machine's speed moved: when measured again, sizes were {by}; "
            "the intervals allow for it. Is something else running?"
        )


def _on_spread(spread: float) -> Iterator[str]:
    if spread > WIDE_SPREAD:
        yield (
            f"Samples per second differ much from one process to the next (± {spread:.0%}, 95 %), "
            "and the intervals are as wide. Is something else running?"
        )


def _on_waits(
    found: Mapping[int, Sequence[Measured]], points: Sequence[BenchmarkPoint]
) -> Iterator[str]:
    most = max(points, key=lambda point: point.epoch_wait_seconds / point.epoch_seconds)
    share = most.epoch_wait_seconds / most.epoch_seconds
    if share >= TOLD_WAITS:
        ends = [end for rounds in found.values() for each in rounds for end in each.epoch_ends]
        waited = [end.waited for end in ends if end.wait_seconds > 0]
        yield (
            f"At {sum(waited)} of {len(waited)} ends of an epoch `fit` waited for a thread that "
            "tunes the tf.data pipeline, for up to as long as the epoch took. The rates count with "
            f"it, by what epochs of each size take ({share:.0%} of the time at batch "
            f"{most.batch_size}). A tf.data.Dataset does not wait with options = "
            "tf.data.Options(); options.autotune.enabled = False; train = "
            "train.with_options(options): give `fit` such a one, also instead of arrays."
        )


def _on_unknown(logs: Mapping[int, str | None]) -> Iterator[str]:
    if logs:
        yield (
            f"What holds batch {', '.join(map(str, sorted(logs)))} back is not known for certain: "
            "training on one resident batch failed, and logs say why (of batch "
            f"{min(logs)}, {logs[min(logs)]})."
        )


def _on_long_epochs(
    found: Mapping[int, Sequence[Measured]], at: Mapping[int, BenchmarkPoint]
) -> Iterator[str]:
    unseen = {
        size: [each.input_start_seconds for each in rounds if each.input_start_seconds is not None]
        for size, rounds in sorted(found.items())
        if not any(each.whole_epochs or each.epoch_overhead_seconds for each in rounds)
    }
    unknown = [size for size, starts in unseen.items() if not starts]
    if unknown:
        yield (
            f"Epochs of batch {', '.join(map(str, unknown))} are longer than was measured: what "
            "the start of one takes (a shuffle buffer to fill?) is not in these rates. A longer "
            "benchmark.seconds would see it."
        )
    slow = {
        size: median(starts)
        for size, starts in unseen.items()
        if starts and median(starts) >= diagnosis.TOLD_SHARE * at[size].epoch_seconds
    }
    if slow:
        yield (
            f"Epochs of batch {', '.join(map(str, slow))} are longer than was measured, and begin "
            f"slowly: the input pipeline alone takes {format_duration(max(slow.values()))} (a "
            "shuffle buffer to fill?), which is in the rate, and which its interval doubts. "
            "A longer benchmark.seconds would tell."
        )


def _sizes(
    session: Session, inspected: Inspected, probed: ProbeResult, *, few: bool
) -> tuple[list[int], list[str]]:
    """Sizes to measure, the baseline always among them where it fits; and why others are not."""
    samples = inspected.train_samples
    recipe = session.recipe
    asked, baseline = recipe.benchmark.sizes, recipe.baseline.batch_size
    if isinstance(asked, str):
        least, multiple = recipe.batch_sizes.min, probed.multiple
        sizes = sizes_to_measure(least, probed.ceiling, multiple, few=few)
    else:
        sizes = sorted(set(asked))
    above = f"above the {probed.name_of_largest} ({probed.largest_fitting})"
    if probed.bounded_by in ("failure", "range"):  # what it was, is in the notes
        above = " ".join((f"{above}.", *probed.notes))
    if probed.largest_fitting == recipe.batch_sizes.max:
        above = f"above batch_sizes.max ({recipe.batch_sizes.max})"
    too_few = f"there are {samples} training samples"
    skipped = [
        f"{size}: {too_few if samples is not None and size > samples else above}"
        for size in sizes
        if size > probed.largest_fitting
    ]
    kept = {size for size in sizes if size <= probed.largest_fitting}
    if not kept:
        raise UsageError(
            f"None of the sizes asked for can be measured ({'; '.join(skipped)}).",
            hint=f"Name sizes up to {probed.largest_fitting}, or leave them out for powers of two.",
        )
    return sorted(kept | ({baseline} if baseline <= probed.largest_fitting else set())), skipped
