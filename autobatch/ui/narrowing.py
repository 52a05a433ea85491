"""A table that leaves columns out, the least important first, where the terminal is too narrow."""

from collections.abc import Iterable, Sequence
from typing import Literal, NamedTuple

from rich.console import Console, ConsoleOptions, RenderableType, RenderResult
from rich.measure import Measurement
from rich.table import Table

UNBOUNDED = 1000  # cells: wider than any row


class Column(NamedTuple):
    name: str
    is_text: bool = False  # set left, and without a heading where the name is in parentheses

    @property
    def heading(self) -> str:
        return "" if self.name.startswith("(") else self.name


class NarrowingTable:
    """Rows of cells, none of which is ever cut off: a column is spared instead, and texts wrap.

    Before any is, headings take two lines; and it is told which were. A column of empty cells is
    left out. `dispensable` names the columns that may go, the first first; those of one group at
    once.
    """

    def __init__(
        self,
        title: str,
        columns: Sequence[Column],
        rows: Iterable[Sequence[RenderableType]],
        dispensable: Sequence[str | tuple[str, ...]],
    ) -> None:
        cells = [tuple(row) for row in rows]
        filled = [n for n in range(len(columns)) if any(row[n] != "" for row in cells)]
        self.title, self.columns = title, [columns[n] for n in filled]
        self.dispensable = [each if isinstance(each, tuple) else (each,) for each in dispensable]
        self.rows = [[row[n] for n in filled] for row in cells]

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        unbounded = options.update(max_width=UNBOUNDED)
        without: list[str] = []
        table = self._table(without, lines=1)
        for group in ((), *self.dispensable):
            if Measurement.get(console, unbounded, table).maximum <= options.max_width:
                break
            without += group
            table = self._table(without, lines=2)
        table.title = self.title  # which wraps
        yield table
        spared = [each.heading for each in self.columns if each.heading and each.name in without]
        if spared:
            yield f"[dim]no room here for: {', '.join(spared)} (autobatch report has all)[/]"

    def _table(self, without: Sequence[str], *, lines: int) -> Table:
        table = Table(title_justify="left", box=None)
        kept = [n for n, column in enumerate(self.columns) if column.name not in without]
        for column in (self.columns[n] for n in kept):
            justify: Literal["left", "right"] = "left" if column.is_text else "right"
            heading = "\n".join(column.heading.rsplit(" ", lines - 1))
            table.add_column(
                heading, justify=justify, no_wrap=not column.is_text, vertical="bottom"
            )
        for row in self.rows:
            table.add_row(*(row[n] for n in kept))
        return table
