"""Samples per second by batch size: what fit delivers, what the device could, and the knee."""

from collections.abc import Sequence
from math import log10

from autobatch.protocol import BenchmarkPoint, BenchmarkResult
from autobatch.ui import words
from autobatch.ui.charts.axes import (
    Chart,
    Figure,
    Table,
    figure,
    marks,
    note,
    numbers_axis,
    sizes_axis,
    upright,
    whiskers,
)
from autobatch.ui.findings import Findings
from autobatch.units import format_rate

WIDE = 4.0  # ratio of an interval's bound to the nearest rate, from which on it is cut off


def throughput_chart(found: Findings) -> Chart | None:
    points, result = found.benchmark_points, found.recommendation
    if not points:
        return None
    measured = found.measured
    traces = [
        *_ceiling("batches drawn alone", points, "input_samples_per_second", "--other", "dot"),
        *_ceiling("the device alone", points, "device_samples_per_second", "--finalist-1", "dash"),
        delivered("delivered by fit", points, "--data"),
    ]
    low, high = _range([rate for trace in traces for rate in trace["y"]], points)
    if result:
        text = f"recommended, batch {result.batch_size}: {words.throughput(result)}"
        place = [(result.batch_size, result.samples_per_second)]
        traces.append(marks("recommended", place, [text], "--accent", symbol="diamond", size=13))
    span = [log10(low) - 0.03, log10(high) + 0.03]
    y = numbers_axis(low, high, format_rate, title="samples per second", range=span)
    x = sizes_axis([p.batch_size for p in points])
    return Chart(
        id="throughput",
        title="Samples per second by batch size",
        alt=_alt(points, measured),
        figure=figure(traces, x, y, **_knee(measured)),
        table=_table(points),
        caption="Both axes are logarithmic. Bars are 95 % intervals of the delivered rate"
        + ("." if measured else ", without what processes differ by: not all have run."),
    )


def delivered(
    name: str, points: Sequence[BenchmarkPoint], color: str, symbol: str = "circle"
) -> Figure:
    """The delivered rates with their intervals."""
    rates = [(p.batch_size, p.samples_per_second) for p in points]
    texts = [
        f"batch {p.batch_size}: {format_rate(p.samples_per_second)} samples/s, {name} "
        f"({format_rate(p.low)} to {format_rate(p.high)})"
        for p in points
    ]
    return {
        **marks(name, rates, texts, color, symbol=symbol, size=8),
        "mode": "lines+markers",
        "line": {"color": color, "width": 2.5},
        "error_y": whiskers(
            [p.samples_per_second for p in points],
            [p.low for p in points],
            [p.high for p in points],
            color,
            thickness=1.5,
            width=4,
        ),
    }


def _ceiling(
    name: str, points: Sequence[BenchmarkPoint], field: str, color: str, dash: str
) -> list[Figure]:
    """A rate that training cannot exceed; none where it was not measured."""
    known = [(p.batch_size, rate) for p in points if (rate := getattr(p, field)) is not None]
    if not known:
        return []
    texts = [f"batch {size}: {format_rate(rate)} samples/s, {name}" for size, rate in known]
    line = {"color": color, "dash": dash, "width": 1.5}
    return [{**marks(name, known, texts, color, size=5), "mode": "lines+markers", "line": line}]


def _range(rates: Sequence[float], points: Sequence[BenchmarkPoint]) -> tuple[float, float]:
    """Of what is shown; intervals that are very wide leave it."""
    low = max(min(p.low for p in points), min(rates) / WIDE)
    return min(low, *rates), max(*rates, min(max(p.high for p in points), max(rates) * WIDE))


def _knee(measured: BenchmarkResult | None) -> dict[str, list[Figure]]:
    if measured is None:
        return {}
    place = {"x": log10(measured.knee), "yref": "paper", "y": 0, "yanchor": "bottom"}
    text = note("knee", xanchor="right", xshift=-4, **place)
    return {"shapes": [upright(measured.knee, "--muted")], "annotations": [text]}


def _alt(points: Sequence[BenchmarkPoint], measured: BenchmarkResult | None) -> str:
    first, best = points[0], max(points, key=lambda p: p.samples_per_second)
    knee = f" The knee is at batch {measured.knee}." if measured else ""
    return (
        f"fit delivers {format_rate(first.samples_per_second)} samples/s at batch "
        f"{first.batch_size}; most, {format_rate(best.samples_per_second)}, at batch "
        f"{best.batch_size}.{knee}"
    )


def _known(rate: float | None) -> str:
    return "" if rate is None else format_rate(rate)


def _table(points: Sequence[BenchmarkPoint]) -> Table:
    columns = ("batch", "samples/s", "±", "95 %", "device alone", "drawn alone", "step")
    peaks = any(p.peak_bytes is not None for p in points)
    joules = any(p.joules_per_sample is not None for p in points)
    return Table(
        caption="Samples per second that fit delivers (95 % interval)",
        columns=(*columns, *(("peak",) if peaks else ()), *(("J/sample",) if joules else ())),
        rows=tuple(
            (
                str(p.batch_size),
                format_rate(p.samples_per_second),
                f"{p.half_width:.0%}",
                f"{format_rate(p.low)}–{format_rate(p.high)}",
                _known(p.device_samples_per_second),
                _known(p.input_samples_per_second),
                words.step(p),
                *((words.peak(p),) if peaks else ()),
                *((words.energy(p),) if joules else ()),
            )
            for p in points
        ),
    )
