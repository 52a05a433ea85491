"""Batches built for one size by the user's `load_data(batch_size)`; in a tf.data.Dataset, too.

They go to `fit` as they are. The loader decides the size: it is checked to be the one asked.
"""

import math
import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from typing import Any, NoReturn, Self

from autobatch.protocol import DataKind, Extent
from autobatch.worker import cache_files
from autobatch.worker.datasets import LOOK_SECONDS, cardinality, identity, unknown_size_note
from autobatch.worker.mistakes import UserError
from autobatch.worker.source import (
    Look,
    bytes_of,
    cut,
    inner_shapes,
    leaves,
    needs_tensorflow,
    rows_of_batch,
)

LOOK_BATCHES = 64  # of those, the batch of the longest samples is probed
CHECKED_BATCHES = 8  # built in Python, whose shapes are looked at when they are inspected
OF_SIZE = (
    "Let load_data(batch_size) build batches of exactly batch_size samples. (Graphs that are "
    "joined into one are not supported: give batches of ragged tensors, and join them in the "
    "model.)"
)


@dataclass(frozen=True)
class Built(ABC):
    """`data` of batches of `size`, the last one perhaps smaller."""

    data: Any  # what `fit` takes
    size: int
    count: int
    notes: tuple[str, ...] = ()
    varied: bool = False
    is_whole: bool = True

    @property
    def drops_remainder(self) -> bool:
        """Whether all batches are known to be full."""
        return False

    def is_for(self, size: int) -> bool:
        """Whether the loader may have built them for that size."""
        return self.size == size or self.count == self.size < size

    def fit_arguments(self, batch_size: int) -> dict[str, Any]:
        return {"x": self.data}

    def fit_call(self, loading: str) -> str:
        return f"{loading}\nmodel.fit(train)"

    def part(self, count: int) -> Self:
        if count >= self.count and self.is_whole:
            return self
        return self.ending(count, is_distinct=False)

    @abstractmethod
    def ending(self, count: int, *, is_distinct: bool) -> Self:
        """Full batches, and a smaller one to make up `count`.

        Unless its samples are to be distinct, they are those of the batch that is nearest at hand.
        """

    def longest(self, batch_size: int) -> Self:
        if not self.varied or self.count < self.size:
            return self
        best = self.batch_alone(largest(self.looked_at(), self.size))
        return replace(self, data=best, count=self.size, is_whole=True)

    @abstractmethod
    def looked_at(self) -> Iterable[Any]:
        """`LOOK_BATCHES`: the first, or from end to end where any can be asked for."""

    @abstractmethod
    def batch_alone(self, batch: Any) -> Any:
        """Data of the same kind that has nothing else."""


@dataclass(frozen=True)
class DatasetBatches(Built):
    """In a tf.data.Dataset."""

    kind: DataKind = "dataset"
    stream: Any = None  # of a generator: what an epoch draws from

    @property
    def drops_remainder(self) -> bool:
        return _is_fixed(self.data)

    def ending(self, count: int, *, is_distinct: bool) -> "DatasetBatches":
        import tensorflow as tf

        full, ragged = divmod(count, self.size)
        data = self.data if self.is_whole else self.data.repeat()  # a generator ends by its count
        dataset = data.take(full + bool(ragged))
        if ragged:  # of the same iterator: another would fill a shuffle buffer of its own
            dataset = dataset.enumerate().map(
                lambda index, batch: cut(batch, 0, tf.where(index < full, tf.int32.max, ragged))
            )
        return replace(self, data=dataset, count=count)

    def looked_at(self) -> Any:
        return self.data.take(LOOK_BATCHES)

    def batch_alone(self, batch: Any) -> Any:
        import tensorflow as tf

        return tf.data.Dataset.from_tensors(batch)

    def after(self, first: "DatasetBatches") -> "DatasetBatches":
        dataset = first.data.concatenate(self.data)
        return replace(self, data=dataset, count=first.count + self.count)

    def fingerprint(self) -> list[bytes]:
        return [identity(self.data, self.count if self.is_whole else None)]


