"""How the user's own code calls what it is made of: lines to paste, `{size}` for the batch size."""

from typing import Any

import keras

from autobatch.protocol import Target, split
from autobatch.worker.called import LOADED, ONCE, Called, builder_of, takes_batch_size
from autobatch.worker.source import Source
from autobatch.worker.target import find_callable


def model_call(target: Target) -> str:
    """How the model is built for the batch size; empty where it is not told of it."""
    if not takes_batch_size(builder_of(target)):
        return ""
    given = "".join(f", {name}={value!r}" for name, value in target.args.items())
    return f"model = {split(target.model)[1]}(batch_size={{size}}{given})"


def optimizer_call(model: keras.Model) -> str:
    """How optimizers that a function chooses are had before `fit`; empty where they are there."""
    multiple: Any = getattr(model.optimizer, "inner_optimizer", model.optimizer)
    if getattr(multiple, "optimizers", True):
        return ""
    call = "model.optimizer.build(model.trainable_variables)"
    return call if model.built else f"# first build the model: call it on a batch\n{call}"


def fit_call(source: Source, target: Target, called: Called) -> str:
    loaded = f", {LOADED}={ONCE}()" if called.once is not None else ""
    call = source.fit_call(f"{split(target.data or '')[1]}(batch_size={{size}}{loaded})")
    more = ", class_weight=class_weight" if target.class_weight else ""
    if target.callbacks and takes_batch_size(find_callable(target, "callbacks")):
        more += f", callbacks={split(target.callbacks)[1]}(batch_size={{size}})"
    return f"{call.removesuffix(')')}{more})"
