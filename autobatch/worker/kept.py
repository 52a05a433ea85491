"""What is slow to load, kept in a file for the processes to come: loading is paid once.

Of what a loader returns only arrays can be kept (and tuples, lists and dicts of them), and what
Keras makes arrays of; of what `load_once` returns, whatever can be pickled. Arrays are
memory-mapped, so that a process reads what it uses, from memory that all processes share.
"""

import mmap
import os
import shutil
import time
from contextlib import suppress
from pathlib import Path
from typing import Any

import joblib
import keras
import numpy as np
import numpy.typing as npt

from autobatch.units import format_bytes, format_duration
from autobatch.worker.arrays import as_numpy
from autobatch.worker.frames import no_memory
from autobatch.worker.generators import is_generator
from autobatch.worker.source import are_texts, bytes_of, is_of, needs_tensorflow

SLOW_SECONDS = 1.0  # a loader that takes longer is worth it
SPARE_SHARE = 0.5  # of the free disk space that may be taken
IN_ONCE = "in a `load_once()` beside it, whose result it is given as `loaded`"
COPIED_BYTES_PER_SECOND = 200 << 20  # by most disks, at least: files may be read from memory sooner


def keep(
    loaded: Any,
    path: Path,
    seconds: float,
    source: str,
    *,
    is_for_one_size: bool,
    again_since: str | None,
) -> str | None:
    """Keep what took `seconds` to load. Returns a sentence for the user where that is worth one.

    What was asked for with a batch size may be another with the next one. With `again_since` it is
    not kept: that is why it is called in every process.
    """
    if seconds < SLOW_SECONDS:
        return None
    told = told_again(source, seconds, loaded)
    if again_since:
        path.unlink(missing_ok=True)
        return f"{told}, since {again_since}."
    try:
        loaded = loaded if is_for_one_size else keras.tree.map_structure(_numpy, loaded)
    except Exception as error:  # of any type, as a library has it
        return f"{told}: {_why_not(error)}."
    if is_for_one_size or not all(map(_is_array, keras.tree.flatten(loaded))):
        return f"{told}. Of arrays, without batch_size, that would be paid once, as {IN_ONCE}."
    why_not = written(loaded, path, seconds)
    if why_not:
        return f"{told}: {why_not}."
    size = format_bytes(path.stat().st_size)
    took = format_duration(seconds)
    return f"{source} took {took}; its arrays ({size}) are kept for the processes of this run."


def told_again(source: str, seconds: float, loaded: Any) -> str:
    """That it is called so often, where the loader returned `loaded`."""
    told = f"{source} took {format_duration(seconds)}, and it is called again in each process"
    if any(map(is_generator, keras.tree.flatten(loaded))):
        told += ", and whenever a generator of it has ended"
    return told


def written(value: Any, path: Path, seconds: float) -> str | None:
    """Why what took so long to load is not in that file now; None where it is.

    Once it was kept, the other processes of a command have it.
    """
    leaves = [leaf for leaf in keras.tree.flatten(value) if leaf is not None]
    aside, needed = path.with_suffix(".tmp"), sum(map(_bytes, leaves))
    if path.exists():
        return None
    ours = Path(os.path.normpath(path.parent))  # as NumPy names the files that it maps
    if any(_is_mapped(leaf, ours) for leaf in leaves):
        return "of files that it maps into memory no copy is kept"
    if max(seconds, SLOW_SECONDS) < needed / COPIED_BYTES_PER_SECOND:
        return f"a copy of {format_bytes(needed)} may take longer"
    try:
        if needed > SPARE_SHARE * shutil.disk_usage(path.parent).free:
            return f"the disk has no room to keep {format_bytes(needed)}"
        joblib.dump(value, aside)
        began = time.perf_counter()
        joblib.load(aside, mmap_mode="c")
        if time.perf_counter() - began > max(seconds, SLOW_SECONDS):  # many small objects
            aside.unlink()
            return "to read a copy takes longer"
        aside.replace(path)
    except Exception as error:  # of any type: what cannot be pickled says so in its own way
        aside.unlink(missing_ok=True)
        return _why_not(error)
    return None


