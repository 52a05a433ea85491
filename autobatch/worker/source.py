"""What training and validation samples are to the tasks, whatever the user keeps them in.

One implementation per kind: `arrays.py` (arrays in memory), `datasets.py` (an unbatched
tf.data.Dataset, which we batch), `batches.py`, `pydatasets.py`, `loaders.py` and `generators.py`
(what was built for one batch size by the user).
"""

import sys
import time
from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any, Protocol

import keras
import numpy as np
import numpy.typing as npt

from autobatch.protocol import DataKind, Extent
from autobatch.worker.mistakes import UserError

# NaN is looked for in parts, as an array may be a file that is larger than memory; and this long.
LOOK_BYTES, NAN_SECONDS = 16 << 20, 10.0


class Source(Protocol):
    """Samples of one epoch, ready for `fit` and `evaluate`."""

    @property
    def kind(self) -> DataKind:
        """What the user keeps them in."""

    @property
    def count(self) -> int:
        """Samples in one epoch."""

    @property
    def is_whole(self) -> bool:
        """Whether those are all; else they are as many as could be counted in time."""

    @property
    def notes(self) -> tuple[str, ...]:
        """Sentences for the user on how their samples are taken."""

    def fit_arguments(self, batch_size: int) -> dict[str, Any]:
        """What `fit` and `evaluate` take, in batches of `batch_size`."""

    def fit_call(self, loading: str) -> str:
        """What the user types to train on it, after the line that loads it for its batch size."""

    def part(self, count: int) -> "Source":
        """`count` of the samples: for batches built by the user, ending with a batch as ragged.

        Of what is not whole it may have more than were counted.
        """

    def longest(self, batch_size: int) -> "Source":
        """Where samples vary in size, a batch of the largest seen; else this, with all of them."""

    def after(self, first: Any) -> "Source":
        """The samples of `first`, which is of the same kind, then these; in that order."""

    def fingerprint(self) -> list[bytes]:
        """What identifies the samples, as far as it is the same each time."""


@dataclass
class Look:
    """How long data may be counted that does not know its size; not at all, once it was."""

    seconds: float
    known: Extent | None = None
    took_seconds: float = 0.0  # since the first was counted: no process after this one takes that
    _began: float = 0.0

    def count(self, elements: Iterable[Any], rows: Callable[[Any], int]) -> tuple[int, bool]:
        """(rows, whether those are all)."""
        if self.known is not None:
            return self.known.samples, self.known.is_whole
        until = time.monotonic() + self.seconds
        count = 0
        for element in elements:
            count += rows(element)
            self.counted()
            if time.monotonic() > until:
                return count, False
        return count, True

    def counted(self) -> None:
        """One more."""
        self._began = self._began or time.monotonic()
        self.took_seconds = time.monotonic() - self._began if self.known is None else 0.0


