"""The live view: a few lines of text drawn from a run's `Progress`, as wide as the terminal is.

Nothing is told by colour alone, and all is drawn in ASCII where the terminal knows no more.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from math import log

from rich.text import Text

from autobatch.ui.progress import Progress, Ranked
from autobatch.ui.spelling import in_ascii
from autobatch.units import format_bytes, format_duration, format_rate

MOST_LINES = 12
NAME_CELLS = 9  # of a stage, as in the lines that stay
STAGE_BAR_CELLS, BAR_CELLS, CURVE_CELLS = 24, 28, 19  # at most
LEAST_CELLS = 4
ROOMY = 60  # cells of a terminal that words need not be saved on


@dataclass(frozen=True)
class Glyphs:
    """What bars and curves are drawn with."""

    done: str
    to_do: str
    full: str
    parts: str  # of a full cell, from none to nearly all
    empty: str
    levels: str  # of a curve, from low to high
    here: str


UNICODE = Glyphs("━", "─", "█", " ▏▎▍▌▋▊▉", "·", "▁▂▃▄▅▆▇█", "▸")
ASCII = Glyphs("=", "-", "#", " ", ".", "_.-=+*#", ">")


def view(progress: Progress, *, width: int, height: int, ascii_only: bool = False) -> Text:
    """At most MOST_LINES lines, and two fewer than `height`; none is wider than `width`."""
    if progress.stage is None:
        return Text()
    draw = _Drawing(width, ASCII if ascii_only else UNICODE)
    rows = max(0, min(MOST_LINES, height - 2) - 2)
    bodies = {"probe": _memory, "benchmark": _rates, "trials": _ranking}
    body = []
    if rows >= 2 and progress.stage.stage in bodies:
        body = bodies[progress.stage.stage](progress, draw, rows)
    lines = [_stage_line(progress, draw), _present_line(progress, draw, after=not body), *body]
    return Text("\n", no_wrap=True, overflow="crop", end="").join(lines)


Part = tuple[str, str]  # text, style


@dataclass(frozen=True)
class _Drawing:
    width: int
    glyphs: Glyphs

    def line(self, *parts: Part) -> Text:
        ascii_only = self.glyphs is ASCII
        text = Text.assemble(
            *((in_ascii(told) if ascii_only else told, style) for told, style in parts)
        )
        text.truncate(self.width, overflow="crop")
        return text

    def cells(self, most: int, taken: int) -> int:
        """Cells for a bar on a line where `taken` are taken."""
        return max(LEAST_CELLS, min(most, self.width - taken))

    def bar(self, share: float, cells: int) -> list[Part]:
        """A measured quantity: filled to a fraction of a cell where there are glyphs for it."""
        glyphs = self.glyphs
        steps = round(min(1.0, share) * cells * len(glyphs.parts))
        full, part = divmod(steps, len(glyphs.parts))
        filled = glyphs.full * full + (glyphs.parts[part] if part else "")
        return [(filled, "cyan"), (glyphs.empty * (cells - len(filled)), "dim")]

    def stage_bar(self, share: float, cells: int) -> list[Part]:
        done = round(cells * min(1.0, share))
        glyphs = self.glyphs
        return [(glyphs.done * done, "cyan"), (glyphs.to_do * (cells - done), "dim")]

    def curve(self, values: Sequence[float], scale: tuple[float, float], cells: int) -> str:
        """Of `values` as many as there are cells, the last of them always; log scale of losses."""
        if len(values) > cells:
            values = [values[(i + 1) * len(values) // cells - 1] for i in range(cells)]
        low, high = scale
        bend = log if low > 0 else float
        span = bend(high) - bend(low)
        top = len(self.glyphs.levels) - 1
        shares = [(bend(value) - bend(low)) / span if span > 0 else 0.0 for value in values]
        return "".join(self.glyphs.levels[round(top * min(1.0, max(0.0, s)))] for s in shares)


def _stage_line(progress: Progress, draw: _Drawing) -> Text:
    """Stage, its share that is done, its times; where they fit, its jobs, and the run's time."""
    assert progress.stage is not None
    jobs, left = progress.left()
    times = _seconds(progress.elapsed_seconds())
    if left >= 1:
        times += f", {_seconds(left)} to go"
    counted = f"{progress.done} of about {jobs}, "
    taken = NAME_CELLS + len(times) + 5
    if jobs > 1 and taken + len(counted) + LEAST_CELLS <= draw.width:
        times, taken = counted + times, taken + len(counted)
    cells = draw.cells(STAGE_BAR_CELLS, taken)
    bar = draw.stage_bar((progress.done + progress.share) / jobs, cells)
    line = draw.line((f"  {progress.stage.stage:<{NAME_CELLS}} ", "bold"), *bar, (f"  {times}", ""))
    whole = f"; {_seconds(progress.run_seconds())} in all"
    if progress.stages > 1 and line.cell_len + len(whole) <= draw.width:
        line.append(whole, "dim")
    return line


def _present_line(progress: Progress, draw: _Drawing, *, after: bool) -> Text:
    parts: list[Part] = []
    if progress.job is not None:
        parts += [(f"  {'now':<{NAME_CELLS}} ", "dim"), (progress.job.label, "bold")]
    if progress.last and (after or not parts):
        parts.append(("  after " if parts else f"  {'after':<{NAME_CELLS}} ", "dim"))
        parts.append((progress.last, "dim"))
    return draw.line(*parts)