def _why_not(error: Exception) -> str:
    """There is no copy."""
    if no_memory(error):
        return "memory is not enough for a copy"
    if isinstance(error, OSError):
        return f"a copy of it cannot be written ({error.strerror or error})"
    why = f"{type(error).__name__}: {error}"
    return f"what it returns cannot be kept, as arrays, texts and numbers can ({why})"


def kept(path: Path) -> Any:
    """What was kept there, memory-mapped."""
    # Copy-on-write: what the user's code writes into its arrays stays in its process.
    return joblib.load(path, mmap_mode="c")


def write_parameters(path: Path, count: int) -> None:
    """Of the model that was built after what is kept there, or beside it, was loaded."""
    with suppress(OSError):  # the disk is full
        Path(f"{path}-parameters").write_text(f"{count}")


def read_parameters(path: Path) -> int | None:
    """None: it may be of any."""
    try:
        return int(Path(f"{path}-parameters").read_text())
    except (OSError, ValueError):
        return None


def _numpy(leaf: Any) -> Any:
    """The array that `fit` is given in any case where the user has a frame or a tensor."""
    return as_numpy(leaf) if hasattr(leaf, "__array__") and not needs_tensorflow(leaf) else leaf


def _is_array(leaf: Any) -> bool:
    return leaf is None or (
        isinstance(leaf, np.ndarray) and (leaf.dtype != object or are_texts(leaf))
    )


def _bytes(leaf: Any) -> int:
    """As far as they can be told without pickling it: not of what is sparse."""
    if isinstance(leaf, np.ndarray) or type(leaf).__name__ == "EagerTensor":
        return bytes_of(leaf)
    if is_of("pandas", "DataFrame", leaf):
        return int(leaf.memory_usage().sum())
    with suppress(RuntimeError):  # PyTorch's answer for a sparse tensor
        return int(getattr(leaf, "nbytes", 0))
    return 0


def _is_frame(leaf: Any) -> bool:
    return is_of("pandas", "DataFrame", leaf) or is_of("pandas", "Series", leaf)


def _is_mapped(leaf: Any, ours: Path) -> bool:
    """Whether its data is a file's, as of np.load(..., mmap_mode="r"), or a part of one's.

    But not what was kept in the folder `ours`.
    """
    while isinstance(leaf, np.ndarray):
        if isinstance(leaf, np.memmap) and Path(str(leaf.filename)).parent == ours:
            return False
        leaf = leaf.base
    return isinstance(leaf, mmap.mmap)


def mapped_bytes(loaded: Any, *, is_pickled: bool = False) -> int:
    """Of the memory that arrays lie in which are mapped once they are kept; of views, once.

    Windows that overlap are many times as large in the file. Texts are not mapped, but read.
    Frames are mapped, and tensors where arrays were made of them: not where all `is_pickled`.
    """
    leaves = keras.tree.flatten(loaded)
    arrays = [leaf for leaf in leaves if isinstance(leaf, np.ndarray)]
    others = [leaf for leaf in leaves if not isinstance(leaf, np.ndarray)]
    if is_pickled:
        others = [leaf for leaf in others if _is_frame(leaf)]
    ends = sorted(_ends(each) for each in arrays if each.size and each.dtype != object)
    held, beyond = sum(map(_bytes, others)), 0
    for start, end in ends:
        held += max(0, end - max(start, beyond))
        beyond = max(beyond, end)
    return held


def _ends(array: npt.NDArray[Any]) -> tuple[int, int]:
    """The addresses between which its elements lie."""
    spans = [(size - 1) * step for size, step in zip(array.shape, array.strides, strict=True)]
    first = int(array.ctypes.data)
    before = sum(each for each in spans if each < 0)
    return first + before, first + sum(spans) - before + array.itemsize
