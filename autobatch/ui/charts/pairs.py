"""Two runs in one chart: what was recommended, rates and peaks."""

from collections.abc import Sequence

from autobatch.protocol import BenchmarkPoint, ProbePoint
from autobatch.ui.charts.axes import (
    Chart,
    Figure,
    Table,
    figure,
    marks,
    memory_axes,
    numbers_axis,
    sizes_axis,
)
from autobatch.ui.charts.throughput import delivered
from autobatch.ui.charts.trials import Style, curve_line, metric_axis, setting, times_axis
from autobatch.ui.findings import Curve, Findings
from autobatch.units import format_bytes, format_duration, format_rate

A, B = "--data", "--yours"
SYMBOLS = {A: "circle", B: "square"}
DASHES = {A: "solid", B: "dash"}


def curves_of_both(one: Findings, other: Findings) -> Chart | None:
    """The trials of what was recommended: comparable where data and metric are the same."""
    chosen = [[c for c in found.curves if c.role == "chosen"] for found in (one, other)]
    curves = [*chosen[0], *chosen[1]]
    if not all(chosen) or one.metric != other.metric:
        return None
    traces = [*_curves("A", chosen[0], A, one.metric), *_curves("B", chosen[1], B, one.metric)]
    x = times_axis(curves)
    return Chart(
        id="trials",
        title=f"{one.metric} against training time, as recommended",
        alt=f"The trials of what A and B recommend: {len(chosen[0])} and {len(chosen[1])}.",
        figure=figure(traces, x, metric_axis(curves, one.metric)),
        table=Table(
            caption="Trials of what is recommended",
            columns=("run", "setting", "seed", "trained", f"{one.metric} last"),
            rows=tuple(
                (
                    letter,
                    setting(c.batch_size, c.learning_rate),
                    str(c.seed),
                    format_duration(c.seconds[-1]),
                    f"{c.values[-1]:.4g}",
                )
                for letter, some in zip("AB", chosen, strict=True)
                for c in some
            ),
        ),
    )


def _curves(letter: str, curves: Sequence[Curve], color: str, metric: str) -> list[Figure]:
    traces = []
    style = Style(letter, color, 2, DASHES[color])
    for number, curve in enumerate(curves):
        name = f"{letter}: {setting(curve.batch_size, curve.learning_rate)}"
        line = curve_line(curve, metric, name, style, told=name)
        traces.append({**line, "legendgroup": letter, "showlegend": number == 0})
    return traces


def rates_of_both(one: Findings, other: Findings) -> Chart | None:
    a, b = one.benchmark_points, other.benchmark_points
    if not a or not b:
        return None
    rates = [p.samples_per_second for p in (*a, *b)]
    y = numbers_axis(min(rates), max(rates), format_rate, title="samples/s")
    sizes = [p.batch_size for p in (*a, *b)]
    traces = [delivered("A", a, A, SYMBOLS[A]), delivered("B", b, B, SYMBOLS[B])]
    return Chart(
        id="throughput",
        title="Samples per second that fit delivers",
        alt=f"Delivered rates of A at {len(a)} sizes and of B at {len(b)}; the table has them.",
        figure=figure(traces, sizes_axis(sizes), y),
        table=_rates_table(a, b),
    )


def _rates_table(a: Sequence[BenchmarkPoint], b: Sequence[BenchmarkPoint]) -> Table:
    of_a = {p.batch_size: p.samples_per_second for p in a}
    of_b = {p.batch_size: p.samples_per_second for p in b}
    return Table(
        caption="Samples per second that fit delivers",
        columns=("batch", "A", "B", "B / A"),
        rows=tuple(
            (
                str(size),
                format_rate(of_a[size]) if size in of_a else "",
                format_rate(of_b[size]) if size in of_b else "",
                f"{of_b[size] / of_a[size]:.2f}" if size in of_a and size in of_b else "",
            )
            for size in sorted({*of_a, *of_b})
        ),
    )


def peaks_of_both(one: Findings, other: Findings) -> Chart | None:
    a, b = ([p for p in found.probe_points if p.peak_bytes] for found in (one, other))
    if not a or not b:
        return None
    top = max(p.peak_bytes or 0 for p in (*a, *b))
    x, y = memory_axes(top)
    return Chart(
        id="memory",
        title="Peak memory by batch size",
        alt=f"Peaks of {len(a)} probes of A and of {len(b)} of B; the table has them.",
        figure=figure([_peaks("A", a, A), _peaks("B", b, B)], x, y),
        table=Table(
            caption="Probes, each in a fresh process",
            columns=("batch", "run", "peak"),
            rows=tuple(
                (str(p.batch_size), letter, format_bytes(p.peak_bytes or 0))
                for letter, some in (("A", a), ("B", b))
                for p in sorted(some, key=lambda p: p.batch_size)
            ),
        ),
    )


def _peaks(letter: str, points: Sequence[ProbePoint], color: str) -> Figure:
    places = [(p.batch_size, p.peak_bytes or 0) for p in points]
    texts = [f"{letter}, batch {size}: {format_bytes(peak)}" for size, peak in places]
    return marks(letter, places, texts, color, symbol=SYMBOLS[color] + "-open")
