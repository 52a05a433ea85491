"""Samples for a model without data: shapes from its inputs, ranges from its embeddings and loss."""

from typing import Any

import keras
import numpy as np

from autobatch.worker.mistakes import UserError

VARIABLE_LENGTH = 64  # stands for a dimension that the model leaves open (None)


def synthetic_samples(model: keras.Model, count: int, *, seed: int) -> tuple[Any, Any]:
    """(x, y) with `count` rows each, in the nests that the model's inputs and outputs have."""
    if not model.built or not getattr(model, "inputs", None):
        raise UserError(
            f"No data is given, and the inputs of {type(model).__name__} are not known.",
            hint="Add `data:` to the recipe, or give the model an Input layer.",
        )
    rng = np.random.default_rng(seed)
    input_range = _integer_range(model)

    def inputs(tensor: Any) -> np.ndarray[Any, Any]:
        shape = (count, *(d or VARIABLE_LENGTH for d in tensor.shape[1:]))
        dtype = keras.backend.standardize_dtype(tensor.dtype)
        if "int" in dtype or _feeds_embedding(model, tensor):
            return rng.integers(0, input_range, shape).astype(dtype)
        return rng.standard_normal(shape, dtype="float32").astype(dtype)

    def targets(tensor: Any, loss: Any) -> np.ndarray[Any, Any]:
        shape = tuple(d or VARIABLE_LENGTH for d in tensor.shape[1:])
        name = loss if isinstance(loss, str) else type(loss).__name__
        if "sparse" in name.lower():
            return rng.integers(0, shape[-1], (count, *shape[:-1]))
        return rng.random((count, *shape), dtype="float32")

    structure = model._inputs_struct if hasattr(model, "_inputs_struct") else model.inputs
    x = keras.tree.map_structure(inputs, _single(structure))
    outputs = _single(getattr(model, "_outputs_struct", model.outputs))
    if isinstance(model.loss, dict) and isinstance(outputs, dict):
        return x, {name: targets(outputs[name], model.loss[name]) for name in model.loss}
    if isinstance(model.loss, (list, tuple)):
        pairs = zip(keras.tree.flatten(outputs), model.loss, strict=True)
        return x, tuple(targets(tensor, loss) for tensor, loss in pairs)
    return x, keras.tree.map_structure(lambda t: targets(t, model.loss), outputs)


def _single(structure: Any) -> Any:
    if isinstance(structure, (list, tuple)) and len(structure) == 1:
        return structure[0]
    return structure


def _embeddings(model: keras.Model) -> list[Any]:
    return [layer for layer in model._flatten_layers() if isinstance(layer, keras.layers.Embedding)]


def _integer_range(model: keras.Model) -> int:
    return min((layer.input_dim for layer in _embeddings(model)), default=2)


def _feeds_embedding(model: keras.Model, tensor: Any) -> bool:
    first = [layer for layer in model.layers if not isinstance(layer, keras.layers.InputLayer)][:1]
    return bool(first) and isinstance(first[0], keras.layers.Embedding)
