"""Some training samples at once, whatever the size of the batches that they come in."""

from typing import Any

import keras
import numpy as np

from autobatch.worker.backends import Backend
from autobatch.worker.source import (
    Source,
    cut,
    inner_shapes,
    is_ragged,
    is_sparse,
    leaves,
    needs_tensorflow,
    rows_of,
    rows_of_batch,
)


def sample(
    source: Source, count: int, backend: Backend, class_weight: dict[int, float] | None = None
) -> list[Any]:
    """`count` samples of an epoch (all, if it has fewer), on the device, in one batch.

    In several, and at least so many, where the user's batches cannot be joined: their samples
    vary in shape.
    """
    arguments = source.fit_arguments(count) | {"class_weight": class_weight}
    found = _drawn(arguments, count, backend)
    return [_joined(found)] if _are_alike(found) else found


def groups(source: Source, count: int, size: int, backend: Backend) -> list[Any]:
    """So many samples in batches of `size`, without the rest that fills none.

    They are alike however large the user's batches are, but for those that cannot be joined.
    Several are in the machine's memory: the device may have no room for them beside a training.
    """
    found = _drawn(source.fit_arguments(size), count, backend, on_host=count > size)
    if not _are_alike(found) or any(is_sparse(leaf) for batch in found for leaf in leaves(batch)):
        return found
    whole = _joined(found)
    rows = rows_of_batch(whole)
    if rows <= size:
        return [whole]
    return [cut(whole, start, start + size) for start in range(0, rows - size + 1, size)]


def _drawn(
    arguments: dict[str, Any], count: int, backend: Backend, *, on_host: bool = False
) -> list[Any]:
    """`count` samples in the batches that they come in."""
    found: list[Any] = []
    rows = 0
    for batch in backend.batches(arguments):
        found.append(keras.tree.map_structure(_on_host, batch) if on_host else batch)
        rows += rows_of_batch(batch)
        if rows >= count:
            break
    if rows > count and all(map(_is_plain, found)):
        found[-1] = cut(found[-1], 0, rows_of_batch(found[-1]) - (rows - count))
    return found


def _are_alike(batches: list[Any]) -> bool:
    return len({inner_shapes(batch) for batch in batches}) == 1 and all(map(_is_plain, batches))


def _is_plain(batch: Any) -> bool:
    """Whether the first axis of all is the sample."""
    rows = rows_of_batch(batch)
    return all(
        not is_ragged(leaf) and len(leaf.shape) > 0 and rows_of(leaf) == rows
        for leaf in leaves(batch)
    )


def _on_host(leaf: Any) -> Any:
    if leaf is None or needs_tensorflow(leaf) or is_sparse(leaf):  # which NumPy would make dense
        return leaf
    return keras.ops.convert_to_numpy(leaf)


def _joined(batches: list[Any]) -> Any:
    if len(batches) == 1:
        return batches[0]

    def joined(*parts: Any) -> Any:
        if parts[0] is None:
            return None
        if isinstance(parts[0], np.ndarray):
            return np.concatenate(parts)
        return keras.ops.concatenate(parts, axis=0)

    return keras.tree.map_structure(joined, *batches)
