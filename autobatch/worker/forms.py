"""The forms in which a user's `load_data` may return training and validation data, told apart."""

from collections.abc import Iterator
from typing import Any

import keras

from autobatch.worker.datasets import is_dataset
from autobatch.worker.loaders import is_loader, is_unbatched
from autobatch.worker.mistakes import UserError


def is_pair(loaded: Any) -> bool:
    """True for (train, validation), each a dataset or itself a tuple or list of one to three."""
    if not isinstance(loaded, (tuple, list)) or len(loaded) != 2:
        return False
    return _is_part(loaded[0]) and (loaded[1] is None or _is_part(loaded[1]))


def is_samples(part: Any) -> bool:
    """True for arrays: x, (x, y) or (x, y, sample_weight)."""
    if isinstance(part, (tuple, list)):
        return 1 <= len(part) <= 3
    return hasattr(part, "shape") or isinstance(part, dict)


def refuse_several(loaded: Any, source: str) -> None:
    """Datasets in a tuple, list or dict, which are not a pair."""
    parts = list(loaded.values()) if isinstance(loaded, dict) else loaded
    if not isinstance(parts, (tuple, list)) or not any(map(_gives_batches, parts)):
        return
    kinds = ", ".join(type(part).__name__ for part in parts)
    raise UserError(
        f"{source} returns a {type(loaded).__name__} of {len(parts)} ({kinds}), not (train, "
        "validation).",
        hint="Return a tuple of two, the training and the validation data (a part for tests is "
        "not used); or the training data alone.",
    )


def _is_part(part: Any) -> bool:
    if isinstance(part, (tuple, list)):
        return 1 <= len(part) <= 3
    return _gives_batches(part) or is_unbatched(part)


def _gives_batches(part: Any) -> bool:
    return (
        is_dataset(part) or is_loader(part) or isinstance(part, (keras.utils.PyDataset, Iterator))
    )
