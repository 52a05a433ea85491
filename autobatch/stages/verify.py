"""Does a recommendation still hold? Its size trained and timed again, and what has changed."""

from autobatch.core import throughput
from autobatch.errors import UsageError
from autobatch.protocol import (
    BenchmarkPoint,
    Difference,
    Fits,
    Inspected,
    Interval,
    Measured,
    Recommendation,
    Speed,
    Verification,
)
from autobatch.stages.ask import Session, why_it_failed
from autobatch.stages.probes import NOT_ABOUT_MEMORY, Probes
from autobatch.stages.timer import Timer
from autobatch.units import format_bytes, format_rate, format_share

ROUNDS = 3  # processes that time it: rates differ between them
# With another value of these the recommendation does not hold; the others are told.
MATTERS = ("optimizer", "parameters", "precision", "data_fingerprint", "replicas")
TOLD = ("model", "code_fingerprint", "configuration", "device", "jit_compile")


def verify(
    session: Session,
    inspected: Inspected,
    recommended: Recommendation,
    environment: dict[str, object],
) -> Verification:
    """`environment` is that of now, as a recommendation describes its own."""
    size = recommended.batch_size
    if size % session.recipe.device.replicas:
        raise UsageError(
            f"{size}, which is recommended, cannot be shared by {session.recipe.device.replicas} "
            "replicas in equal parts.",
            hint="Verify it with the device.replicas that it was found with.",
        )
    # Nothing else tells here for how long a verification is to be waited for.
    session.step_seconds[size] = size / recommended.samples_per_second
    timer = Timer(session, ROUNDS, "verify")
    jobs, timed = timer.cost([(size, number) for number in range(ROUNDS)])
    session.begin("verify", 1 + jobs, session.job_seconds + timed)
    probes = Probes(session, inspected.abilities)
    fits = probes.final(size, session.limit_bytes)
    share = recommended.benchmark.share_that_wait
    point, untimed = _timed(timer, size, share) if fits else (None, ())
    now = environment | {"optimizer": inspected.optimizer}
    then = recommended.environment | {"optimizer": recommended.optimizer}
    read = _named(environment, "configuration")  # now; of what was read then, as code may make more
    now["configuration"] = {name: read.get(name) for name in _named(then, "configuration")}
    different = _differences(then, now)
    speed = _speed(point, recommended)
    unlike = any(each.matters for each in different)
    holds = fits is not None and speed in ("same", "faster") and not unlike
    told = "timed and compared" if point else "not timed" if fits else "does not train"
    session.end("verify", f"batch {size}: {told}")
    return Verification(
        holds=holds,
        batch_size=size,
        learning_rate=recommended.learning_rate,
        outcome=probes.points[-1].outcome,
        peak_bytes=fits.peak_bytes if fits else None,
        peak_bytes_then=recommended.peak_bytes,
        limit_bytes=session.limit_bytes,
        headroom=float(session.recipe.device.headroom),
        samples_per_second=_interval(point) if point else None,
        samples_per_second_then=Interval(
            value=recommended.samples_per_second,
            low=recommended.samples_per_second_low,
            high=recommended.samples_per_second_high,
        ),
        speed=speed,
        differences=different,
        reasons=(
            _on_memory(session, probes, size),
            *([probes.doubt] if probes.doubt else []),
            *untimed,
            *_on_speed(point, recommended, speed),
        ),
        wall_seconds=session.spent_seconds,
    )


def _timed(
    timer: Timer, size: int, share_that_wait: Interval | None
) -> tuple[BenchmarkPoint | None, tuple[str, ...]]:
    """What `fit` delivers at that size now, by several processes.

    None if one could not tell, and why: a size that trains at times alone is none to rely on.
    tf.data is taken to be waited for as often as it was then: few ends of epochs are seen here.
    """
    found: list[Measured] = []
    for number in range(ROUNDS):
        timer.expect([(size, each) for each in range(number, ROUNDS)])
        label = f"{size} timed, {number + 1} of {ROUNDS}"
        outcome = timer.ask(label, batch_size=size, repeat=number)
        if not isinstance(outcome, Measured):
            why = why_it_failed(outcome)
            return None, (f"Not timed: {why}, in process {number + 1} of {ROUNDS}.",)
        found.append(outcome)
    return throughput.benchmark_points({size: found}, share_that_wait)[0], ()


def _speed(point: BenchmarkPoint | None, then: Recommendation) -> Speed:
    """Whether the rate is another, for certain: whether the two intervals are apart."""
    if point is None:
        return "unknown"
    if point.high < then.samples_per_second_low:
        return "slower"
    return "faster" if point.low > then.samples_per_second_high else "same"


def _differences(then: dict[str, object], now: dict[str, object]) -> tuple[Difference, ...]:
    found = [(name, then.get(name), now.get(name), name in MATTERS) for name in (*MATTERS, *TOLD)]
    for key, absent in (("versions", None), ("settings", "not set")):
        if key in then:  # older recommendations do not tell of settings
            before, after = (_named(environment, key) for environment in (then, now))
            found += [
                (name, before.get(name, absent), after.get(name, absent), False)
                for name in sorted({*before, *after})
            ]
    return tuple(
        Difference(
            name=name,
            then=str(old),
            now="not there" if new is None else str(new),
            matters=matters,
        )
        for name, old, new, matters in found
        if old != new and old is not None  # None: a package that was not there
    )


def _named(environment: dict[str, object], key: str) -> dict[str, str]:
    found = environment.get(key)
    return found if isinstance(found, dict) else {}


def _on_memory(session: Session, probes: Probes, size: int) -> str:
    entry = next(iter(probes.entries.values()))
    limit = format_bytes(session.limit_bytes)
    if not isinstance(entry.outcome, Fits):
        about = "Training" if isinstance(entry.outcome, NOT_ABOUT_MEMORY) else "Memory"
        return f"{about}: batch {size} does not train in {limit}: {why_it_failed(entry.outcome)}."
    peak = entry.outcome.peak_bytes
    free, headroom = 1 - peak / session.limit_bytes, session.recipe.device.headroom
    told = f"Memory: batch {size} peaks at {format_bytes(peak)} of {limit}"
    if free < headroom:
        return f"{told}, which leaves less than the headroom of {format_share(headroom)} free."
    return f"{told} ({free:.0%} free)."


def _on_speed(point: BenchmarkPoint | None, then: Recommendation, speed: Speed) -> tuple[str, ...]:
    if point is None:
        return ()
    told = {
        "same": "the intervals overlap",
        "slower": "slower for certain",
        "faster": "faster for certain",
    }[speed]
    now, low, high = map(format_rate, (point.samples_per_second, point.low, point.high))
    before, before_low, before_high = map(
        format_rate,
        (then.samples_per_second, then.samples_per_second_low, then.samples_per_second_high),
    )
    return (
        f"Throughput: {now} samples/s ({low} to {high}) where {before} ({before_low} to "
        f"{before_high}) were measured: {told}.",
    )


def _interval(point: BenchmarkPoint) -> Interval:
    return Interval(value=point.samples_per_second, low=point.low, high=point.high)