def of_dataset(
    dataset: Any,
    size: int | None,
    source: str,
    look: Look,
    *,
    ends: bool,
    of_one: Callable[[], Any] | None = None,
) -> DatasetBatches:
    """With `ends`, an epoch is what was counted, even where the dataset goes on (validation).

    `size` None: that of its first batch. `of_one` builds it of batches of one sample, by which
    samples are known that take too long to count.
    """
    batches = cardinality(dataset, source)
    specs = leaves(dataset.element_spec)
    fixed, known = _is_fixed(dataset), look.known
    may_vary = any(
        spec.shape.rank is None or None in spec.shape[1:] or spec.dtype.name == "string"
        for spec in specs
    )
    fixed_rows = specs[0].shape[0] if fixed else None
    in_file = cache_files.holds_batches(dataset)
    told = (
        ([size], False)
        if size and known and not in_file and _are_of(size, batches, fixed_rows, known)
        else None
    )
    seen, varied = told or _first_of(dataset, LOOK_BATCHES if may_vary and not known else 2)
    if not seen:
        refuse_empty(source, size)
    varied = may_vary and (known.varied if known else varied)
    rows = max(seen)  # the smaller one is the first, where they are shuffled
    size = size or rows
    hint = cache_files.BATCH_LATER if in_file else OF_SIZE
    check_size(rows, size, alone=len(seen) == 1, source=source, hint=hint)
    if fixed and batches is not None:  # it drops the remainder
        note = (longest_note(source, batches),) if varied else ()
        return DatasetBatches(dataset, size, batches * rows, note, varied)
    count, is_whole = look.count(dataset, rows_of_batch)
    if batches is not None and not is_whole and not known:
        samples = _cardinality_of(of_one)
        if max(count, (batches - 1) * size) <= samples <= batches * size:
            count, is_whole = samples, True
    if fixed:  # counted at another size, it may have left out more
        count = max(count - count % rows, rows)
    notes: tuple[str, ...] = ()
    if batches is not None:
        count = samples_in(batches, size, count, is_whole=is_whole)
    elif not is_whole:
        notes = (unknown_size_note(source, count, ends=ends),)
        dataset = dataset.take(math.ceil(count / size)) if ends else dataset
    if varied:
        notes += (longest_note(source, math.ceil(count / size)),)
    return DatasetBatches(dataset, size, count, notes, varied, is_whole)


def _is_fixed(dataset: Any) -> bool:
    """Whether the number of samples in a batch is part of its shape."""
    specs = leaves(dataset.element_spec)
    return all(spec.shape.rank and spec.shape[0] is not None for spec in specs)


def _are_of(size: int, batches: int | None, rows: int | None, known: Extent) -> bool:
    """Whether their shape or number says so. To draw any would fill a shuffle buffer."""
    if rows is not None:
        return rows == size <= known.samples
    return known.is_whole and batches == math.ceil(known.samples / size)


def _first_of(dataset: Any, count: int) -> tuple[list[int], bool]:
    """(samples in each batch, whether they vary in size), of the first `count` batches, in time.

    A dataset may know less of its samples than they have in common.
    """
    seen: list[int] = []
    shapes, uneven = set(), False
    until = time.monotonic() + LOOK_SECONDS
    for batch in dataset.take(count):
        if len(seen) >= CHECKED_BATCHES and time.monotonic() > until:
            break
        seen.append(rows_of_batch(batch))
        shapes.add(inner_shapes(batch))
        uneven = uneven or any(map(needs_tensorflow, leaves(batch)))
    return seen, uneven or len(shapes) > 1


def _cardinality_of(built: Callable[[], Any] | None) -> int:
    """0 where it cannot be built, or does not know: it was not written to be asked for this."""
    if built is None:
        return 0
    try:
        return int(built().cardinality())
    except Exception:
        return 0


def samples_in(batches: int, size: int, seen: int, *, is_whole: bool) -> int:
    """Samples of so many batches, `seen` by counting; their last is full where it was not seen."""
    most = batches * size
    return max(min(seen, most), most - size + 1) if is_whole else most


def largest(batches: Any, size: int) -> Any:
    largest, most, until = None, -1, time.monotonic() + LOOK_SECONDS
    for batch in batches:  # one at a time: they may fill the memory that is being measured
        if rows_of_batch(batch) == size and (held := bytes_of(batch)) > most:
            largest, most = batch, held
        if largest is not None and time.monotonic() > until:
            break
    if largest is None:
        raise UserError(f"None of {LOOK_BATCHES} batches has {size} samples.")
    return largest


def check_size(rows: int, size: int, *, alone: bool, source: str, hint: str = OF_SIZE) -> None:
    if rows == size or (alone and rows < size):
        return
    raise UserError(
        f"{source} has batches of {rows} samples where batch_size={size} was asked for.",
        hint=hint,
    )


def refuse_empty(source: str, size: int | None) -> NoReturn:
    raise UserError(
        f"{source} has no batch{'' if size is None else f' at batch_size={size}'}.",
        hint="There are fewer samples than a batch and the rest is dropped, or none at all.",
    )


def longest_note(source: str, batches: int, *, spread: bool = False) -> str:
    some = min(LOOK_BATCHES, batches)
    which = f"{some} batches, spread over all" if spread else f"the first {some} batches"
    return (
        f"{source}: samples vary in length; probes use the largest of {which} (or of those seen "
        f"in {LOOK_SECONDS:g} s)."
    )
