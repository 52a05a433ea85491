"""The user's data as arrays: checked, split if need be; or synthetic samples.

A `Samples` is what `fit` takes: `x`, `y`, `sample_weight`, each an array or a nest (dict, tuple) of
arrays whose first axis is the sample.
"""

import hashlib
from dataclasses import dataclass
from typing import Any

import keras
import numpy as np

from autobatch.protocol import Target
from autobatch.worker.mistakes import TargetError, UserError
from autobatch.worker.synthetic import synthetic_samples
from autobatch.worker.target import arguments, find_callable

VALIDATION_SHARE = 0.2  # split off where the user has none, from the end, as Keras does
FINGERPRINT_ROWS = 256


@dataclass(frozen=True)
class Samples:
    """Training or validation samples; all leaves have `count` rows."""

    x: Any
    y: Any
    sample_weight: Any
    count: int

    def rows(self, start: int, stop: int) -> "Samples":
        """Samples `start` to `stop`, without a copy."""

        def cut(leaf: Any) -> Any:
            return None if leaf is None else leaf[start:stop]

        x, y, weight = keras.tree.map_structure(cut, (self.x, self.y, self.sample_weight))
        return Samples(x, y, weight, min(stop, self.count) - start)

    def fit_arguments(self) -> dict[str, Any]:
        return {"x": self.x, "y": self.y, "sample_weight": self.sample_weight}

    def validation_data(self) -> tuple[Any, ...]:
        given = (self.x, self.y, self.sample_weight)
        return given if self.sample_weight is not None else given[:2]


@dataclass(frozen=True)
class Data:
    train: Samples
    validation: Samples | None
    source: str
    notes: tuple[str, ...] = ()


def load(target: Target, model: keras.Model, *, samples: int) -> Data:
    """The user's data; where they give none, `samples` synthetic ones that fit the model."""
    loader = _find_loader(target)
    if loader is None:
        x, y = synthetic_samples(model, samples, seed=target.seed)
        train = Samples(x, y, None, samples)
        return Data(train, None, "synthetic", ("No data given: samples are synthetic.",))
    loaded = loader(**arguments(loader, target, {}, role="data"))
    train, validation, notes = _split(loaded, str(target.data))
    return Data(train, validation, str(target.data), notes)


def _find_loader(target: Target) -> Any:
    if target.data is None:
        return None
    try:
        return find_callable(target, target.data, role="data")
    except TargetError:
        if target.data_is_optional:
            return None
        raise


def _split(loaded: Any, source: str) -> tuple[Samples, Samples | None, tuple[str, ...]]:
    if _is_pair(loaded):
        train = _samples(loaded[0], f"{source}, training data")
        return train, _samples(loaded[1], f"{source}, validation data"), ()
    whole = _samples(loaded, source)
    held_out = int(whole.count * VALIDATION_SHARE)
    if held_out == 0:
        return whole, None, (f"{whole.count} samples are too few to split off any for validation.",)
    kept = whole.count - held_out
    note = (
        f"{source} returned one dataset: its last {held_out} of {whole.count} samples "
        f"({VALIDATION_SHARE:.0%}) are used for validation."
    )
    return whole.rows(0, kept), whole.rows(kept, whole.count), (note,)


def _is_pair(loaded: Any) -> bool:
    """True for (train, validation), each itself a tuple or list of two or three."""
    return (
        isinstance(loaded, (tuple, list))
        and len(loaded) == 2
        and all(isinstance(part, (tuple, list)) and len(part) in (2, 3) for part in loaded)
    )


def _samples(part: Any, source: str) -> Samples:
    if not isinstance(part, (tuple, list)) or len(part) not in (2, 3):
        raise UserError(
            f"{source} is {type(part).__module__}.{type(part).__qualname__}; "
            "this version takes (x, y) or (x, y, sample_weight) of arrays.",
            hint="Return ((x_train, y_train), (x_val, y_val)) of NumPy arrays.",
        )
    names = ("x", "y", "sample_weight")
    nests = [
        keras.tree.map_structure(lambda leaf, name=name: _array(leaf, f"{source}: {name}"), nest)
        for name, nest in zip(names, part, strict=False)
    ]
    counts = {
        name: sorted({len(leaf) for leaf in keras.tree.flatten(nest)})
        for name, nest in zip(names, nests, strict=False)
    }
    lengths = sorted({length for found in counts.values() for length in found})
    if len(lengths) != 1:
        told = ", ".join(
            f"{name} {' and '.join(map(str, found))}" for name, found in counts.items()
        )
        raise UserError(
            f"{source} has arrays of unequal length: {told} samples.",
            hint="Every array must have one row per sample.",
        )
    if lengths[0] == 0:
        raise UserError(f"{source} is empty.", hint="Return at least one sample.")
    x, y = nests[:2]
    return Samples(x, y, nests[2] if len(nests) == 3 else None, lengths[0])


def _array(leaf: Any, source: str) -> np.ndarray[Any, Any]:
    array = np.asarray(leaf)
    if array.dtype == object or array.ndim == 0:
        raise UserError(
            f"{source} is {type(leaf).__qualname__} of dtype {array.dtype} and shape "
            f"{array.shape}, not an array of numbers with one row per sample.",
        )
    return array


def nan_report(samples: Samples) -> str | None:
    """A sentence on NaN among the samples; None if there are none."""
    for name, nest in (("x", samples.x), ("y", samples.y)):
        for leaf in keras.tree.flatten(nest):
            if leaf.dtype.kind != "f":
                continue
            bad = np.isnan(leaf).reshape(len(leaf), -1).any(axis=1)
            if bad.any():
                return (
                    f"{name} has NaN in {int(bad.sum())} of {len(leaf)} samples "
                    f"(first: sample {int(bad.argmax())})"
                )
    return None


def fingerprint(data: Data) -> str:
    """A hash of shapes, types, and rows from both ends of every array."""
    digest = hashlib.sha256()
    for part in (data.train, data.validation):
        for leaf in keras.tree.flatten(None if part is None else part.fit_arguments()):
            if leaf is None:
                continue
            digest.update(f"{leaf.dtype}{leaf.shape}".encode())
            digest.update(np.ascontiguousarray(leaf[:FINGERPRINT_ROWS]).tobytes())
            digest.update(np.ascontiguousarray(leaf[-FINGERPRINT_ROWS:]).tobytes())
    return digest.hexdigest()[:16]
