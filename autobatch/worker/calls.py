"""How the user's own code calls what it is made of: lines to paste.

In them `{size}` stands for the batch size, `{rate}` for the learning rate.
"""

import inspect
from typing import Any

import keras

from autobatch.protocol import Target, split
from autobatch.worker.called import LOADED, ONCE, Called, builder_of, takes_batch_size
from autobatch.worker.source import Source
from autobatch.worker.target import find_callable


def model_call(target: Target, *, rate_stays: bool) -> str:
    """How the model is built as trials build it; empty where it is told nothing by them."""
    builder = builder_of(target)
    taken = () if builder is None else inspect.signature(builder).parameters
    offered = {"batch_size": "{size}"} | ({} if rate_stays else {"learning_rate": "{rate}"})
    told = {name: offered[name] for name in offered if name in taken and name not in target.args}
    if not told:
        return ""
    args = {name: repr(value) for name, value in target.args.items()}
    given = ", ".join(f"{name}={value}" for name, value in (told | args).items())
    return f"model = {split(target.model)[1]}({given})"


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
