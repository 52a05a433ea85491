"""Batches built for one size by the user's `load_data(batch_size)`, in a keras.utils.PyDataset.

They go to `fit` as they are, or a view of some of them: built when `fit` asks for them, by as many
workers as the user's.
"""

import contextlib
import gc
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Any, ClassVar

import keras
import numpy as np
from keras.src.trainers.data_adapters import py_dataset_adapter

from autobatch.protocol import DataKind
from autobatch.worker.batches import (
    CHECKED_BATCHES,
    LOOK_BATCHES,
    Built,
    check_size,
    longest_note,
    refuse_empty,
)
from autobatch.worker.mistakes import UserError
from autobatch.worker.source import (
    Look,
    check_variation,
    cut,
    inner_shapes,
    leaves,
    rows_of_batch,
)


@dataclass(frozen=True)
class PythonBatches(Built):
    """In a keras.utils.PyDataset."""

    kind: ClassVar[DataKind] = "PyDataset"
    keeps_order: bool = False  # in all epochs

    def fit_arguments(self, batch_size: int) -> dict[str, Any]:
        order = {"shuffle": False} if self.keeps_order else {}
        return super().fit_arguments(batch_size) | order

    def ending_in_the_smaller(self) -> "PythonBatches":
        """The same batches in an order drawn once, the smaller one last, as it is of other data."""
        full, ragged = divmod(self.count, self.size)
        if not ragged:
            return self
        order = [*np.random.default_rng(0).permutation(full).tolist(), full]
        view = _View(self.data, full=full + 1, order=order)
        return replace(self, data=view, keeps_order=True)

    def ending(self, count: int, *, is_distinct: bool) -> "PythonBatches":
        full, ragged = divmod(count, self.size)
        if is_distinct:  # a ragged one is built here
            kept = [cut(self.data[full], 0, ragged)] if ragged else []
            view = _View(self.data, full=full, kept=kept, stays=True)
        else:
            view = _View(self.data, full=full, ragged=ragged)
        return replace(self, data=view, count=count)

    def looked_at(self) -> Iterable[Any]:
        number = self.data.num_batches
        few_first = (*_spread(number, CHECKED_BATCHES), *_spread(number, LOOK_BATCHES))
        return (self.data[index] for index in dict.fromkeys(few_first))

    def batch_alone(self, batch: Any) -> Any:
        return _View(self.data, kept=[batch])

    def after(self, first: "PythonBatches") -> "PythonBatches":
        kept = [first.data[index] for index in range(first.data.num_batches)]
        view = _View(self.data, full=self.data.num_batches, kept=kept)
        return replace(self, data=view, count=first.count + self.count)

    def fingerprint(self) -> list[bytes]:
        first = leaves(self.data[0])
        form = [(len(leaf.shape) if self.varied else leaf.shape[1:], leaf.dtype) for leaf in first]
        return [f"{form} {self.count}".encode()]


def end_workers() -> None:
    """Of epochs that were left before their end: they would go on until their queues are full."""
    if all(each is None for each in py_dataset_adapter._SHARED_SEQUENCES.values()):
        return
    for each in gc.get_objects():
        if type(each) is py_dataset_adapter.OrderedEnqueuer:
            with contextlib.suppress(Exception):  # of a batch that nobody will see
                each.stop()


class _View(keras.utils.PyDataset):
    """The first `full` of the user's `batches`, one of `ragged` samples, and some kept in memory.

    The first are in `order`, if that is given.
    `fit` shuffles them; those in memory are the last, as Keras takes the shapes from the first.
    One that `stays` lets no epoch shuffle the batches: a part would be of other samples.
    """

    def __init__(
        self,
        batches: keras.utils.PyDataset,
        *,
        full: int = 0,
        ragged: int = 0,
        kept: Sequence[Any] = (),
        stays: bool = False,
        order: Sequence[int] | None = None,
    ) -> None:
        names = ("workers", "use_multiprocessing", "max_queue_size") if full or ragged else ()
        super().__init__(**{name: getattr(batches, name) for name in names})
        self.batches, self.full, self.ragged, self.kept = batches, full, ragged, kept
        self.stays, self.order = stays, order or range(full)

    def __len__(self) -> int:
        return self.full + bool(self.ragged) + len(self.kept)

    def __getitem__(self, index: int) -> Any:
        if index < self.full:
            return self.batches[self.order[index]]
        if self.ragged and index == self.full:
            return cut(self.batches[0], 0, self.ragged)
        return self.kept[index - len(self)]

    def on_epoch_begin(self) -> None:
        if not self.stays:
            self.batches.on_epoch_begin()

    def on_epoch_end(self) -> None:
        if not self.stays:
            self.batches.on_epoch_end()


def of_pydataset(
    batches: keras.utils.PyDataset,
    size: int | None,
    source: str,
    look: Look,
    *,
    fixed_inputs: bool,
) -> PythonBatches:
    """`size` None: that of its first batch."""
    number = batches.num_batches
    if number is None:
        raise UserError(
            f"{source} is a PyDataset without an end, so that it has no epoch.",
            hint="Give it a num_batches (or __len__).",
        )
    if number == 0:
        refuse_empty(source, size)
    rows: list[int] = []
    shapes: set[Any] = set()
    for index in _spread(number, CHECKED_BATCHES if look.known is None else 2):
        batch = batches[index]
        rows.append(rows_of_batch(batch))
        shapes.add(inner_shapes(batch))
        check_variation(shapes, batch, fixed_inputs, source)
    size = size or rows[0]
    check_size(rows[0], size, alone=number == 1, source=source)
    varied = look.known.varied if look.known is not None else len(shapes) > 1
    notes = (longest_note(source, number, spread=True),) if varied else ()
    return PythonBatches(batches, size, (number - 1) * size + rows[-1], notes, varied)


def _spread(number: int, count: int) -> list[int]:
    """As many indices below `number`, or all: evenly spaced, the first and the last among them."""
    return sorted({round(step * (number - 1) / (count - 1)) for step in range(count)})
