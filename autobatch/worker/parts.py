"""Fewer of the samples: as many as are asked for, or what makes up whole parts."""

from autobatch.worker.arrays import Arrays
from autobatch.worker.batches import DatasetBatches
from autobatch.worker.mistakes import UserError
from autobatch.worker.pydatasets import PythonBatches
from autobatch.worker.source import Source


def fewer(source: Source, count: int, *, unit: int, seed: int) -> Source:
    """`count` samples, in whole parts of `unit`: of arrays at random, by `seed`; else the first."""
    count = max(1, count // unit) * unit
    if isinstance(source, Arrays):
        return source.spread(count, seed=seed)
    if isinstance(source, (DatasetBatches, PythonBatches)) and count < source.count:
        return source.first(count)
    return source.part(count)


def in_parts_of(source: Source, size: int, name: str, *, replicas: int = 1) -> Source | None:
    """The samples without those that do not make up a whole part of `size`; None: they are fewer.

    Raises UserError where batches that the user built cannot be shared by `replicas`.
    """
    if not isinstance(source, (DatasetBatches, PythonBatches)):
        if source.count % size == 0 and source.is_whole:
            return source
        return source.part(source.count // size * size) if source.count >= size else None
    are_shared = source.size % replicas == 0
    if replicas == 1 or (are_shared and source.count % size == 0):
        return source  # as built by the user
    raise UserError(
        f"{name} builds {'a last batch' if are_shared else 'batches'} that {replicas} replicas "
        "cannot share in equal parts, as this backend has it.",
        hint="Build them of a multiple, without a remainder (drop_remainder).",
    )
