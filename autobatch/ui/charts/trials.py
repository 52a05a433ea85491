"""The metric against training time, a line for every trial."""

from collections.abc import Sequence
from itertools import cycle
from math import log10
from typing import NamedTuple

from autobatch.core.metric import is_maximised
from autobatch.protocol import Recommendation
from autobatch.ui import words
from autobatch.ui.charts.axes import (
    Axis,
    Chart,
    Figure,
    Table,
    figure,
    label,
    level,
    marks,
    note,
    numbers_axis,
)
from autobatch.ui.findings import Curve, Findings, Role
from autobatch.units import format_duration

BEYOND_START = 0.3  # of what lies between the worst start and the best: what is worse is cut off
ROOM = 0.04  # of an axis, beyond what it shows
LOG_RATIO = 5.0  # a metric that spans more than this ratio is shown on a logarithmic axis


class Style(NamedTuple):
    """How the curves of a role are drawn, and what tables call it."""

    label: str
    color: str
    width: float
    dash: str = "solid"


STYLES: dict[Role, Style] = {
    "undecided": Style("", "--data", 1.2),
    "dropped": Style("", "--other", 1.0),
    "finalist": Style("finalist", "--other", 1.8),  # but for colours and dashes of their own
    "baseline": Style("yours", "--yours", 2.6, "dash"),
    "chosen": Style("recommended", "--accent", 3.0),
}
FINALIST_COLORS = ("--finalist-1", "--finalist-2", "--finalist-3", "--finalist-4")
FINALIST_DASHES = ("solid", "dot", "dashdot", "longdash", "longdashdot")


def trials_chart(found: Findings) -> Chart | None:
    curves = [curve for curve in found.curves if len(curve.seconds) > 1]
    if not curves:
        return None
    curves.sort(key=lambda curve: STYLES[curve.role].width)
    styles = _styles(curves)
    seen: set[str] = set()
    result = found.recommendation
    own = words.whose(result) if result else STYLES["baseline"].label
    kept = result is not None and result.keeps_baseline
    traces = []
    for curve in curves:
        name = _name(curve, own, kept=kept)
        traces.append(_trace(curve, name, styles, found.metric, shown=name not in seen))
        seen.add(name)
    x = times_axis(curves)
    y = metric_axis(curves, found.metric)
    target = _target(result, curves, y)
    return Chart(
        id="trials",
        title=f"{found.metric} against training time",
        alt=_alt(curves, result, found.metric),
        figure=figure(traces, x, y, height=440, **target),
        table=_table(curves, found.metric, own),
        caption="Time is logarithmic: steps, times the step time that the benchmark measured."
        + (" The dotted line is the target." if target else ""),
    )


def setting(batch_size: int, learning_rate: float) -> str:
    return f"batch {batch_size}, rate {learning_rate:.4g}"


def _name(curve: Curve, own: str = "", *, kept: bool = False) -> str:
    told = setting(curve.batch_size, curve.learning_rate)
    match curve.role:
        case "chosen":
            return f"{f'{own}, ' if kept else ''}recommended: {told}"
        case "baseline":
            return f"{own}: {told}"
        case "finalist":
            return told
        case "dropped":
            return "the others"
        case "undecided":
            return "trials"


def _styles(curves: Sequence[Curve]) -> dict[str, Style]:
    """Of each finalist: of up to five, no two have the same dashes."""
    finalists = dict.fromkeys(_name(curve) for curve in curves if curve.role == "finalist")
    return {
        name: STYLES["finalist"]._replace(color=color, dash=dash)
        for name, color, dash in zip(finalists, cycle(FINALIST_COLORS), cycle(FINALIST_DASHES))
    }


def _trace(
    curve: Curve, name: str, styles: dict[str, Style], metric: str, *, shown: bool
) -> Figure:
    style = styles.get(name, STYLES[curve.role])
    told = f"{setting(curve.batch_size, curve.learning_rate)}, seed {curve.seed}"
    return {
        **curve_line(curve, metric, name, style, told=told),
        "opacity": 0.55 if curve.role == "dropped" else 1.0,
        "legendgroup": name,
        "showlegend": shown,
        "legendrank": 1000 - round(10 * style.width),
    }


