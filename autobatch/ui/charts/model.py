"""What noise scale and step time predict for each size, beside what the finalists took."""

from math import log10

from autobatch.protocol import Recommendation
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
)
from autobatch.units import about, format_duration


def model_chart(result: Recommendation) -> Chart | None:
    predicted = [(p.batch_size, p.relative_time) for p in result.predictions]
    if len(predicted) < 2:
        return None
    soonest = _soonest(result)
    least = min(soonest.values(), default=1.0)
    measured = [(size, seconds / least) for size, seconds in sorted(soonest.items())]
    texts = [f"batch {size}: {time:.2f}× the least, predicted" for size, time in predicted]
    traces: list[Figure] = [
        {
            **marks("predicted", predicted, texts, "--data", size=6),
            "mode": "lines+markers",
            "line": {"color": "--data", "width": 2},
        }
    ]
    if measured:
        texts = [f"batch {size}: {time:.2f}× the least, measured" for size, time in measured]
        traces.append(marks("measured", measured, texts, "--accent", symbol="diamond", size=11))
    times = [time for _, time in [*predicted, *measured]]
    y = numbers_axis(
        min(times), max(times), lambda v: f"{v:.3g}×", title="time to the target, over the least"
    )
    sizes = [size for size, _ in predicted]
    best = min(predicted, key=lambda pair: pair[1])[0]
    return Chart(
        id="model",
        title="Time to the target by batch size",
        alt=f"The model predicts the least time near batch {best}.",
        figure=figure(traces, sizes_axis(sizes), y, **_critical(result, sizes)),
        table=_table(result, soonest),
        caption="Predicted from noise scale and step time alone, at equally good learning rates"
        + ("; measured is the soonest finalist of a size." if measured else "."),
    )


def _soonest(result: Recommendation) -> dict[int, float]:
    """Seconds to the target of the soonest finalist of each size; yours is none of them.

    Of annealed trials none: they are at any target near their ends, however soon they learn.
    """
    if result.learning_rate_schedule:
        return {}
    soonest: dict[int, float] = {}
    for c in result.candidates:
        if c.time_to_target_seconds and c.status != "baseline":
            known = soonest.get(c.batch_size, c.time_to_target_seconds)
            soonest[c.batch_size] = min(known, c.time_to_target_seconds)
    return soonest


def _critical(result: Recommendation, sizes: list[int]) -> dict[str, list[Figure]]:
    """The critical batch, where it lies within what is shown."""
    value = result.critical_batch.value
    if not min(sizes) <= value <= max(sizes):
        return {}
    place = {"x": log10(value), "yref": "paper", "y": 1, "yanchor": "top"}
    text = note(f"critical batch {about(value)}", xanchor="right", xshift=-4, **place)
    return {"shapes": [upright(value, "--muted")], "annotations": [text]}


def _table(result: Recommendation, seconds: dict[int, float]) -> Table:
    rows = [
        (str(p.batch_size), f"{p.relative_time:.2f}×", f"{p.relative_samples:.2f}×")
        for p in result.predictions
    ]
    columns: tuple[str, ...] = ("batch", "predicted time", "predicted samples")
    if not seconds:
        return Table("The model of steps and step time", columns, tuple(rows))
    measured = {str(size): format_duration(each) for size, each in seconds.items()}
    return Table(
        caption="The model of steps and step time, and the soonest finalist of each size",
        columns=(*columns, "measured"),
        rows=tuple((*row, measured.get(row[0], "")) for row in rows),
    )
