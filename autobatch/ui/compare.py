"""Two runs side by side: their answers, what they measured, and in what they differ."""

from collections.abc import Callable, Iterator
from operator import attrgetter
from typing import Any

import msgspec

from autobatch.core.outlook_wording import noise
from autobatch.core.search import BOUNDED_BY
from autobatch.engine.difference import in_words
from autobatch.protocol import BenchmarkResult, ProbeResult, Recommendation, Verification
from autobatch.ui import held_back, words
from autobatch.ui.charts.axes import Chart, Table
from autobatch.ui.charts.pairs import curves_of_both, peaks_of_both, rates_of_both
from autobatch.ui.findings import Findings
from autobatch.ui.report import page
from autobatch.units import format_bytes, format_duration

Row = tuple[str, str, str]


def render_comparison(one: Findings, other: Findings) -> str:
    """The page of two runs, A and B."""
    pair = (one, other)
    charts = [curves_of_both(*pair), rates_of_both(*pair), peaks_of_both(*pair)]
    shown: list[Chart] = [chart for chart in charts if chart is not None]
    return page(
        "compare.html.j2",
        title=f"{one.name} and {other.name}",
        runs=[("A", one), ("B", other)],
        caveats=list(_caveats(*pair)),
        measured=_table("What was found", _measured(*pair)),
        differences=_table("What differs", _differences(*pair)),
        charts=shown,
    )


def _table(caption: str, rows: Iterator[Row]) -> Table:
    return Table(caption=caption, columns=("", "A", "B"), rows=tuple(rows))


def _caveats(one: Findings, other: Findings) -> Iterator[str]:
    """Why some numbers of the two may not be set against each other."""
    a, b = one.inspected, other.inspected
    if a and b and a.data_fingerprint != b.data_fingerprint:
        yield "The data differ: losses, and times to them, do not compare."
    if a and b and a.device_name != b.device_name:
        yield "The devices differ: so do rates, times and limits."
    if one.recommendation and other.recommendation:
        if one.metric != other.metric:
            yield f"The metrics differ: {one.metric} and {other.metric}."
        schedules = {r.learning_rate_schedule for r in (one.recommendation, other.recommendation)}
        if len(schedules) > 1:
            yield "One has annealed trials, and the other none: losses, and times, do not compare."
        yield (
            "Each run has a target of its own, the loss that its baseline reached: "
            f"{one.recommendation.target_loss:.4g} and {other.recommendation.target_loss:.4g}."
        )
    for letter, found in (("A", one), ("B", other)):
        if not found.finished:
            yield f"{letter} is not finished: its {found.command} came to no answer yet."


def _measured(one: Findings, other: Findings) -> Iterator[Row]:
    lines: list[tuple[str, Callable[[Findings], str]]] = [
        *((name, _of("recommendation", tell)) for name, tell in RECOMMENDED),
        *((name, _of("probed", tell)) for name, tell in PROBED),
        *((name, _of("measured", tell)) for name, tell in BENCHMARKED),
        *((name, _of("content.verification", tell)) for name, tell in VERIFIED),
    ]
    for name, tell in lines:
        a, b = tell(one), tell(other)
        if a or b:
            yield name, a, b


def _own(result: Recommendation) -> str:
    own, size = result.baseline.instead_of, result.baseline.batch_size
    told = f"{size}" if own is None else f"{own} (cannot be used; {size} instead)"
    return f"{told}, {result.baseline.learning_rate:.4g}"


def _came_to(result: Recommendation) -> str:
    """What its trials came to."""
    return "" if result.val_loss is None else f"{result.metric} {result.val_loss:.4g}"


RECOMMENDED: tuple[tuple[str, Callable[[Recommendation], str]], ...] = (
    ("batch size", lambda r: str(r.batch_size)),
    ("learning rate", lambda r: f"{r.learning_rate:.4g}"),
    ("yours", _own),
    ("verdict", words.verdict),
    ("confidence", lambda r: words.CONFIDENCE[r.confidence]),
    ("target", lambda r: f"{r.metric} {r.target_loss:.4g}"),
    ("reached in", lambda r: next(
        (words.reached_in(c, r) for c in r.candidates if words.is_chosen(c, r)), ""
    )),
    ("in the end", lambda r: _came_to(r) if r.learning_rate_schedule else ""),
    ("at best", lambda r: "" if r.learning_rate_schedule else _came_to(r)),
    ("memory", words.memory),
    ("throughput", words.throughput),
    ("noise scale", lambda r: noise(r.noise_scale) if r.noise_scale else ""),
    ("took", lambda r: format_duration(r.wall_seconds)),
)  # fmt: skip


def _largest(probed: ProbeResult) -> str:
    name = probed.name_of_largest
    doubt = "" if name == "largest that fits" else f" ({name})"
    return f"{probed.largest_fitting}{doubt}"


PROBED: tuple[tuple[str, Callable[[ProbeResult], str]], ...] = (
    ("largest that fits", _largest),
    ("keeps the headroom", words.ceiling),
    ("limit", lambda p: format_bytes(p.limit_bytes)),
    ("bounded by", lambda p: BOUNDED_BY[p.bounded_by]),
)
BENCHMARKED: tuple[tuple[str, Callable[[BenchmarkResult], str]], ...] = (
    ("knee", lambda b: f"{b.knee} {words.knee(b)}"),
    ("fastest", lambda b: str(b.best)),
    ("a step takes", lambda b: words.step_time(b.step_time) if b.step_time else ""),
    ("held back by", lambda b: held_back.HOLDS_BACK[b.bound_by]),
)
VERIFIED: tuple[tuple[str, Callable[[Verification], str]], ...] = (
    ("verified", lambda v: f"batch {v.batch_size} {'holds' if v.holds else 'does not hold'}"),
    ("when verified", lambda v: " ".join((*v.reasons, *map(in_words, v.differences)))),
)


def _of(answer: str, tell: Callable[[Any], str]) -> Callable[[Findings], str]:
    """What `tell` says of that answer; nothing where the run has none."""
    return lambda found: tell(part) if (part := attrgetter(answer)(found)) else ""


def _differences(one: Findings, other: Findings) -> Iterator[Row]:
    """Of target, recipe and environment, by key."""
    a, b = dict(_asked(one)), dict(_asked(other))
    for key in dict.fromkeys((*a, *b)):
        if a.get(key) != b.get(key):
            yield key, _text(a.get(key)), _text(b.get(key))


def _asked(found: Findings) -> Iterator[tuple[str, Any]]:
    header, inspected = found.header, found.inspected
    yield "autobatch", header.autobatch_version
    yield from _flat("target", msgspec.to_builtins(header.target, str_keys=True))
    if inspected:
        told = msgspec.to_builtins(inspected, str_keys=True)
        for name in set(told) & {"type", "saved_seconds", "mapped_bytes", "notes", "metrics"}:
            del told[name]
        yield from _flat("", told)
    if found.recommendation:
        yield from _flat("recipe", found.recommendation.environment["recipe"])


def _flat(prefix: str, value: Any) -> Iterator[tuple[str, Any]]:
    if not isinstance(value, dict):
        yield prefix, value
        return
    for key, each in value.items():
        yield from _flat(f"{prefix}.{key}" if prefix else str(key), each)


def _text(value: Any) -> str:
    return "" if value is None else str(value)
