"""Batches built for one size by the user's `load_data(batch_size)`, in a tf.data.Dataset.

They go to `fit` as they are. The loader decides the size: it is checked to be the one asked.
"""

import math
import time
from collections import Counter
from dataclasses import dataclass, replace
from typing import Any, NoReturn

import keras

from autobatch.protocol import DataKind
from autobatch.worker.datasets import LOOK_SECONDS, cardinality, identity, unknown_size_note
from autobatch.worker.mistakes import UserError
from autobatch.worker.source import Look, bytes_of, leaves, rows_of

LOOK_BATCHES = 64  # of those, the batch of the longest samples is probed
CHECKED_BATCHES = 8  # built in Python, whose shapes are looked at when they are inspected


@dataclass(frozen=True)
class DatasetBatches:
    """A tf.data.Dataset of batches of `size`, the last one perhaps smaller."""

    dataset: Any
    size: int
    count: int
    notes: tuple[str, ...] = ()
    varied: bool = False
    is_whole: bool = True
    kind: DataKind = "dataset"

    def fit_arguments(self, batch_size: int) -> dict[str, Any]:
        return {"x": self.dataset}

    def steps_per_epoch(self, batch_size: int) -> int:
        return math.ceil(self.count / self.size)

    def fit_call(self, loader: str) -> str:
        return built_for_the_size(loader)

    def part(self, count: int) -> "DatasetBatches":
        if count >= self.count and self.is_whole:
            return self
        return self._ending(count, self.dataset)  # whose first batch is at hand

    def first(self, count: int) -> "DatasetBatches":
        """The first `count` samples, none of them twice."""
        return self._ending(count, self.dataset.skip(count // self.size))

    def _ending(self, count: int, rest: Any) -> "DatasetBatches":
        """Full batches, and what is lacking to `count` from the first batch of `rest`."""
        full, ragged = divmod(count, self.size)
        dataset = self.dataset.take(full)
        if ragged:
            last = rest.take(1).map(lambda *batch: cut(_given(batch), ragged))
            dataset = dataset.concatenate(last) if full else last
        return replace(self, dataset=dataset, count=count)

    def longest(self, batch_size: int) -> "DatasetBatches":
        if not self.varied or self.count < self.size:
            return self
        best = largest(self.dataset.take(LOOK_BATCHES), self.size)
        import tensorflow as tf

        dataset = tf.data.Dataset.from_tensors(best)
        return replace(self, dataset=dataset, count=self.size, is_whole=True)

    def after(self, first: "DatasetBatches") -> "DatasetBatches":
        dataset = first.dataset.concatenate(self.dataset)
        return replace(self, dataset=dataset, count=first.count + self.count)

    def fingerprint(self) -> list[bytes]:
        return [identity(self.dataset, self.count if self.is_whole else None)]


def of_dataset(
    dataset: Any, size: int | None, source: str, look: Look, *, ends: bool
) -> DatasetBatches:
    """With `ends`, an epoch is what was counted, even where the dataset goes on (validation).

    `size` None: that of its first batch.
    """
    batches = cardinality(dataset, source)
    first = next(iter(dataset), None)
    if first is None:
        refuse_empty(source, size)
    rows = rows_of_batch(first)
    size = size or rows
    check_size(rows, size, alone=batches in (1, None), source=source)
    specs = leaves(dataset.element_spec)
    fixed = all(spec.shape.rank and spec.shape[0] is not None for spec in specs)
    varied = any(spec.shape.rank is None or None in spec.shape[1:] for spec in specs)
    if fixed and batches is not None:  # it drops the remainder
        note = (longest_note(source, batches),) if varied else ()
        return DatasetBatches(dataset, size, batches * rows, note, varied)
    count, is_whole = look.count(dataset, rows_of_batch)
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


def samples_in(batches: int, size: int, seen: int, *, is_whole: bool) -> int:
    """Samples of so many batches, `seen` by counting; their last is full where it was not seen."""
    most = batches * size
    return max(min(seen, most), most - size + 1) if is_whole else most


def built_for_the_size(loader: str) -> str:
    return f"train, validation = {loader}(batch_size={{size}})\nmodel.fit(train)"


def _given(batch: tuple[Any, ...]) -> Any:
    return batch[0] if len(batch) == 1 else batch


def cut(batch: Any, rows: int) -> Any:
    return keras.tree.map_structure(lambda leaf: None if leaf is None else leaf[:rows], batch)


def rows_of_batch(batch: Any) -> int:
    """Samples in a batch: the first dimension that most of its components have."""
    sizes = [rows_of(leaf) for leaf in leaves(batch) if len(leaf.shape)]
    if not sizes:
        raise UserError("A batch of the training data has no arrays in it.")
    return Counter(sizes).most_common(1)[0][0]


def largest(batches: Any, size: int) -> Any:
    largest, most, until = None, -1, time.monotonic() + LOOK_SECONDS
    for batch in batches:  # one at a time: they may fill the memory that is being measured
        if rows_of_batch(batch) == size and (held := bytes_of(batch)) > most:
            largest, most = batch, held
        if largest is not None and time.monotonic() > until:
            break
    if largest is None:
        raise UserError(f"None of the first {LOOK_BATCHES} batches has {size} samples.")
    return largest


def check_size(rows: int, size: int, *, alone: bool, source: str) -> None:
    if rows == size or (alone and rows < size):
        return
    raise UserError(
        f"{source} has batches of {rows} samples where batch_size={size} was asked for.",
        hint="Let load_data(batch_size) build batches of exactly batch_size samples.",
    )


def inner_shapes(batch: Any) -> tuple[tuple[int, ...], ...]:
    return tuple(tuple(leaf.shape[1:]) for leaf in leaves(batch))


def check_variation(shapes: set[Any], batch: Any, fixed_inputs: bool, source: str) -> None:
    """Refuse `batch` where its inputs, unlike the model's, vary in shape; `shapes`: seen so far."""
    inputs = inner_shapes(batch[0] if isinstance(batch, tuple) else batch)
    if not fixed_inputs or all(seen[: len(inputs)] == inputs for seen in shapes):
        return
    raise UserError(
        f"{source}: batches have inputs of different shapes (one of {', '.join(map(str, inputs))}),"
        " and those of the model are fixed.",
        hint="Let the model's inputs have None for what varies, as keras.Input((None,)) has; or "
        "make all samples of one shape.",
    )


def refuse_empty(source: str, size: int | None) -> NoReturn:
    raise UserError(
        f"{source} has no batch{'' if size is None else f' at batch_size={size}'}.",
        hint="There are fewer samples than a batch and the rest is dropped, or none at all.",
    )


def longest_note(source: str, batches: int) -> str:
    return (
        f"{source}: samples vary in length; probes use the largest of the first "
        f"{min(LOOK_BATCHES, batches)} batches (or of those seen in {LOOK_SECONDS:g} s)."
    )
