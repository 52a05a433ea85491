"""Validation samples held in memory, so that all evaluations are of the same.

Of what is shuffled, a part would be another in each pass; and before what was split off from the
end of a dataset, each pass would draw all that it is trained on.
"""

from collections.abc import Callable, Iterable
from dataclasses import replace
from typing import Any

from autobatch.worker.batches import DatasetBatches
from autobatch.worker.datasets import Unbatched
from autobatch.worker.loaders import LoaderBatches
from autobatch.worker.seeds import random_state_kept, set_seed
from autobatch.worker.source import Source, bytes_of

HELD_BYTES = 512 << 20  # at most


def held(source: Source, most_bytes: float, *, seed: int) -> Source:
    """As drawn once (of a DataLoader by `seed`); as it is where that has more bytes, or is held."""
    most_bytes = min(most_bytes, HELD_BYTES)
    if isinstance(source, LoaderBatches):
        batches: list[Any] = []
        with random_state_kept():
            set_seed(seed)
            is_held = _are_within(most_bytes, source.data, batches.append)
        return source.of(batches) if is_held else source
    if isinstance(source, (Unbatched, DatasetBatches)) and source.kind == "dataset":
        cached = source.data.cache()
        return replace(source, data=cached) if _are_within(most_bytes, cached) else source
    return source


def _are_within(
    most_bytes: float, drawn: Iterable[Any], keep: Callable[[Any], None] = lambda each: None
) -> bool:
    """Whether all that is drawn has no more bytes: a cache is then filled."""
    for each in drawn:
        most_bytes -= bytes_of(each)
        if most_bytes < 0:
            return False
        keep(each)
    return True
