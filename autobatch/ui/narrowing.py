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

    A column of empty cells is left out. `dispensable` names the columns that may go, the first
    first; those of one group at once.
    """

    def __init__(
        self,
        title: str,
        columns: Sequence[Column],
        rows: Iterable[Sequence[RenderableType]],
        dispensable: Sequence[str | tuple[str, ...]],
    ) -> None:
        self.title, self.columns = title, tuple(columns)
        self.dispensable = [each if isinstance(each, tuple) else (each,) for each in dispensable]
        self.rows = [tuple(row) for row in rows]

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        unbounded = options.update(max_width=UNBOUNDED)
        for spared in range(len(self.dispensable) + 1):
            table = self._table([name for group in self.dispensable[:spared] for name in group])
            if Measurement.get(console, unbounded, table).maximum <= options.max_width:
                break
        table.title = self.title  # which wraps
        yield table

    def _table(self, without: Sequence[str]) -> Table:
        table = Table(title_justify="left", box=None)
        kept = [
            number
            for number, column in enumerate(self.columns)
            if column.name not in without and any(row[number] != "" for row in self.rows)
        ]
        for number in kept:
            column = self.columns[number]
            justify: Literal["left", "right"] = "left" if column.is_text else "right"
            table.add_column(column.heading, justify=justify, no_wrap=not column.is_text)
        for row in self.rows:
            table.add_row(*(row[number] for number in kept))
        return table
