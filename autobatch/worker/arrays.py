"""Samples in arrays: `x`, `y`, `sample_weight`, each an array or a nest (dict, tuple) of arrays.

The first axis of every array is the sample. A tf.RaggedTensor is an array here, and so are texts: a
tf.Tensor of them, as Keras makes of a NumPy array of Python strings.
"""

from dataclasses import dataclass
from typing import Any, ClassVar

import keras
import numpy as np
import numpy.typing as npt

from autobatch.protocol import DataKind
from autobatch.worker.mistakes import UserError
from autobatch.worker.source import (
    are_texts,
    cut,
    is_of,
    is_ragged,
    leaves,
    needs_tensorflow,
    rows_of,
)

FINGERPRINT_ROWS = 256


@dataclass(frozen=True)
class Arrays:
    """All leaves have `count` rows; `shuffled` is False where the order is to be kept."""

    kind: ClassVar[DataKind] = "arrays"
    x: Any
    y: Any
    sample_weight: Any
    count: int
    shuffled: bool = True

    @property
    def is_whole(self) -> bool:
        return True

    @property
    def notes(self) -> tuple[str, ...]:
        lengths = self._lengths()
        if lengths is None:
            return ()
        return (
            f"Samples vary in length ({lengths.min()} to {lengths.max()}): probes use the longest "
            f"of all {self.count}.",
        )

    def fit_arguments(self, batch_size: int) -> dict[str, Any]:
        given = {"x": self.x, "y": self.y, "sample_weight": self.sample_weight}
        return given | {"batch_size": batch_size} | ({} if self.shuffled else {"shuffle": False})

    def fit_call(self, loading: str) -> str:
        given = "x" if self.y is None else "x, y"
        weighted = ", sample_weight=sample_weight" if self.sample_weight is not None else ""
        ordered = "" if self.shuffled else ", shuffle=False"
        return f"model.fit({given}{weighted}, batch_size={{size}}{ordered})"

    def part(self, count: int) -> "Arrays":
        return self.rows(0, count)

    def rows(self, start: int, stop: int) -> "Arrays":
        """Samples `start` to `stop`, without a copy."""
        stop = min(stop, self.count)
        x, y, weight = cut((self.x, self.y, self.sample_weight), start, stop)
        return Arrays(x, y, weight, stop - start, self.shuffled)

    def longest(self, batch_size: int) -> "Arrays":
        lengths = self._lengths()
        if lengths is None:
            return self
        return self._taken(np.argsort(-lengths, kind="stable")[:batch_size])

    def spread(self, count: int, *, seed: int) -> "Arrays":
        """`count` of the samples at random, in their order: a copy."""
        return self._taken(np.sort(np.random.default_rng(seed).permutation(self.count)[:count]))

    def _taken(self, rows: npt.NDArray[np.int64]) -> "Arrays":
        def take(leaf: Any) -> Any:
            if leaf is None:
                return None
            if not needs_tensorflow(leaf):
                return leaf[rows]
            import tensorflow as tf

            return tf.gather(leaf, rows)

        x, y, weight = keras.tree.map_structure(take, (self.x, self.y, self.sample_weight))
        return Arrays(x, y, weight, len(rows), shuffled=False)

    def after(self, first: "Arrays") -> "Arrays":
        import tensorflow as tf

        def joined(one: Any, other: Any) -> Any:
            if one is None:
                return None
            return (tf.concat if needs_tensorflow(one) else np.concatenate)([one, other], 0)

        x, y, weight = keras.tree.map_structure(
            joined, (first.x, first.y, first.sample_weight), (self.x, self.y, self.sample_weight)
        )
        return Arrays(x, y, weight, first.count + self.count, shuffled=False)

    def fingerprint(self) -> list[bytes]:
        """Shapes, types, and rows from both ends of every array."""
        found = []
        for leaf in leaves((self.x, self.y, self.sample_weight)):
            array = np.asarray(leaf.flat_values if is_ragged(leaf) else leaf)
            found += [
                f"{array.dtype}{array.shape}".encode(),
                _bytes_of(array[:FINGERPRINT_ROWS]),
                _bytes_of(array[-FINGERPRINT_ROWS:]),
            ]
        return found

    def _lengths(self) -> Any:
        """What makes each sample long; None where nothing varies so."""
        found = None
        for leaf in leaves((self.x, self.y)):
            lengths = _lengths_of_rows(leaf) if needs_tensorflow(leaf) else None
            if lengths is not None:
                found = lengths if found is None else found + lengths
        return found


