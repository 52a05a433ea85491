"""The files of tf.data.Dataset.cache(filename): unless they are complete, each process has its own.

Only one may write them at a time; and who ends before the data does, as measurements do, leaves a
lock behind, with which no other begins.
"""

import functools
import gc
import hashlib
import os
import sys
from pathlib import Path
from typing import Any

BATCH_LATER = (
    "A file of .cache(filename) keeps batches of the size that they had when it was written: put "
    ".batch(batch_size) after the cache, and remove the file."
)
_given: set[str] = set()  # by the user, in this process


def write_beside(prefix: str) -> None:
    """From now on files that are not complete are others, whose paths begin with `prefix`.

    "": there are none, for who draws from the data twice at a time.
    """
    tf = sys.modules.get("tensorflow")
    if tf is None:
        return
    cache_of_theirs = tf.data.Dataset.cache

    @functools.wraps(cache_of_theirs)
    def cache(dataset: Any, filename: Any = "", name: str | None = None) -> Any:
        if isinstance(filename, (str, os.PathLike)) and (given := os.fspath(filename)):
            _given.add(given)
            if not _is_complete(given):
                if not prefix:
                    return dataset
                filename = f"{prefix}.{hashlib.sha256(given.encode()).hexdigest()[:8]}"
        return cache_of_theirs(dataset, filename, name)

    tf.data.Dataset.cache = cache


def let_go() -> None:
    """Of the locks of epochs that were left: their iterators are in cycles."""
    if _given:
        gc.collect()


def holds_batches(dataset: Any) -> bool:
    """Whether its batches are out of a complete file: they are as large as they were then."""
    from autobatch.worker.datasets import BATCHING, class_of  # which has Keras

    kind = class_of(dataset)
    if kind in BATCHING:
        return False
    is_file = kind == "Cache" and _is_complete(os.fsdecode(dataset._filename.numpy()))
    return is_file or any(map(holds_batches, dataset._inputs()))


def notes() -> tuple[str, ...]:
    missing = sorted(given for given in _given if not _is_complete(given))
    if not missing:
        return ()
    return (
        f"The cache of a tf.data.Dataset in {', '.join(missing)} is not complete, so that what is "
        "measured draws from what it is made of: one whole epoch of your own completes it.",
    )


def _is_complete(given: str) -> bool:
    return Path(f"{given}.index").exists()
