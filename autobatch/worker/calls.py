"""How the user's own code calls what it is made of: lines to paste.

In them `{size}` stands for the batch size, `{rate}` for the learning rate.
"""

import inspect
from pathlib import Path
from typing import Any

import keras

from autobatch.protocol import PASSED, Target, split
from autobatch.worker.called import (
    LOADED,
    ONCE,
    Called,
    builder_of,
    parameters_of,
    takes_batch_size,
)
from autobatch.worker.imported import imported
from autobatch.worker.source import Source
from autobatch.worker.target import find_callable


def model_call(target: Target, *, rate_stays: bool) -> str:
    """How the model is built as trials build it; empty where it is told nothing by them."""
    taken = parameters_of(builder_of(target))
    offered = {"batch_size": "{size}"} | ({} if rate_stays else {"learning_rate": "{rate}"})
    told = {name: offered[name] for name in offered if name in taken and name not in target.args}
    if not told:
        return ""
    args = {name: repr(value) for name, value in target.args.items()}
    given = ", ".join(f"{name}={value}" for name, value in (told | args).items())
    called = _name(target, "model")
    return f"model = {called}({given})" if called else f"# build the model with {given}"


def _name(target: Target, role: str) -> str:
    """What the user calls the function by; empty where it has no such name, as a lambda has none.

    One that was passed in Python is found by a name of ours.
    """
    source, name = split(getattr(target, role))
    if not hasattr(imported(source, Path(target.folder)), PASSED):
        return name
    found = find_callable(target, role)
    own = found.__name__ if inspect.isfunction(found) else ""
    return own if own.isidentifier() else ""


def optimizer_call(model: keras.Model) -> str:
    """How optimizers that a function chooses are had before `fit`; empty where they are there."""
    multiple: Any = getattr(model.optimizer, "inner_optimizer", model.optimizer)
    if getattr(multiple, "optimizers", True):
        return ""
    call = "model.optimizer.build(model.trainable_variables)"
    return call if model.built else f"# first build the model: call it on a batch\n{call}"


def fit_call(source: Source, target: Target, called: Called) -> str:
    call = source.fit_call(_loading(target, called) if called.loader is not None else "")
    more = ", class_weight=class_weight" if target.class_weight else ""
    if target.callbacks and takes_batch_size(find_callable(target, "callbacks")):
        more += f", callbacks={split(target.callbacks)[1]}(batch_size={{size}})"
    return f"{call.removesuffix(')')}{more})"


def _loading(target: Target, called: Called) -> str:
    given = "batch_size={size}" + (f", {LOADED}={ONCE}()" if called.once is not None else "")
    loader = _name(target, "data")
    if loader:
        return f"train, validation = {loader}({given})"
    return f"# load train and validation with {given}"