def curve_line(curve: Curve, metric: str, name: str, style: Style, *, told: str) -> Figure:
    """A trial, without what was before it began; what is `told` of it at every point."""
    kept = [(s, v) for s, v in zip(curve.seconds, curve.values, strict=True) if s > 0]
    texts = [f"{told}<br>{label(metric)} {v:.4g} after {format_duration(s)}" for s, v in kept]
    line = {"color": style.color, "width": style.width, "dash": style.dash}
    return {**marks(name, kept, texts, style.color), "mode": "lines", "line": line}


def times_axis(curves: Sequence[Curve]) -> Axis:
    first = min(seconds for curve in curves for seconds in curve.seconds if seconds > 0)
    last = max(curve.seconds[-1] for curve in curves)
    return numbers_axis(first, last, format_duration, title="training time")


def metric_axis(curves: Sequence[Curve], metric: str) -> Axis:
    """What is far worse than any start is cut off; logarithmic where a loss spans much."""
    starts = [curve.values[0] for curve in curves]
    values = [value for curve in curves for value in curve.values]
    low, high = min(values), max(values)
    if is_maximised(metric):
        worst = min(starts)
        low = max(low, worst - BEYOND_START * (high - worst))
        return _linear(low, high, metric)
    worst = max(starts)
    high = min(high, worst + BEYOND_START * max(worst, worst - low))
    if low <= 0 or worst / low <= LOG_RATIO:
        return _linear(low, high, metric)
    room = ROOM * log10(high / low)
    span = [log10(low) - room, log10(high) + room]
    return numbers_axis(low, high, lambda v: f"{v:.4g}", title=label(metric), range=span)


def _linear(low: float, high: float, metric: str) -> Axis:
    room = ROOM * (high - low) or abs(high) or 1.0
    return {"title": label(metric), "range": [low - room, high + room]}


def _target(
    result: Recommendation | None, curves: Sequence[Curve], axis: Axis
) -> dict[str, list[Figure]]:
    """Named where no curve is: at the left, on the side that training comes from last."""
    if result is None:
        return {}
    target = result.target_loss
    falling = target <= max(curve.values[0] for curve in curves)
    place = {
        "x": 0.01,
        "xref": "paper",
        "xanchor": "left",
        "y": log10(target) if axis.get("type") == "log" else target,
        "yanchor": "top" if falling else "bottom",
    }
    text = note(f"target {target:.4g}", **place)
    return {"shapes": [level(target, "--yours", "dot")], "annotations": [text]}


def _alt(curves: Sequence[Curve], result: Recommendation | None, metric: str) -> str:
    told = f"{len(curves)} trials, {metric} falling or rising with training time."
    if result is None:
        return told
    chosen = next((c for c in result.candidates if words.is_chosen(c, result)), None)
    if chosen is None or chosen.time_to_target_seconds is None:
        return told
    return (
        f"{told} The recommended setting reaches {result.target_loss:.4g} after "
        f"{words.reached_in(chosen, result)}."
    )


def _table(curves: Sequence[Curve], metric: str, own: str) -> Table:
    ordered = sorted(curves, key=lambda c: (-STYLES[c.role].width, c.batch_size, c.learning_rate))
    return Table(
        caption="Trials, each with one seed",
        columns=("batch", "rate", "seed", "trained", f"{metric} first", "last", ""),
        rows=tuple(
            (
                str(c.batch_size),
                f"{c.learning_rate:.4g}",
                str(c.seed),
                format_duration(c.seconds[-1]),
                f"{c.values[0]:.4g}",
                f"{c.values[-1]:.4g}",
                own if c.role == "baseline" else STYLES[c.role].label,
            )
            for c in ordered
        ),
    )
