"""Fewer of the samples: as many as asked for, what makes up whole parts, or all but the last."""

from collections.abc import Sequence

from autobatch.protocol import Extent
from autobatch.worker.arrays import Arrays
from autobatch.worker.batches import Built
from autobatch.worker.datasets import Unbatched
from autobatch.worker.mistakes import UserError
from autobatch.worker.order import shuffles
from autobatch.worker.source import Source

VALIDATION_SHARE = 0.2  # split off where the user has none, from the end, as Keras does


def fewer(source: Source, count: int, *, unit: int, seed: int) -> Source:
    """`count` samples, in whole parts of `unit`: of arrays at random, by `seed`; else the first.

    Whole batches of what drops its remainder: a step of the user's may be for one shape alone.
    """
    if isinstance(source, Built) and source.drops_remainder:
        unit = source.size
    count = max(1, count // unit) * unit
    if isinstance(source, Arrays):
        return source.spread(count, seed=seed)
    if isinstance(source, Built) and count < source.count:
        return source.ending(count, is_distinct=True)
    return source.part(count)


def in_parts_of(source: Source, size: int, name: str, *, replicas: int = 1) -> Source | None:
    """The samples without those that do not make up a whole part of `size`; None: they are fewer.

    Raises UserError where batches that the user built cannot be shared by `replicas`.
    """
    if not isinstance(source, Built):
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


def may_be_for(source: Source, size: int, inspected: Sequence[Extent]) -> bool:
    """Whether the loader, told that size, may have built batches of it, or cut arrays to some.

    Arrays that have as many samples as the first of those `inspected` are cut alike.
    """
    if isinstance(source, Built):
        return source.is_for(size)
    is_alike = any(known.samples == source.count for known in inspected[:1])
    return isinstance(source, Arrays) and source.count % size == 0 and not is_alike


def split(whole: Source, name: str) -> tuple[Source, Source | None, str]:
    """(training, validation, a sentence on them): `whole` without its last part, if it has one."""
    held_out = int(whole.count * VALIDATION_SHARE)
    kept = whole.count - held_out
    if held_out == 0:
        few = f"{whole.count} samples are too few to split off any for validation."
        return whole, None, few
    if isinstance(whole, Arrays):
        train: Source = whole.rows(0, kept)
        validation: Source = whole.rows(kept, whole.count)
    elif isinstance(whole, Unbatched) and not shuffles(whole.data):
        train, validation = whole.part(kept), whole.part(whole.count).without(kept)
    else:
        why = (
            f"{name} returned one dataset, which is shuffled or comes in batches, so that no "
            "part of it can be kept from training: there is no validation data."
        )
        return whole, None, why
    note = (
        f"{name} returned one dataset: its last {held_out} of {whole.count} samples "
        f"({VALIDATION_SHARE:.0%}) are used for validation."
    )
    return train, validation, note
