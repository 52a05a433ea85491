"""Samples in an unbatched tf.data.Dataset, which we batch; and telling whether it is unbatched."""

import heapq
import time
from dataclasses import dataclass, replace
from typing import Any, ClassVar

import keras

from autobatch.protocol import DataKind
from autobatch.worker.mistakes import UserError
from autobatch.worker.source import Look, bytes_of, leaves, needs_tensorflow

LOOK_SECONDS, LOOK_SAMPLES = 5.0, 10_000  # for the longest samples, and whether any is longer
# Layers to which a text is one of many, however long it is.
LOOKUPS = ("StringLookup", "Hashing", "HashedCrossing")
# Among the classes of tf.data: what makes batches, and what passes them through as they are.
BATCHING = ("Batch", "ParallelBatch", "PaddedBatch", "ParallelMapAndBatch")
TRANSPARENT = (
    *("Prefetch", "Options", "Shuffle", "Cache", "Take", "Skip", "Repeat", "Shard", "Filter"),
    *("Map", "ParallelMap", "Zip", "Concatenate", "AssertCardinality"),
)
# Where it is taken for batches: shapes alone may have told, of a model that has no inputs yet.
OR_SAMPLES = (
    "; or leave out .batch() (or add .unbatch()). If it has single samples, of varying length, use "
    ".padded_batch(batch_size) there, or begin the model with keras.Input"
)


@dataclass(frozen=True)
class Unbatched:
    """A dataset of single samples. Where they vary in size, batches are padded, ragged or texts."""

    kind: ClassVar[DataKind] = "dataset"
    data: Any
    count: int
    padded: bool = False
    varied: bool = False
    notes: tuple[str, ...] = ()
    is_whole: bool = True

    def fit_arguments(self, batch_size: int) -> dict[str, Any]:
        import tensorflow as tf

        batch = self.data.padded_batch if self.padded else self.data.batch
        return {"x": batch(batch_size).prefetch(tf.data.AUTOTUNE)}

    def fit_call(self, loading: str) -> str:
        batch = "padded_batch" if self.padded and self.varied else "batch"
        return f"model.fit(train.{batch}({{size}}))"

    def part(self, count: int) -> "Unbatched":
        count = min(count, self.count) if self.is_whole else count
        return replace(self, data=self.data.take(count), count=count)

    def without(self, count: int) -> "Unbatched":
        """All but the first `count` samples."""
        return replace(self, data=self.data.skip(count), count=self.count - count)

    def longest(self, batch_size: int) -> "Unbatched":
        """The largest of the samples looked at, in memory."""
        if not self.varied:
            return self
        import tensorflow as tf

        largest: list[tuple[int, int, Any]] = []
        until = time.monotonic() + LOOK_SECONDS
        for index, sample in enumerate(self.data.take(max(LOOK_SAMPLES, batch_size))):
            keep = heapq.heappush if len(largest) < batch_size else heapq.heappushpop
            keep(largest, (bytes_of(sample), index, sample))
            if time.monotonic() > until and len(largest) >= batch_size:
                break
        samples = [sample for _, _, sample in largest]
        dataset = tf.data.Dataset.from_generator(
            lambda: iter(samples), output_signature=self.data.element_spec
        )
        return replace(self, data=dataset, count=len(samples), is_whole=True)

    def after(self, first: "Unbatched") -> "Unbatched":
        dataset = first.data.concatenate(self.data)
        return replace(self, data=dataset, count=first.count + self.count)

    def fingerprint(self) -> list[bytes]:
        return [identity(self.data, self.count if self.is_whole else None)]


def identity(dataset: Any, count: int | None) -> bytes:
    """What a dataset is the same by; `count` None: it was not counted to its end."""
    return f"{dataset.element_spec} {'' if count is None else count}".encode()


def is_dataset(value: Any) -> bool:
    """True for a tf.data.Dataset, without importing TensorFlow."""
    return any(
        kind.__name__ == "DatasetV2" and kind.__module__.startswith("tensorflow.")
        for kind in type(value).__mro__
    )


def is_tuned(given: Any) -> bool:
    """Whether a thread of tf.data's tunes what `fit` draws: Keras wants none for worker threads."""
    if is_dataset(given):
        return given.options().autotune.enabled is not False
    return not (getattr(given, "use_multiprocessing", False) or getattr(given, "workers", 1) > 1)


def unbatched(dataset: Any, source: str, look: Look, model: Any = None, *, ends: bool) -> Unbatched:
    """With `ends`, an epoch is what was counted, even where the dataset goes on (validation)."""
    count, is_whole = _count(dataset, source, look)
    notes: tuple[str, ...] = ()
    if not is_whole:
        notes += (unknown_size_note(source, count, ends=ends),)
        dataset = dataset.take(count) if ends else dataset
    specs = leaves(dataset.element_spec)
    ragged = any(type(spec).__name__ == "RaggedTensorSpec" for spec in specs)
    shapes = [spec.shape for spec in specs]
    if any(shape.rank is None for shape in shapes):
        raise UserError(
            f"{source}: the dataset does not know the shapes of its samples, so that Keras cannot "
            "train on it.",
            hint="Set them where it is mapped: tf.ensure_shape(x, (28, 28)), say, after "
            "tf.py_function or tf.numpy_function.",
        )
    padded = not ragged and any(None in shape for shape in shapes)
    texts = any(spec.dtype.name == "string" for spec in specs) and not _looks_up_texts(model)
    may_vary = padded or ragged or texts
    varied = may_vary and (look.known.varied if look.known else _vary(dataset, texts=texts))
    if varied:
        how = "as ragged" if ragged else "as texts"
        if padded:
            how = "batches are padded with zeros to their longest sample"
        notes += (
            f"{source}: samples vary in length ({how}); probes use the longest of the first "
            f"{min(count, LOOK_SAMPLES)} (or of those seen in {LOOK_SECONDS:g} s).",
        )
    return Unbatched(dataset, count, padded, varied, notes, is_whole)


