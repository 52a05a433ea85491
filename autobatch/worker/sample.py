"""Some training samples at once, whatever the size of the batches that they come in."""

from typing import Any

import keras

from autobatch.worker.backends import Backend
from autobatch.worker.batches import cut, inner_shapes, rows_of_batch
from autobatch.worker.source import Source, is_ragged, leaves, rows_of


def sample(
    source: Source, count: int, backend: Backend, class_weight: dict[int, float] | None = None
) -> list[Any]:
    """`count` samples of an epoch (all, if it has fewer), on the device, in one batch.

    In several, and at least so many, where the user's batches cannot be joined: their samples
    vary in shape.
    """
    found: list[Any] = []
    rows = 0
    for batch in backend.batches(source.fit_arguments(count) | {"class_weight": class_weight}):
        found.append(batch)
        rows += rows_of_batch(batch)
        if rows >= count:
            break
    if rows > count and all(map(_is_plain, found)):
        found[-1] = cut(found[-1], rows_of_batch(found[-1]) - (rows - count))
    alike = len({inner_shapes(batch) for batch in found}) == 1 and all(map(_is_plain, found))
    return [_joined(found)] if alike else found


def _is_plain(batch: Any) -> bool:
    """Whether the first axis of all is the sample."""
    rows = rows_of_batch(batch)
    return all(
        not is_ragged(leaf) and len(leaf.shape) > 0 and rows_of(leaf) == rows
        for leaf in leaves(batch)
    )


def _joined(batches: list[Any]) -> Any:
    if len(batches) == 1:
        return batches[0]
    return keras.tree.map_structure(
        lambda *parts: None if parts[0] is None else keras.ops.concatenate(parts, axis=0),
        *batches,
    )
