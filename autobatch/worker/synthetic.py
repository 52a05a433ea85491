"""Samples for a model without data: shapes from its inputs, ranges from its embeddings and losses.

What cannot be made up truly is refused; what is a guess is told in a note.

Many samples of large arrays would take seconds to draw, in each process, and gigabytes. So few
numbers are drawn, and each sample is a window on them, one number further than the one before: all
differ, and none takes memory of its own.
"""

from collections.abc import Callable
from typing import Any

import keras
import numpy as np

from autobatch.protocol import snake_case
from autobatch.worker.mistakes import UserError

VARIABLE_LENGTH = 64  # stands for a dimension that the model leaves open (None)
REAL_TARGETS = ("mean", "huber", "log_cosh", "poisson", "cosine", "tversky", "dice")
CLASS_TARGETS = ("categorical", "kl_divergence")
BINARY_TARGETS = ("binary", "hinge")


def synthetic_samples(
    model: keras.Model, count: int, *, seed: int
) -> tuple[Any, Any, tuple[str, ...]]:
    """(x, y, notes) with `count` rows each, in the nests that the model's inputs and outputs have.

    Without a loss (the model adds its own), y is None.
    """
    if not model.built or not getattr(model, "inputs", None):
        raise UserError(
            f"No data is given, and the inputs of {type(model).__name__} are not known.",
            hint="Add `data:` to the recipe, or give the model an Input layer.",
        )
    rng = np.random.default_rng(seed)
    notes = ["No data given: samples are synthetic."]
    ranges = embedding_ranges(model)

    def inputs(tensor: Any) -> Any:
        return _input(tensor, count, ranges.get(id(tensor)), rng, notes)

    structure = model._inputs_struct if hasattr(model, "_inputs_struct") else model.inputs
    x = keras.tree.map_structure(inputs, _single(structure))
    outputs = _outputs(model, x)
    return x, _targets(model, outputs, count, rng, notes), tuple(dict.fromkeys(notes))


def embedding_ranges(model: keras.Model) -> dict[int, int]:
    """By id of an input tensor: how many integers the embeddings that it leads to can take."""
    graph = getattr(model, "_functional", None) or model
    found: dict[int, int] = {}
    for operation in getattr(graph, "operations", ()):
        ranges = _ranges_of(operation)
        for node in operation._inbound_nodes if ranges else ():
            for tensor, size in zip(node.input_tensors, ranges, strict=False):
                if size is not None:
                    _trace_back(tensor, size, found)
    inputs = {id(tensor) for tensor in graph.inputs}
    of_graph = {key: size for key, size in found.items() if key in inputs}
    # A Sequential's inputs are those of the graph within, or copies of them.
    pairs = zip(model.inputs, graph.inputs, strict=True)
    return of_graph | {id(own): of_graph[id(its)] for own, its in pairs if id(its) in of_graph}


def _ranges_of(operation: Any) -> list[int | None]:
    """For each tensor that the operation takes, how many integers it allows; None: any number."""
    if isinstance(operation, keras.layers.Embedding):
        return [operation.input_dim]
    if isinstance(operation, keras.Model) and getattr(operation, "inputs", None):
        ranges = embedding_ranges(operation)
        return [ranges.get(id(tensor)) for tensor in operation.inputs]
    if isinstance(operation, keras.Layer):
        sizes = [
            layer.input_dim
            for layer in operation._flatten_layers()
            if isinstance(layer, keras.layers.Embedding)
        ]
        return [min(sizes)] if sizes else []
    return []


def _trace_back(tensor: Any, size: int, found: dict[int, int]) -> None:
    """Note `size` for `tensor` and all that it is made of."""
    if found.get(id(tensor), size + 1) <= size:
        return
    found[id(tensor)] = size
    history = getattr(tensor, "_keras_history", None)
    if history is None or isinstance(history.operation, keras.layers.InputLayer):
        return
    for source in history.operation._inbound_nodes[history.node_index].input_tensors:
        _trace_back(source, size, found)


def _windows(draw: Callable[[int], Any], count: int, shape: tuple[int, ...]) -> Any:
    """An array (count, *shape, ...) over some more numbers than one sample has; read only.

    `draw(n)` gives n of them, or n rows of them.
    """
    length = int(np.prod(shape))
    drawn = draw(length + count)
    windows = np.lib.stride_tricks.sliding_window_view(drawn, length, axis=0)[:count]
    return np.moveaxis(windows, -1, 1).reshape(count, *shape, *drawn.shape[1:])


