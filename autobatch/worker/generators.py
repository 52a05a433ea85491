"""Batches from plain Python generators, which the user's `load_data(batch_size)` makes.

A generator ends after one pass (or never): training goes over one after the other, each asked of
the loader again. Keras itself would have to be told where an epoch ends. Every batch is checked.
"""

import math
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any

import keras
import numpy as np

from autobatch.worker.batches import (
    DatasetBatches,
    check_size,
    longest_note,
    refuse_empty,
)
from autobatch.worker.mistakes import UserError
from autobatch.worker.source import (
    Look,
    bytes_of,
    check_variation,
    inner_shapes,
    leaves,
    rows_of_batch,
)

KEPT_BYTES = 512 << 20  # of what may never end, in each process that validates


def of_generator(
    first: Iterator[Any],
    again: Callable[[], Iterator[Any]],
    size: int,
    source: str,
    look: Look,
    *,
    ends: bool,
    fixed_inputs: bool,
) -> DatasetBatches:
    """A dataset over the generator `first`, then `again()`, `again()`, ... as each has ended.

    With `ends` (validation) every pass is the same: the batches of one, kept in memory.
    With `fixed_inputs` the model takes samples of one shape only.
    """
    stream = _Stream(first, again, size, source)
    kept: list[Any] = []
    shapes: set[Any] = set()
    known, count, held, ended = look.known, 0, 0, False
    until = time.monotonic() + look.seconds

    def is_seen() -> bool:
        if known is None:
            is_full = ends and held >= KEPT_BYTES
            return len(kept) >= 2 and (is_full or time.monotonic() >= until)
        return count >= (known.samples if ends else 1)

    while not ended and not is_seen():
        batch = stream.next_of_pass()
        ended = batch is None
        if batch is not None:
            count += rows_of_batch(batch)
            look.counted()
            shapes.add(inner_shapes(batch))
            check_variation(shapes, batch, fixed_inputs, source)
            if ends or len(kept) < 2:
                kept.append(batch)
                held += bytes_of(batch)
    look.took_seconds = 0.0 if ends else look.took_seconds  # who validates reads them again
    if not kept:
        refuse_empty(source, size)
    varied = len(shapes) > 1
    if known is not None:
        varied, ended = varied or known.varied, known.is_whole
        if not ends:
            count = known.samples
            stream.give_again(kept[0])
    batches = math.ceil(count / size)
    notes: tuple[str, ...] = (longest_note(source, batches),) if varied else ()
    if not ended:
        use = "are all that is used" if ends else "are taken as an epoch"
        notes += (f"{source}: the generator had not ended after {count} samples, which {use}.",)
    stream.shapes = None if varied else shapes.pop()
    epoch = (lambda: iter(kept)) if ends else (lambda: stream.epoch(batches))
    dataset = _dataset(epoch, kept[0], varied, source)
    return DatasetBatches(
        *(dataset, size, count, notes, varied, ended),
        kind="generator",
        stream=None if ends else stream,
    )


def is_generator(value: Any) -> bool:
    """True for a generator and the like: not for Keras' iterators over images, which are both."""
    return isinstance(value, Iterator) and not isinstance(value, keras.utils.PyDataset)


def _dataset(epoch: Callable[[], Iterator[Any]], first: Any, varied: bool, source: str) -> Any:
    try:
        import tensorflow as tf
    except ModuleNotFoundError:
        raise UserError(
            f"{source} is a generator: autobatch draws from it by TensorFlow, and there is none.",
            hint="Return a keras.utils.PyDataset or a torch DataLoader; or install tensorflow.",
        ) from None

    def specification(leaf: Any) -> Any:
        inner = [None] * (leaf.ndim - 1) if varied else leaf.shape[1:]
        return tf.TensorSpec((None, *inner), leaf.dtype)

    signature = keras.tree.map_structure(specification, first)
    dataset = tf.data.Dataset.from_generator(epoch, output_signature=signature)
    return dataset.prefetch(tf.data.AUTOTUNE)


class _Stream:
    """Batches of one generator after the other, each checked."""

    def __init__(
        self, first: Iterator[Any], again: Callable[[], Iterator[Any]], size: int, source: str
    ) -> None:
        self.current: Iterator[Any] | None = first
        self.again, self.size, self.source = again, size, source
        self.shapes: Any = None  # that every batch must have, once that is known
        self._kinds: Any = None
        self._seen: list[Any] = []  # batches that were only looked at, and are yet to be given
        self._looked: list[Any] | None = None  # at, until training begins
        self._number = 0  # of the next batch in this pass
        self._smaller: int | None = None  # number of the batch that was smaller than asked
        self._lock = threading.Lock()  # an epoch that was left may still be prefetching

    def epoch(self, batches: int) -> Iterator[Any]:
        given = 0
        while given < batches:
            batch = self.next_of_pass()
            if batch is not None:
                given += 1
                if self._looked is not None:
                    self._looked.append(batch)
                yield batch

    def give_again(self, batch: Any) -> None:
        self._seen = [batch]

    def look(self) -> None:
        """What is drawn from now on is drawn ahead, or to be looked at, until training begins."""
        self._looked = []

    def begin(self) -> None:
        with self._lock:
            self._seen, self._looked = [*(self._looked or ()), *self._seen], None

    def next_of_pass(self) -> Any:
        """The next batch; None where a pass has ended: the loader is asked for the next with it."""
        with self._lock:
            if self._seen:
                return self._seen.pop(0)
            if self.current is None:
                self.current = self.again()
            batch = next(self.current, None)
            if batch is None:
                if self._number == 0:
                    raise UserError(f"{self.source}: the generator ended before its first batch.")
                self.current, self._number, self._smaller = None, 0, None
                return None
            batch = self._checked(batch)
            self._number += 1
            return batch

    def _checked(self, batch: Any) -> Any:
        where = f"{self.source}: batch {self._number} of the generator"
        if not isinstance(batch, tuple) or len(batch) not in (1, 2, 3):
            raise UserError(
                f"{where} is {type(batch).__qualname__}, not a tuple.",
                hint="Yield (x,), (x, y) or (x, y, sample_weight).",
            )
        batch = keras.tree.map_structure(np.asarray, batch)
        rows = rows_of_batch(batch)
        if self._smaller is not None:
            raise UserError(
                f"{self.source}: batch {self._smaller} of the generator has fewer than the "
                f"{self.size} samples asked for, and is not the last.",
                hint="Yield exactly batch_size samples at a time.",
            )
        if rows < self.size:
            self._smaller = self._number
        check_size(rows, self.size, alone=True, source=where)
        kinds = [(leaf.dtype, leaf.ndim) for leaf in leaves(batch)]
        shapes = inner_shapes(batch)
        self._kinds = self._kinds or kinds
        if kinds != self._kinds or self.shapes not in (None, shapes):
            told = ", ".join(f"{leaf.dtype} {leaf.shape}" for leaf in leaves(batch))
            raise UserError(
                f"{where} has arrays of {told}, other than those before it.",
                hint="All batches must have arrays of the same types and shapes.",
            )
        return batch