def _vary(dataset: Any, *, texts: bool) -> bool:
    """Whether samples are seen to differ in size: it may know less than they have in common."""
    first: list[Any] = []
    until = time.monotonic() + LOOK_SECONDS
    for sample in dataset.take(LOOK_SAMPLES):
        parts = [leaf for leaf in leaves(sample) if texts or leaf.dtype.name != "string"]
        sizes = [bytes_of(leaf) if needs_tensorflow(leaf) else tuple(leaf.shape) for leaf in parts]
        first = first or sizes
        if sizes != first:
            return True
        if time.monotonic() > until:
            break
    return False


def _looks_up_texts(model: Any) -> bool:
    """Whether layers are known to look up whatever texts it takes: their length is no matter."""
    graph = getattr(model, "_functional", None) or model  # of a Sequential, or its own
    operations = getattr(graph, "operations", None)
    if not isinstance(operations, list):  # no graph: its `inputs` may be anything of the user's
        return False
    texts = {id(each) for each in graph.inputs if each.dtype == "string"}
    readers = {
        type(node.operation).__name__
        for operation in operations
        for node in operation._inbound_nodes
        if not texts.isdisjoint(map(id, node.input_tensors))
    }
    return bool(readers) and readers <= {*LOOKUPS}


def unknown_size_note(source: str, count: int, *, ends: bool) -> str:
    if ends:
        return f"{source} does not know its size; its first {count} samples are used."
    return (
        f"{source} does not know its size and has at least {count} samples: no larger batch is "
        "tried."
    )


def is_batched(dataset: Any, model: keras.Model, size: int | None = None) -> bool:
    """Whether elements are batches: by the rank that the model's inputs have, else by its history.

    Where neither tells, by the shapes: a batch has an open first dimension in every component, or
    that of the `size` that the loader was asked for.
    """
    by_rank = _batched_by_rank(dataset, model)
    if by_rank is not None:
        return by_rank
    if _comes_batched(dataset):
        return True
    shapes = [spec.shape for spec in leaves(dataset.element_spec)]
    return all(shape.rank and shape[0] in (None, size) for shape in shapes)


def class_of(dataset: Any) -> str:
    """What tf.data calls it, in short."""
    return type(dataset).__name__.strip("_").removesuffix("Dataset")


def _comes_batched(dataset: Any) -> bool:
    kind = class_of(dataset)
    if kind in BATCHING:
        return True
    inputs = dataset._inputs() if kind in TRANSPARENT else ()
    return bool(inputs) and all(map(_comes_batched, inputs))


def is_cached(dataset: Any) -> bool:
    """Whether the first pass fills memory, from which others are drawn."""
    filename = getattr(dataset, "_filename", None) if "Cache" in type(dataset).__name__ else None
    if filename is not None and not filename.numpy():
        return True
    return any(map(is_cached, dataset._inputs()))


def _batched_by_rank(dataset: Any, model: keras.Model) -> bool | None:
    inputs = getattr(model, "inputs", None)
    element = dataset.element_spec
    x = element[0] if isinstance(element, tuple) else element
    specs = keras.tree.flatten(x)
    if not inputs or len(specs) != len(inputs) or any(spec.shape.rank is None for spec in specs):
        return None
    # Sorted, since a dict's components are in another order than the model's inputs.
    wanted = sorted((tuple(tensor.shape) for tensor in inputs), key=len)
    given = sorted((tuple(spec.shape) for spec in specs), key=len)
    steps = {
        len(shape) - len(elements)
        for shape, elements in zip(wanted, given, strict=True)
        if not _may_gain_or_lose_one(shape, elements)
    }
    return {0: True, 1: False}.get(steps.pop()) if len(steps) == 1 else None


def _may_gain_or_lose_one(wanted: tuple[Any, ...], given: tuple[Any, ...]) -> bool:
    """Keras adds a last dimension of 1, or takes one away: there the rank does not tell."""
    if len(given) == 1 and wanted[1:] in ((), (1,)):
        return True
    ends = (wanted[-1:] == (1,), given[-1:] == (1,))
    return ends == ((False, True) if len(wanted) == len(given) else (True, False))


def _count(dataset: Any, source: str, look: Look) -> tuple[int, bool]:
    """(samples, whether those are all)."""
    known = cardinality(dataset, source)
    if known is not None:
        return known, True
    count, is_whole = look.count(dataset, lambda _: 1)
    if count == 0:
        raise UserError(f"{source} is empty.", hint="Return at least one sample.")
    return count, is_whole


def cardinality(dataset: Any, source: str) -> int | None:
    """Elements of a dataset, if it knows that; one that never ends is refused."""
    import tensorflow as tf

    known = int(dataset.cardinality())
    if known == tf.data.INFINITE_CARDINALITY:
        raise UserError(
            f"{source} repeats for ever, so that it has no epoch.",
            hint="Leave out .repeat(), or give make_csv_dataset num_epochs=1: training goes "
            "through the data again in every epoch.",
        )
    return known if known > 0 else None