def _input(tensor: Any, count: int, size: int | None, rng: Any, notes: list[str]) -> Any:
    shape = tuple(d or VARIABLE_LENGTH for d in tensor.shape[1:])
    if None in tensor.shape[1:]:
        notes.append(f"Open dimensions of inputs are taken to be {VARIABLE_LENGTH}.")
    dtype = keras.backend.standardize_dtype(tensor.dtype)
    if dtype == "string":
        raise UserError(
            f"The model's input {tensor.name} takes text, which is not made up.",
            hint="Add `data:` to the recipe.",
        )
    if size is not None:
        return _windows(lambda n: rng.integers(0, size, n).astype(dtype), count, shape)
    if "int" in dtype or dtype == "bool":
        notes.append(f"Input {tensor.name} takes integers of no known range: they are 0 or 1.")
        return _windows(lambda n: rng.integers(0, 2, n).astype(dtype), count, shape)
    return _windows(lambda n: rng.standard_normal(n, dtype="float32").astype(dtype), count, shape)


def _outputs(model: keras.Model, x: Any) -> Any:
    """The outputs' tensors; where dimensions are open, of a forward pass over one sample."""
    symbolic = _single(getattr(model, "_outputs_struct", model.outputs))
    if all(None not in tensor.shape[1:] for tensor in keras.tree.flatten(symbolic)):
        return symbolic
    return _single(model(keras.tree.map_structure(lambda leaf: leaf[:1], x), training=False))


def _targets(model: keras.Model, outputs: Any, count: int, rng: Any, notes: list[str]) -> Any:
    loss = model.loss

    def target(tensor: Any, of: Any) -> Any:
        return None if of is None else _target(tensor, of, count, rng, notes)

    if loss is None:
        return None
    if isinstance(loss, dict):
        if isinstance(outputs, dict):
            named = outputs
        else:
            named = dict(zip(model.output_names, keras.tree.flatten(outputs), strict=True))
        return {name: target(named[name], each) for name, each in loss.items() if each is not None}
    if isinstance(loss, (list, tuple)):
        flat = keras.tree.flatten(outputs)
        made = [target(tensor, each) for tensor, each in zip(flat, loss, strict=True)]
        return made[0] if len(made) == 1 else tuple(made)
    return keras.tree.map_structure(lambda tensor: target(tensor, loss), outputs)


def _target(tensor: Any, loss: Any, count: int, rng: Any, notes: list[str]) -> Any:
    shape = tuple(int(d) for d in tensor.shape[1:])
    name = _loss_name(loss)
    if "sparse" in name:
        return _windows(lambda n: rng.integers(0, shape[-1], n).astype("int32"), count, shape[:-1])
    if "ctc" in name:
        raise UserError(
            "The model's CTC loss takes labels that are not made up.",
            hint="Add `data:` to the recipe.",
        )
    if any(word in name for word in BINARY_TARGETS):
        return _windows(lambda n: rng.integers(0, 2, n).astype("float32"), count, shape)
    if any(word in name for word in CLASS_TARGETS):
        one_hot = np.eye(shape[-1], dtype="float32")
        return _windows(lambda n: one_hot[rng.integers(0, shape[-1], n)], count, shape[:-1])
    if not any(word in name for word in REAL_TARGETS):
        notes.append(
            f"Targets of the loss {name} are made up as numbers from 0 to 1 in the output's shape."
        )
    return _windows(lambda n: rng.random(n, dtype="float32"), count, shape)


def _loss_name(loss: Any) -> str:
    """Such as `sparse_categorical_crossentropy`, however the loss was given."""
    if isinstance(loss, str):
        try:
            loss = keras.losses.get(loss)
        except ValueError:
            return str(loss)
    kind = loss if hasattr(loss, "__name__") else type(loss)
    name = str(getattr(getattr(loss, "fn", None), "__name__", None) or kind.__name__)
    return snake_case(name)


def _single(structure: Any) -> Any:
    if isinstance(structure, (list, tuple)) and len(structure) == 1:
        return structure[0]
    return structure