def arrays(part: Any, source: str) -> Arrays:
    """`part` (x, (x, y) or (x, y, sample_weight)) checked: same number of rows everywhere."""
    given = part if isinstance(part, (tuple, list)) else (part,)
    names = ("x", "y", "sample_weight")
    nests = [
        keras.tree.map_structure(lambda leaf, name=name: _array(leaf, f"{source}: {name}"), nest)
        for name, nest in zip(names, given, strict=False)
    ]
    counts = {
        name: sorted({rows_of(leaf) for leaf in leaves(nest)})
        for name, nest in zip(names, nests, strict=False)
    }
    lengths = sorted({length for found in counts.values() for length in found})
    if len(lengths) != 1:
        told = ", ".join(
            f"{name} {' and '.join(map(str, found))}" for name, found in counts.items()
        )
        raise UserError(
            f"{source} has arrays of unequal length: {told} samples.",
            hint="Every array of a part must have one row per sample. Return (train, validation), "
            "such as ((x_train, y_train), (x_val, y_val)), without a part for tests.",
        )
    if lengths[0] == 0:
        raise UserError(f"{source} is empty.", hint="Return at least one sample.")
    x, y, weight = (*nests, None, None)[:3]
    return Arrays(x, y, weight, lengths[0])


def _lengths_of_rows(leaf: Any) -> Any:
    """Values of each row of a ragged tensor; bytes of each row of texts, if those vary."""
    import tensorflow as tf

    if is_ragged(leaf):
        flat = leaf.merge_dims(1, leaf.ragged_rank) if leaf.ragged_rank > 1 else leaf
        return flat.row_lengths().numpy().astype("int64")
    lengths = tf.strings.length(leaf).numpy().reshape(len(leaf), -1).sum(axis=1, dtype="int64")
    return lengths if np.ptp(lengths) else None


def _bytes_of(rows: npt.NDArray[Any]) -> bytes:
    return repr(rows.tolist()).encode() if rows.dtype == object else rows.tobytes()


def _array(leaf: Any, source: str) -> Any:
    if leaf is None or needs_tensorflow(leaf):
        return leaf
    array = as_numpy(leaf)
    if array.dtype.kind in "OSU" and array.ndim:
        return _texts(array, source)
    if array.ndim == 0:
        raise UserError(
            f"{source} has a {type(leaf).__qualname__} where an array is needed, with one row for "
            "each sample.",
            hint="Give NumPy arrays: numpy.array(rows) of lists, matrix.toarray() of a sparse one.",
        )
    return array


def as_numpy(leaf: Any) -> npt.NDArray[Any]:
    """What Keras trains on of an array, of pandas, or of a tensor of numbers."""
    if is_of("torch", "Tensor", leaf):
        return np.asarray(leaf.numpy(force=True))  # from whatever device
    array = np.asarray(_of_one_type(leaf) if is_of("pandas", "DataFrame", leaf) else leaf)
    if is_of("pandas", "Series", leaf) and array.dtype.kind not in "OSU":
        return array[:, None]  # a column, as Keras makes of it
    return array


def _of_one_type(frame: Any) -> Any:
    """As Keras casts it: of numbers and booleans, NumPy would make objects."""
    kinds = {dtype.kind for dtype in frame.dtypes}
    return frame.astype(keras.config.floatx()) if "f" in kinds <= {*"fiub"} else frame


def _texts(array: npt.NDArray[Any], source: str) -> Any:
    """As Keras takes them: Python strings in a row, and with TensorFlow alone."""
    if not are_texts(array) or array.ndim > 1 or keras.config.backend() != "tensorflow":
        raise UserError(
            f"{source} is an array of dtype {array.dtype} and shape {array.shape}, which Keras "
            f"does not train on with {keras.config.backend()}.",
            hint="Give arrays of numbers. Rows of unequal length: tf.ragged.constant(rows), "
            "keras.utils.pad_sequences(rows), or a keras.utils.PyDataset. Texts, with TensorFlow: "
            "numpy.array(texts, dtype=object), tf.constant(texts), or a tf.data.Dataset.",
        )
    import tensorflow as tf

    return tf.convert_to_tensor(array, dtype="string")


def itemsize(dtype: str) -> int:
    """Bytes of one number, of a Keras type."""
    return np.dtype({"bfloat16": "float16"}.get(dtype, dtype)).itemsize
