"""What all charts have in common: a figure for Plotly, and ticks in the words of the tables.

A figure is plain data. Colours are names of the page's CSS variables (`--accent`), put in by the
page's script, so that charts follow its colour scheme.
"""

import html
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from math import ceil, floor, inf, log2, log10
from typing import Any

from autobatch.units import format_bytes

Figure = dict[str, Any]
Axis = dict[str, Any]
FONT_SIZE = 13
HEIGHT = 380
SHORT_TICKS, LONG_TICKS = 8, 6  # that a phone has room for, of up to three digits and of more
TICKS = (  # of a logarithmic axis that spans fewer decades than this: factors in each
    (0.5, (1, 1.2, 1.5, 2, 2.5, 3, 4, 5, 6, 8)),
    (1.6, (1, 2, 5)),
    (2.6, (1, 3)),
    (inf, (1,)),
)
ROOM = 1.12  # above the most memory shown
CLEAR = "rgba(0,0,0,0)"


@dataclass(frozen=True)
class Table:
    """The same numbers as text; the first column names the row."""

    caption: str
    columns: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]


@dataclass(frozen=True)
class Chart:
    """A figure, what it shows in a sentence (for who cannot see it), and its numbers."""

    id: str
    title: str
    alt: str
    figure: Figure
    table: Table
    caption: str = ""


def figure(traces: list[Figure], x: Axis, y: Axis, **layout: Any) -> Figure:
    return {
        "data": traces,
        "layout": {
            "font": {"color": "--ink", "size": FONT_SIZE},
            "paper_bgcolor": CLEAR,
            "plot_bgcolor": CLEAR,
            "height": HEIGHT,
            "margin": {"l": 8, "r": 12, "t": 12, "b": 8},
            "hovermode": "closest",
            "hoverlabel": {
                "bgcolor": "--raised",
                "bordercolor": "--line",
                "font": {"color": "--ink"},
            },
            "legend": {
                "orientation": "h",
                "x": 0,
                "xanchor": "left",
                "y": 1.02,
                "yanchor": "bottom",
            },
            "showlegend": True,
            "dragmode": False,
            "xaxis": axis(**x),
            "yaxis": axis(**y),
            **layout,
        },
    }


def axis(**changes: Any) -> Axis:
    title = {"text": changes.pop("title", ""), "font": {"color": "--muted"}, "standoff": 10}
    return {
        "automargin": True,
        "fixedrange": True,  # a page that is read on a phone scrolls where it is touched
        "gridcolor": "--line",
        "zeroline": False,
        "linecolor": "--line",
        "tickfont": {"color": "--muted"},
        "title": title,
        **changes,
    }


def marks(
    name: str,
    places: Sequence[tuple[float, float]],
    texts: Sequence[str],
    color: str,
    *,
    symbol: str = "circle",
    size: int = 10,
) -> Figure:
    """Points, each with what is shown when it is pointed at."""
    return {
        "type": "scatter",
        "mode": "markers",
        "name": name,
        "x": [x for x, _ in places],
        "y": [y for _, y in places],
        "text": list(texts),
        "hovertemplate": "%{text}<extra></extra>",
        "marker": {
            "color": color,
            "symbol": symbol,
            "size": size,
            "line": {"width": 2, "color": color},
        },
    }


def whiskers(
    values: Sequence[float],
    lows: Sequence[float],
    highs: Sequence[float],
    color: str,
    *,
    thickness: float,
    width: int,
) -> Figure:
    """Intervals about values, for a trace's error_x or error_y."""
    return {
        "type": "data",
        "symmetric": False,
        "array": [high - value for high, value in zip(highs, values, strict=True)],
        "arrayminus": [value - low for low, value in zip(lows, values, strict=True)],
        "color": color,
        "thickness": thickness,
        "width": width,
    }


def label(text: str) -> str:
    """`text` for Plotly, which reads some HTML in it."""
    return html.escape(text)


def level(y: float, color: str, dash: str = "solid") -> Figure:
    """A line across the whole chart."""
    line = {"color": color, "width": 1.5, "dash": dash}
    return {"type": "line", "xref": "paper", "x0": 0, "x1": 1, "y0": y, "y1": y, "line": line}


def upright(x: float, color: str, dash: str = "dot") -> Figure:
    line = {"color": color, "width": 1.5, "dash": dash}
    return {"type": "line", "yref": "paper", "y0": 0, "y1": 1, "x0": x, "x1": x, "line": line}


def note(text: str, **place: Any) -> Figure:
    return {"text": text, "showarrow": False, "font": {"color": "--muted", "size": 12}, **place}


def sizes_axis(sizes: Sequence[int]) -> Axis:
    """Batch sizes, logarithmic; as many named as there is room for, both ends always."""
    low, high = min(sizes), max(sizes)
    room = (log2(high / low) or 1.0) / (SHORT_TICKS if high < 1000 else LONG_TICKS)
    named: list[int] = []
    for size in sorted(set(sizes), reverse=True):
        if not named or log2(named[-1] / size) >= room:
            named.append(size)
    named[-1] = low
    margin = 0.04 * (log10(high / low) or 1.0)
    return {
        "title": "batch size",
        "type": "log",
        "tickangle": 0,
        "tickvals": named[::-1],
        "ticktext": [str(size) for size in named[::-1]],
        "range": [log10(low) - margin, log10(high) + margin],
    }


def memory_axes(top: float) -> tuple[Axis, Axis]:
    """Peaks by batch size, from 0: in about five steps, powers of two, round in every unit."""
    x: Axis = {"title": "batch size", "rangemode": "tozero", "tickformat": "d", "nticks": 6}
    step = 2.0 ** max(0, round(log2(max(top, 1) / 5)))
    values = [step * k for k in range(ceil(top / step) + 1)]
    y = _ticks(values, lambda count: format_bytes(round(count)))
    return x, y | {"title": "peak memory", "range": [0, top * ROOM]}


def numbers_axis(low: float, high: float, text: Callable[[float], str], **changes: Any) -> Axis:
    """Logarithmic, each tick as `text` has it."""
    return _ticks(_decades(low, high), text) | {"type": "log", **changes}


def _ticks(values: list[float], text: Callable[[float], str]) -> Axis:
    return {"tickvals": values, "ticktext": [text(value) for value in values]}


def _decades(low: float, high: float) -> list[float]:
    """Round numbers within: few, whatever the range spans."""
    span = log10(high / low) if high > low else 0.0
    factors = next(factors for most, factors in TICKS if span < most)
    powers = range(floor(log10(low)), ceil(log10(high)) + 1)
    found = [factor * 10.0**power for power in powers for factor in factors]
    inside = [value for value in found if low * 0.999 <= value <= high * 1.001]
    return inside if len(inside) > 1 else sorted({low, *inside, high})