def steps_per_epoch(source: Source, batch_size: int) -> int:
    return -(-source.count // batch_size)


def draws_ahead(source: Source) -> bool:
    """Whether threads may draw its samples, at random perhaps, while nothing is trained.

    On TensorFlow all but arrays. Of a DataLoader elsewhere only processes draw samples.
    """
    if keras.config.backend() == "tensorflow":
        return source.kind != "arrays"
    if source.kind == "PyDataset":
        return bool(source.fit_arguments(1)["x"].workers > 1)
    return source.kind in ("dataset", "generator")


def extent(source: Source) -> Extent:
    varied = getattr(source, "varied", False)
    return Extent(samples=source.count, is_whole=source.is_whole, varied=varied)


def leaves(nest: Any) -> list[Any]:
    """The arrays and tensors in it, without what is None."""
    return [leaf for leaf in keras.tree.flatten(nest) if leaf is not None]


def rows_of_batch(batch: Any) -> int:
    """Samples in a batch: the first dimension that most of its components have."""
    sizes = [rows_of(leaf) for leaf in leaves(batch) if len(leaf.shape)]
    if not sizes:
        raise UserError("A batch of the training data has no arrays in it.")
    return Counter(sizes).most_common(1)[0][0]


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


def cut(nest: Any, start: int, stop: int) -> Any:
    """Rows `start` to `stop` of all leaves that have one for each sample: not of anchors, say.

    Those have an open first dimension, if any has; else that of most.
    """
    firsts = Counter(map(_first_dimension, leaves(nest)))
    samples = None if None in firsts else firsts.most_common(1)[0][0]
    return keras.tree.map_structure(
        lambda leaf: (
            leaf if leaf is None or _first_dimension(leaf) != samples else _rows(leaf, start, stop)
        ),
        nest,
    )


def _first_dimension(leaf: Any) -> Any:
    """None: it is open. 0: there is none."""
    try:
        return leaf.shape[0]
    except IndexError:
        return 0


def _rows(leaf: Any, start: int, stop: int) -> Any:
    if not is_sparse(leaf):
        return leaf[start:stop]
    import tensorflow as tf

    others = leaf.dense_shape[1:]
    first = tf.concat([[start], tf.zeros_like(others)], 0)
    rows = tf.sparse.slice(leaf, first, tf.concat([[stop - start], others], 0))
    rows.set_shape((None, *leaf.shape[1:]))
    return rows


def is_of(library: str, name: str, value: Any) -> bool:
    """Whether it is of that class of a library, which is not imported to tell."""
    module = sys.modules.get(library)
    return module is not None and isinstance(value, getattr(module, name))


def rows_of(leaf: Any) -> int:
    return int(leaf.nrows()) if is_ragged(leaf) else int(leaf.shape[0])


def is_ragged(leaf: Any) -> bool:
    """True for a tf.RaggedTensor, without importing TensorFlow."""
    return type(leaf).__name__ == "RaggedTensor" and hasattr(leaf, "nested_row_lengths")


def is_sparse(leaf: Any) -> bool:
    """True for a tf.SparseTensor, without importing TensorFlow."""
    return type(leaf).__name__ == "SparseTensor"


def needs_tensorflow(leaf: Any) -> bool:
    """As NumPy's functions are not for it: a tf.RaggedTensor, or a tf.Tensor of texts."""
    return is_ragged(leaf) or (type(leaf).__name__ == "EagerTensor" and leaf.dtype.name == "string")


def are_texts(array: npt.NDArray[Any]) -> bool:
    """Whether all are Python strings."""
    return array.dtype == object and all(isinstance(each, str) for each in array.flat)


def bytes_of(nest: Any) -> int:
    """Bytes of all leaves; of texts, those of their letters, too."""
    return sum(_bytes(leaf) for leaf in leaves(nest))


def _bytes(leaf: Any) -> int:
    if is_ragged(leaf):
        return _bytes(leaf.flat_values)
    shape = [int(size) for size in leaf.shape]
    each = int(getattr(leaf.dtype, "itemsize", 0) or leaf.dtype.size)
    return int(np.prod(shape)) * each + _letters(leaf)


def _letters(leaf: Any) -> int:
    if not needs_tensorflow(leaf) and not (isinstance(leaf, np.ndarray) and leaf.dtype == object):
        return 0
    return sum(len(each) for each in np.asarray(leaf).flat if isinstance(each, (str, bytes)))


def _numpy(leaf: Any) -> npt.NDArray[Any]:
    """Without a copy of what is an array already; of a tensor, from whatever device."""
    return leaf if isinstance(leaf, np.ndarray) else keras.ops.convert_to_numpy(leaf)


def nan_phrase(named: dict[str, Any], what: str, *, seconds: float = NAN_SECONDS) -> str | None:
    """A phrase on NaN in `named` nests of arrays, `what` of their rows; None if none was seen.

    What is not looked at within `seconds` is left out, and the phrase says so.
    """
    until = time.monotonic() + seconds
    for name, nest in named.items():
        for leaf in leaves(nest):
            array = _numpy(leaf.flat_values if is_ragged(leaf) else leaf)
            if array.dtype.kind != "f" or not array.ndim:
                continue
            bad, looked = _rows_with_nan(array, until)
            if len(bad):
                whole = what if looked == len(array) else "the first "
                found = f"{len(bad)} of {whole}{looked} samples"
                return f"{name} has NaN in {found} (first: sample {int(bad[0])})"
    return None


def _rows_with_nan(array: npt.NDArray[Any], until: float) -> tuple[npt.NDArray[np.int64], int]:
    """(their places, how many rows were looked at): at some at least, of any array."""
    rows = max(1, LOOK_BYTES // max(1, array[:1].nbytes))
    found, looked = [np.array([], np.int64)], 0
    for start in range(0, len(array), rows):
        bad = np.isnan(array[start : start + rows])
        looked = start + len(bad)
        found.append(start + np.flatnonzero(bad.reshape(len(bad), -1).any(axis=1)))
        if time.monotonic() > until:
            break
    return np.concatenate(found), looked
