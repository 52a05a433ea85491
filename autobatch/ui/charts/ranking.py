"""How much sooner than the baseline each finalist reaches its loss, with intervals.

Where trials anneal: by how much each ends at a better one.
"""

from collections.abc import Sequence
from math import log10

from autobatch.protocol import Candidate, Interval, Recommendation
from autobatch.ui import gains, words
from autobatch.ui.charts.axes import (
    Axis,
    Chart,
    Figure,
    Table,
    figure,
    marks,
    numbers_axis,
    upright,
    whiskers,
)
from autobatch.ui.charts.trials import STYLES, setting
from autobatch.units import RATIOS, format_rate

ROW_PIXELS, MARGIN_PIXELS = 46, 90
ROOM = 0.04  # beside the intervals


def ranking_chart(result: Recommendation) -> Chart | None:
    """Each finalist's gain over the baseline."""
    ranked = [(c, found) for c in result.candidates if (found := gains.gain(c, result))]
    if not ranked:
        return None
    intervals = [found for _, found in ranked]
    traces = [_interval(c, f, len(ranked) - k, result) for k, (c, f) in enumerate(ranked)]
    own = "your setting" if result.baseline.instead_of is None else "the baseline"
    if result.learning_rate_schedule:
        x, none, told = _differences(intervals), 0.0, "0"
    else:
        x, none, told = _ratios(intervals), 1.0, "1×"
    title, what = gains.titles(result)
    rows = range(len(ranked), 0, -1)
    names = [f"batch {c.batch_size}<br>rate {c.learning_rate:.4g}" for c, _ in ranked]
    y: Axis = {
        "tickvals": list(rows),
        "ticktext": names,
        "showgrid": False,
        "range": [0.4, len(ranked) + 0.6],
    }
    chosen = next((c for c, _ in ranked if words.is_chosen(c, result)), ranked[0][0])
    gained, interval = gains.told(chosen, result)
    return Chart(
        id="ranking",
        title=title,
        alt=(
            f"{len(ranked)} finalists against {own} at {told}. "
            f"{setting(chosen.batch_size, chosen.learning_rate)}: {gained}, 95 % interval "
            f"{interval}."
        ),
        figure=figure(
            traces,
            x | {"title": what},
            y,
            height=MARGIN_PIXELS + ROW_PIXELS * len(ranked),
            showlegend=False,
            shapes=[upright(none, "--yours", "dash")],
        ),
        table=ranking_table(result),
        caption=f"{words.TOGETHER}; the dashed line is {own}.",
    )


def _ratios(intervals: Sequence[Interval]) -> Axis:
    bounds = [bound for found in intervals for bound in (found.low, found.high)]
    within = [min(max(bound, RATIOS[0]), RATIOS[1]) for bound in bounds]
    low, high = min(1.0, *within), max(1.0, *within)
    room = ROOM * log10(high / low)
    span = [log10(low) - room, log10(high) + room]
    return numbers_axis(low, high, lambda v: f"{format_rate(v)}×", range=span)


def _differences(intervals: Sequence[Interval]) -> Axis:
    low = min(0.0, *(found.low for found in intervals))
    high = max(0.0, *(found.high for found in intervals))
    room = ROOM * (high - low)
    return {"range": [low - room, high + room]}


def _interval(candidate: Candidate, found: Interval, row: int, result: Recommendation) -> Figure:
    chosen = words.is_chosen(candidate, result)
    color = "--accent" if chosen else "--data"
    gained, interval = gains.told(candidate, result)
    text = f"{setting(candidate.batch_size, candidate.learning_rate)}: {gained} ({interval})"
    symbol = "diamond" if chosen else "circle"
    return {
        **marks("", [(found.value, row)], [text], color, symbol=symbol, size=11),
        "error_x": whiskers([found.value], [found.low], [found.high], color, thickness=2, width=5),
    }


def ranking_table(result: Recommendation) -> Table:
    """Everything that was tried, as ranked."""
    return Table(
        caption="All that was tried: finalists trained equally long, others less, with one seed. "
        f"Target: {words.target(result)}{_beside(result)}",
        columns=(
            *("batch", "rate", "seeds", *words.measures(result)),
            *(*gains.columns(result), ""),
        ),
        rows=tuple(
            (
                str(c.batch_size),
                f"{c.learning_rate:.4g}",
                str(c.seeds),
                *words.measured(c, result),
                *gains.cells(c, result),
                _status(c, result),
            )
            for c in result.candidates
        ),
    )


def _beside(result: Recommendation) -> str:
    if result.learning_rate_schedule:
        return ""
    return (
        f". Beside it, {result.metric} where all had made as many steps, and seen as many samples"
    )


def _status(candidate: Candidate, result: Recommendation) -> str:
    if words.is_chosen(candidate, result):
        return STYLES["chosen"].label
    told = {"baseline": words.whose(result), "pruned": "not followed up"}
    status = told.get(candidate.status, candidate.status.replace("_", " "))
    return f"{status}: {candidate.failure}" if candidate.failure else status
