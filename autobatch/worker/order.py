"""The order that samples of a tf.data.Dataset come in, and what to say where it is always one."""

from collections.abc import Iterator
from typing import Any

import keras

from autobatch.worker.batches import DatasetBatches
from autobatch.worker.datasets import Unbatched
from autobatch.worker.source import Source
from autobatch.worker.target import recurrent_states

CHOOSING = ("Shuffle", "Generator", "DirectedInterleave")  # the last: sample_from_datasets


def shuffles(dataset: Any) -> bool:
    """Whether a shuffle is among its transformations: each pass has another order."""
    return any("Shuffle" in type(step).__name__ for step in _steps(dataset))


def keeps_order(dataset: Any) -> bool:
    """Whether each pass is known to be in one order: no shuffle, and nobody else, chooses it."""
    names = {type(step).__name__ for step in _steps(dataset)}
    for step in _steps(dataset):
        names.update(_operations(step))
    return not any("Dataset" in name and word in name for name in names for word in CHOOSING)


def order_notes(
    train: Source, model: keras.Model, size: int, *, is_split: bool
) -> tuple[str, ...]:
    """Where training data of more than one batch is in one order, and need not be."""
    dataset = _dataset_of(train)
    if dataset is None or train.count <= size or recurrent_states(model):
        return ()
    if not keeps_order(dataset):
        return ()
    both = ", and return (train, validation): what shuffles is not split" if is_split else ""
    return (
        "The training data is not shuffled: it comes in the same order in every epoch and with "
        "every seed, as `fit` takes it. Put .shuffle(N) into load_data if your training "
        f"shuffles{both}.",
    )


def _dataset_of(source: Source) -> Any:
    """The user's; None where there is none."""
    if isinstance(source, Unbatched):
        return source.dataset
    if isinstance(source, DatasetBatches) and source.kind == "dataset":  # else of a generator
        return source.data
    return None


def _steps(dataset: Any) -> Iterator[Any]:
    """It, and the datasets that it is made of."""
    yield dataset
    for each in dataset._inputs():
        yield from _steps(each)


def _operations(step: Any) -> Iterator[str]:
    """Names of those in its functions, as of `interleave`, which make datasets, too."""
    for each in step._functions():
        definition = each.function.graph.as_graph_def()
        for nodes in (definition.node, *(inner.node_def for inner in definition.library.function)):
            yield from (node.op for node in nodes)
