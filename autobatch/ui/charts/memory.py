"""Peaks by batch size, the fitted line, the limit, and what the headroom leaves of it."""

from collections.abc import Sequence

from autobatch.core.memory_line import MemoryLine, memory_line
from autobatch.protocol import ProbePoint, Recommendation
from autobatch.ui import words
from autobatch.ui.charts.axes import (
    Chart,
    Figure,
    Table,
    figure,
    level,
    marks,
    memory_axes,
    note,
)
from autobatch.ui.findings import Findings
from autobatch.units import format_bytes, format_share

FAR = 0.25  # of the limit: peaks below it would lie on the floor of a chart that shows the limit
OPEN = ("circle-open", "--data")


def memory_chart(found: Findings) -> Chart | None:
    points = sorted(found.probe_points, key=lambda p: (p.batch_size, p.verify))
    limit_bytes = found.limit_bytes
    if not points or not limit_bytes:
        return None
    fits = [p for p in points if p.outcome in words.FITTING]
    failed = [p for p in points if p.outcome not in words.FITTING]
    line = memory_line((p.batch_size, p.peak_bytes or 0) for p in fits)
    highest = max(map(_height, points))
    far = not failed and highest < FAR * limit_bytes
    top = highest if far else max(limit_bytes, highest)
    traces = [*_line_trace(line, points), *_traces(fits, failed)]
    traces += _recommended_trace(found.recommendation)
    x, y = memory_axes(top)
    headroom = found.probed.headroom if found.probed else 0.0
    limits = _far_limit(limit_bytes) if far else _limit(limit_bytes, headroom)
    return Chart(
        id="memory",
        title="Peak memory by batch size",
        alt=_alt(fits, failed, limit_bytes),
        figure=figure(traces, x, y, **limits),
        table=_table(points, limit_bytes),
        caption=_caption(line),
    )


def _height(point: ProbePoint) -> int:
    """Where a probe stands: at its peak; one that has none, at the limit it broke."""
    return point.peak_bytes or point.limit_bytes


def _limit(limit_bytes: int, headroom: float) -> dict[str, list[Figure]]:
    lines = [level(limit_bytes, "--bad")]
    texts = [_left(f"limit {format_bytes(limit_bytes)}", y=limit_bytes, yanchor="bottom")]
    if headroom:
        budget_bytes = round(limit_bytes * (1 - headroom))
        lines.append(level(budget_bytes, "--bad", "dot"))
        text = f"{format_bytes(budget_bytes)} keeps {format_share(headroom)} free"
        texts.append(_left(text, y=budget_bytes, yanchor="top"))
    return {"shapes": lines, "annotations": texts}


def _far_limit(limit_bytes: int) -> dict[str, list[Figure]]:
    text = f"↑ limit {format_bytes(limit_bytes)}, far above"
    return {"annotations": [_left(text, y=1, yref="paper", yanchor="top")]}


def _left(text: str, **place: object) -> Figure:
    return note(text, x=0.01, xref="paper", xanchor="left", **place)


def _line_trace(line: MemoryLine | None, points: Sequence[ProbePoint]) -> list[Figure]:
    if line is None:
        return []
    ends = [points[0].batch_size, points[-1].batch_size]
    dash = "solid" if line.describes else "dash"
    return [
        {
            "type": "scatter",
            "mode": "lines",
            "name": "fitted line",
            "x": ends,
            "y": [line.at(size) for size in ends],
            "line": {"color": "--data", "width": 1.5, "dash": dash},
            "hoverinfo": "skip",
        }
    ]


def _traces(fits: Sequence[ProbePoint], failed: Sequence[ProbePoint]) -> list[Figure]:
    kinds = (
        ("predicted", [p for p in fits if p.outcome == "predicted"], "square-open", "--data"),
        ("fits", [p for p in fits if p.outcome == "fits" and not p.verify], *OPEN),
        ("fits, verified", [p for p in fits if p.verify], "circle", "--data"),
        ("failed (without a peak: at its limit)", failed, "x-thin-open", "--bad"),
    )
    return [
        marks(
            name,
            [(p.batch_size, _height(p)) for p in kind],
            [f"batch {p.batch_size}: {words.outcome(p)}, {_peak(p)}" for p in kind],
            color,
            symbol=symbol,
        )
        for name, kind, symbol, color in kinds
        if kind
    ]


def _recommended_trace(result: Recommendation | None) -> list[Figure]:
    if result is None:
        return []
    text = f"recommended, batch {result.batch_size}: {words.memory(result)}"
    place = [(result.batch_size, result.peak_bytes)]
    return [marks("recommended", place, [text], "--accent", symbol="diamond", size=13)]


def _peak(point: ProbePoint) -> str:
    if point.peak_bytes is not None:
        return f"peak {format_bytes(point.peak_bytes)}"
    return f"limit {format_bytes(point.limit_bytes)}"


def _alt(fits: Sequence[ProbePoint], failed: Sequence[ProbePoint], limit_bytes: int) -> str:
    predicted = any(point.outcome == "predicted" for point in fits)
    told = f"{len(fits)} probes fit{' or are predicted to' if predicted else ''}"
    if fits:
        first, last = fits[0], fits[-1]
        told += (
            f", from {format_bytes(first.peak_bytes or 0)} at batch {first.batch_size} to "
            f"{format_bytes(last.peak_bytes or 0)} at batch {last.batch_size}"
        )
    if failed:
        told += f"; {len(failed)} did not, the smallest at batch {failed[0].batch_size}"
    return f"{told}. The limit is {format_bytes(limit_bytes)}."


def _caption(line: MemoryLine | None) -> str:
    if line is None:
        return ""
    base, each = max(0, round(line.base_bytes)), round(line.bytes_per_sample)
    told = f"The fitted line: {format_bytes(base)} + batch x {format_bytes(each)}"
    return f"{told}." if line.describes else f"{told}, which not all sizes follow."


def _table(points: Sequence[ProbePoint], limit_bytes: int) -> Table:
    return Table(
        caption=words.PROBES,
        columns=words.PROBE_COLUMNS,
        rows=tuple(words.probe_cells(point, limit_bytes) for point in points),
    )
