"""Batches built for one size by the user's `load_data(batch_size)`, in a torch DataLoader.

They go to `fit` as they are, on any backend, or a view of some of them: drawn when `fit` asks for
them, in the user's order, by as many processes as theirs. PyTorch is not imported to tell what it
is: who returns a DataLoader has imported it.
"""

import math
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import islice
from typing import Any, ClassVar

import keras

from autobatch.protocol import DataKind
from autobatch.worker.batches import (
    CHECKED_BATCHES,
    LOOK_BATCHES,
    Built,
    check_size,
    longest_note,
    refuse_empty,
    samples_in,
)
from autobatch.worker.datasets import is_dataset, unknown_size_note
from autobatch.worker.mistakes import UserError
from autobatch.worker.source import (
    Look,
    check_variation,
    cut,
    inner_shapes,
    is_of,
    leaves,
    rows_of_batch,
    steps_per_epoch,
)

SEQUENCES = {"builtins", "array", "collections"}  # where those are that are arrays at once
OF_ARRAYS = ("__array__", "__array_interface__", "dtype")


@dataclass(frozen=True)
class LoaderBatches(Built):
    """In a torch.utils.data.DataLoader."""

    kind: ClassVar[DataKind] = "DataLoader"
    form: str = ""  # of its batches, as far as it is the same each time
    drops_remainder: bool = False  # also where a view of it is left

    def ending(self, count: int, *, is_distinct: bool) -> "LoaderBatches":
        """The next batch is always at hand, where there is one."""
        view = _view(self.data, *divmod(count, self.size))
        return replace(self, data=view, count=count)

    def looked_at(self) -> Iterable[Any]:
        return islice(self.data, LOOK_BATCHES)

    def batch_alone(self, batch: Any) -> Any:
        return _view(kept=[batch])

    def of(self, batches: list[Any]) -> "LoaderBatches":
        """Those that it has, in memory."""
        return replace(self, data=_view(kept=batches))

    def after(self, first: "LoaderBatches") -> "LoaderBatches":
        view = _view(self.data, steps_per_epoch(self, self.size), kept=[*first.data])
        return replace(self, data=view, count=first.count + self.count)

    def fingerprint(self) -> list[bytes]:
        return [f"{self.form} {self.count if self.is_whole else ''}".encode()]


def _view(loader: Any = (), full: int = 0, ragged: int = 0, kept: Sequence[Any] = ()) -> Any:
    """The first `full` batches of a pass of `loader`, one of `ragged` samples, and some in memory.

    Those in memory are the last, as Keras takes the shapes from the first.
    """
    from torch.utils.data import DataLoader

    class View(DataLoader):
        def __iter__(self) -> Iterator[Any]:
            if full or ragged:
                drawn, batch = iter(loader), None
                for batch in islice(drawn, full):
                    yield batch
                if ragged and (batch := next(drawn, batch)) is not None:
                    yield cut(batch, 0, ragged)
                del drawn  # which ends its processes
            yield from kept

    return View(range(full + bool(ragged) + len(kept)), batch_size=None)


def is_loader(value: Any) -> bool:
    return is_of("torch.utils.data", "DataLoader", value)


def is_unbatched(value: Any) -> bool:
    """True for a torch Dataset, and for others whose samples or batches are got one by one."""
    if is_of("torch.utils.data", "Dataset", value):
        return True
    if isinstance(value, (Mapping, list, tuple)) or type(value).__module__ in SEQUENCES:
        return False
    is_array = any(hasattr(value, name) for name in OF_ARRAYS)
    return not is_array and (_has_samples(value) or _is_stream(value))


def _has_samples(value: Any) -> bool:
    """Any of which can be asked for, as of Hugging Face's datasets."""
    return hasattr(value, "__len__") and hasattr(value, "__getitem__")


def _is_stream(value: Any) -> bool:
    """True for what can be gone through, as their datasets that are streamed, and Grain's."""
    is_known = isinstance(value, Iterator) or is_loader(value) or is_dataset(value)
    return hasattr(value, "__iter__") and not is_known