def _memory(progress: Progress, draw: _Drawing, rows: int) -> list[Text]:
    """Peaks against the limit, of the sizes about the largest that fits."""
    limit = progress.stage.limit_bytes if progress.stage else None
    if not progress.probed or limit is None:
        return []
    sizes = sorted(progress.probed)
    fitting = [size for size in sizes if progress.probed[size].fits]
    middle = sizes.index(fitting[-1]) if fitting else 0
    shown = _window(sizes, middle, rows - 1)
    digits = max(5, len(str(shown[-1])))
    told = {
        size: format_bytes(found.peak_bytes or 0) if found.fits else found.answer
        for size, found in ((size, progress.probed[size]) for size in shown)
    }
    longest = max((len(told[size]) for size in shown if size in fitting), default=0)
    cells = draw.cells(BAR_CELLS, digits + longest + 6)
    lines = [draw.line((f"  {'batch':>{digits}}  peak of {format_bytes(limit)}", "dim"))]
    for size in shown:
        found = progress.probed[size]
        bar = draw.bar((found.peak_bytes or 0) / limit, cells) if found.fits else []
        style = "green" if found.fits else "red"
        gap = "  " if found.fits else ""
        lines.append(draw.line((f"  {size:>{digits}}  ", ""), *bar, (f"{gap}{told[size]}", style)))
    return lines


def _rates(progress: Progress, draw: _Drawing, rows: int) -> list[Text]:
    """Samples per second by size; that of the present size grows window by window."""
    rates = {size: sum(found) / len(found) for size, found in progress.rates.items()}
    present = getattr(progress.job.task, "batch_size", None) if progress.job else None
    if present is not None and progress.rate_now is not None:
        rates[present] = progress.rate_now
    if not rates:
        return []
    sizes = sorted(rates)
    fastest = max(sizes, key=lambda size: rates[size])
    middle = sizes.index(present if present in rates else fastest)
    shown = _window(sizes, middle, rows - 1)
    digits = max(5, len(str(shown[-1])))
    longest = max(len(format_rate(rates[size])) for size in shown)
    cells = draw.cells(BAR_CELLS, digits + longest + 16)
    lines = [draw.line((f"  {'batch':>{digits}}  samples/s", "dim"))]
    for size in shown:
        mark = draw.glyphs.here if size == present else " "
        told = f"  {format_rate(rates[size]):>{longest}}"
        best = [("  fastest", "green")] if size == fastest else []
        bar = draw.bar(rates[size] / rates[fastest], cells)
        lines.append(draw.line((f"{mark} {size:>{digits}}  ", ""), *bar, (told, ""), *best))
    return lines


def _ranking(progress: Progress, draw: _Drawing, rows: int) -> list[Text]:
    """The present trial's curve, and the settings tried so far, best first."""
    trial, ranked = progress.trial(), progress.ranking()
    contest = progress.stage.contest if progress.stage else None
    curve = progress.curve_now if trial is not None else []
    if contest is None or not (ranked or curve):
        return []
    running = bool(curve)
    shown = ranked[: rows - 1 - running]
    seen = [value for each in shown for value in each.curve] + curve
    scale = min(seen), max(seen)
    cells = draw.cells(CURVE_CELLS, 33)
    kind = "finalists" if progress.is_final() else "first trials"
    done = f": {len(ranked)}" if ranked else ""
    failed = f", {progress.failed()} failed" if progress.failed() else ""
    title = f"  batch     rate  {contest.metric}, {kind}{done}{failed}"
    lines = [draw.line((title, "dim"))]
    if running and trial is not None:
        drawn = f"{draw.curve(curve, scale, cells):<{cells}}"
        setting = _setting(trial.batch_size, trial.learning_rate)
        parts = (f"{setting}  ", ""), (drawn, "cyan"), (f" {curve[-1]:<8.4g}", "")
        lines.append(draw.line((f"{draw.glyphs.here} ", "cyan"), *parts))
    for place, each in enumerate(shown):
        drawn = f"{draw.curve(each.curve, scale, cells):<{cells}}"
        style = "bold green" if place == 0 else ""
        setting = _setting(each.batch_size, each.learning_rate)
        parts = (f"  {setting}  ", style), (drawn, "cyan"), (f" {each.value:<8.4g}", style)
        lines.append(draw.line(*parts, (_remarks(each, draw), "dim")))
    return lines


def _setting(size: int, rate: float) -> str:
    return f"{size:>5} {rate:>8.3g}"


def _remarks(each: Ranked, draw: _Drawing) -> str:
    seeds = f" {each.seeds} seeds" if draw.width >= ROOMY else f" ×{each.seeds}"
    return f"{' yours' if each.is_baseline else ''}{seeds if each.seeds > 1 else ''}"


def _window(sizes: list[int], middle: int, count: int) -> list[int]:
    """`count` neighbours, with the one at `middle` inside."""
    first = max(0, min(middle - count // 2, len(sizes) - count))
    return sizes[first : first + count]


def _seconds(seconds: float) -> str:
    return f"{seconds:.0f} s" if seconds < 59.5 else format_duration(seconds)
