"""The order that samples of a tf.data.Dataset come in, and what to say where it is always one."""

from collections.abc import Iterator
from typing import Any, Literal

import keras

from autobatch.worker.batches import DatasetBatches
from autobatch.worker.datasets import Unbatched
from autobatch.worker.source import Source
from autobatch.worker.target import recurrent_states

DRAWING = ("Random", "TruncatedNormal", "Multinomial")  # how names of operations begin
CHOOSING = ("Shuffle", "Generator", "DirectedInterleave")  # the last: sample_from_datasets


def shuffles(dataset: Any) -> bool:
    """Whether a shuffle is among its transformations: each pass has another order."""
    return any(map(_is_shuffle, _steps(dataset)))


def order_of(dataset: Any) -> Literal["kept", "set", "free"]:
    """Whether every pass is known to be in one order; or to be in one with all seeds.

    That is where no shuffle, and nobody else, chooses it; and where only shuffles do that were
    given a seed, or are for all epochs.
    """
    found = list(_steps(dataset))
    names = {type(step).__name__ for step in found if not _is_shuffle(step)}
    names.update(name for step in found for name in _operations(step))
    if any("Dataset" in name and word in name for name in names for word in CHOOSING):
        return "free"
    if not any(map(_is_shuffle, found)):
        return "kept"
    is_set = all(getattr(step, "order_is_set", False) for step in found if _is_shuffle(step))
    return "set" if is_set else "free"


def draws_alike(dataset: Any) -> bool:
    """Whether a function draws at random for samples that come to it in one order.

    With TensorFlow's seed set, it draws the same for each iterator, one of which each epoch is.
    """
    return any(
        any(name.startswith(DRAWING) and "Dataset" not in name for name in _operations(step))
        and not any(map(shuffles, step._inputs()))
        for step in _steps(dataset)
    )


def order_notes(train: Source, model: keras.Model, size: int, *, is_split: bool) -> tuple[str, ...]:
    """Where training data of more than one batch is in one order, and need not be."""
    if not isinstance(train, (Unbatched, DatasetBatches)) or train.kind != "dataset":
        return ()  # of a generator, nothing is known
    if train.count <= size or recurrent_states(model):
        return ()
    both = ", and return (train, validation): what shuffles is not split" if is_split else ""
    told = {
        "kept": "The training data is not shuffled: it comes in the same order in every epoch and "
        "with every seed, as `fit` takes it. Put .shuffle(N) into load_data if your training "
        f"shuffles{both}.",
        "set": "All seeds of trials see the training data in the same order, since .shuffle in "
        "load_data is given a seed (or reshuffle_each_iteration=False): intervals hold no luck of "
        "that order. Without it they do.",
    }
    alike = (
        "What functions of your tf.data.Dataset draw at random (tf.image.random_flip_left_right, "
        "say) a sample gets alike in every epoch of a trial, whose seed each epoch begins with. "
        "Put .shuffle before that .map, or augment by Keras' layers, for each to draw anew."
    )
    try:
        order, draws = order_of(train.data), draws_alike(train.data)
    except Exception:  # of a kind that TensorFlow's own names do not tell: no note is worth a run
        return ()
    return (*((told[order],) if order in told else ()), *((alike,) if draws else ()))


def _steps(dataset: Any) -> Iterator[Any]:
    """It, and the datasets that it is made of."""
    yield dataset
    for each in dataset._inputs():
        yield from _steps(each)


def _is_shuffle(step: Any) -> bool:
    return "Shuffle" in type(step).__name__


def _operations(step: Any) -> Iterator[str]:
    """Names of those in its functions, as of `interleave`, which make datasets, too."""
    for each in step._functions():
        definition = each.function.graph.as_graph_def()
        for nodes in (definition.node, *(inner.node_def for inner in definition.library.function)):
            yield from (node.op for node in nodes)
