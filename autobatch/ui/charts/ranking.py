"""How much sooner than the baseline each finalist reaches its loss, with intervals."""

from math import log10

from autobatch.protocol import Candidate, Recommendation
from autobatch.ui import words
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


def ranking_chart(result: Recommendation) -> Chart | None:
    """How much sooner than the baseline each finalist reaches its loss."""
    ranked = [c for c in result.candidates if c.speedup is not None]
    if not ranked:
        return None
    traces = [_interval(c, len(ranked) - k, result) for k, c in enumerate(ranked)]
    bounds = [bound for c in ranked if c.speedup for bound in (c.speedup.low, c.speedup.high)]
    within = [min(max(bound, RATIOS[0]), RATIOS[1]) for bound in bounds]
    low, high = min(1.0, *within), max(1.0, *within)
    room = 0.04 * log10(high / low)
    span = [log10(low) - room, log10(high) + room]
    is_own = result.baseline.instead_of is None
    yours, compared = ("yours", "your setting") if is_own else ("the baseline", "the baseline")
    x = numbers_axis(
        low, high, lambda v: f"{format_rate(v)}×", title=f"sooner than {yours}", range=span
    )
    rows = range(len(ranked), 0, -1)
    names = [f"batch {c.batch_size}<br>rate {c.learning_rate:.4g}" for c in ranked]
    y: Axis = {
        "tickvals": list(rows),
        "ticktext": names,
        "showgrid": False,
        "range": [0.4, len(ranked) + 0.6],
    }
    chosen = next((c for c in ranked if words.is_chosen(c, result)), ranked[0])
    sooner, interval = words.speedup(chosen)
    return Chart(
        id="ranking",
        title=f"How much sooner than {yours}",
        alt=(
            f"{len(ranked)} finalists against {compared} at 1×. "
            f"{setting(chosen.batch_size, chosen.learning_rate)}: {sooner}, 95 % interval "
            f"{interval}."
        ),
        figure=figure(
            traces,
            x,
            y,
            height=MARGIN_PIXELS + ROW_PIXELS * len(ranked),
            showlegend=False,
            shapes=[upright(1.0, "--yours", "dash")],
        ),
        table=ranking_table(result),
        caption=f"{words.TOGETHER}; the dashed line is {compared}.",
    )


def _interval(candidate: Candidate, row: int, result: Recommendation) -> Figure:
    found = candidate.speedup
    assert found is not None
    chosen = words.is_chosen(candidate, result)
    color = "--accent" if chosen else "--data"
    sooner, interval = words.speedup(candidate)
    text = f"{setting(candidate.batch_size, candidate.learning_rate)}: {sooner} ({interval})"
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
            *("reached in", "sooner", "95 % interval", ""),
        ),
        rows=tuple(
            (
                str(c.batch_size),
                f"{c.learning_rate:.4g}",
                str(c.seeds),
                *words.measured(c, result),
                words.reached_in(c, result) if c.is_finalist else "",
                *words.speedup(c),
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