def refuse_unbatched(part: Any, source: str) -> None:
    """If it is a dataset that gives samples one by one, or has one in it."""
    for leaf in filter(is_unbatched, keras.tree.flatten(part)):
        name = type(leaf).__qualname__
        what = f"{type(leaf).__module__}.{name}"
        hint = (
            'Give arrays (of a Hugging Face dataset, those in dataset.with_format("numpy")[:]), a '
            "tf.data.Dataset (`dataset.to_tf_dataset(batch_size=batch_size)`, in `def "
            "load_data(batch_size):`), a PyDataset or a DataLoader."
        )
        if is_of("torch.utils.data", "Dataset", leaf):
            what = f"torch Dataset ({name})"
            shuffle = "" if is_of("torch.utils.data", "IterableDataset", leaf) else ", shuffle=True"
            hint = (
                "Write `def load_data(batch_size):`, and return DataLoaders of that size for "
                f"(train, validation): DataLoader(dataset, batch_size=batch_size{shuffle}). Or "
                "return arrays."
            )
        elif not _has_samples(leaf):
            hint = (
                "Write `def load_data(batch_size):`, and return, for training and for validation, "
                "a generator of batches (x, y) of that size: `(batch for batch in loader)`, or, of "
                'a Hugging Face dataset, `((batch["x"], batch["y"]) for batch in '
                'dataset.with_format("numpy").iter(batch_size))`. Or return a tf.data.Dataset or a '
                "torch DataLoader."
            )
        raise UserError(
            f"{source} has a {what} where Keras trains on batches or arrays.", hint=hint
        )


def of_loader(
    loader: Any, size: int | None, source: str, look: Look, *, ends: bool, fixed_inputs: bool
) -> LoaderBatches:
    """With `ends`, an epoch is what was counted, even where the loader goes on (validation).

    `size` None: that of its first batch.
    """
    told = _told_samples(loader)
    is_counted = told is not None or look.known is not None
    first, count, is_whole = None, 0, True
    shapes: set[Any] = set()
    until = time.monotonic() + look.seconds
    for index, batch in enumerate(loader):
        batch = _checked(batch, source)
        first = batch if first is None else first
        shapes.add(inner_shapes(batch))
        check_variation(shapes, batch, fixed_inputs, source)
        count += rows_of_batch(batch)
        look.counted()
        enough = 1 if look.known is not None else CHECKED_BATCHES
        if (is_counted and index + 1 >= enough) or time.monotonic() > until:
            is_whole = False
            break
    if first is None:
        refuse_empty(source, size)
    rows = rows_of_batch(first)
    size = size or rows
    batches = len(loader) if hasattr(loader.dataset, "__len__") else None  # as Keras has it
    check_size(rows, size, alone=batches in (1, None), source=source)
    if told is not None:
        count, is_whole = told, True
    elif look.known is not None:
        count, is_whole = look.known.samples, look.known.is_whole
        if loader.drop_last:  # counted at another size, it may have left out more
            count = max(count - count % size, size)
    notes: tuple[str, ...] = ()
    drops_remainder = bool(getattr(loader.batch_sampler, "drop_last", loader.drop_last))
    if told is None and batches is not None:
        count = samples_in(batches, size, count, is_whole=is_whole)
    elif not is_whole:
        notes = (unknown_size_note(source, count, ends=ends),)
        loader = _view(loader, math.ceil(count / size)) if ends else loader
    varied = look.known.varied if look.known is not None else len(shapes) > 1
    if varied:
        notes += (longest_note(source, math.ceil(count / size)),)
    form = [(leaf.dtype, len(leaf.shape) if varied else leaf.shape[1:]) for leaf in leaves(first)]
    return LoaderBatches(
        *(loader, size, count, notes, varied, is_whole),
        form=str(form),
        drops_remainder=drops_remainder,
    )


def _told_samples(loader: Any) -> int | None:
    """Samples in an epoch, where the loader tells: not where each worker has some of its own."""
    if is_of("torch.utils.data", "IterableDataset", loader.dataset) or loader.batch_size is None:
        return None
    batches, samples = len(loader), len(loader.sampler)
    if loader.drop_last:
        samples -= samples % loader.batch_size
    return samples if math.ceil(samples / loader.batch_size) == batches else None


def _checked(batch: Any, source: str) -> Any:
    batch = tuple(batch) if isinstance(batch, list) else batch
    for leaf in leaves(batch):
        if not hasattr(leaf, "shape"):
            raise UserError(
                f"{source}: batches have a {type(leaf).__qualname__} in them, not only tensors.",
                hint="Let the dataset give, or collate_fn make, x, (x, y) or (x, y, sample_weight) "
                "of tensors.",
            )
    return batch
