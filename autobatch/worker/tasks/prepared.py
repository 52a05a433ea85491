"""The model and the data that a task trains, made in the order of a script: the data first."""

from typing import Any

import keras

from autobatch.protocol import Target
from autobatch.worker.backends import Backend
from autobatch.worker.called import call_loader
from autobatch.worker.data import Data, load
from autobatch.worker.target import build_model


def prepared(
    target: Target,
    backend: Backend,
    size: int,
    *,
    seed: int | None = None,
    learning_rate: float | None = None,
    samples: int = 0,
    **more: Any,
) -> tuple[keras.Model, Data]:
    """For batches of `size`; `seed` None: the target's own. What `load` takes is in `more`, too."""
    called = call_loader(target, batch_size=size, shuffle_seed=seed)
    seed = target.seed if seed is None else seed
    model = build_model(target, backend, seed=seed, batch_size=size, learning_rate=learning_rate)
    data = load(target, model, called, batch_size=size, samples=samples, seed=seed, **more)
    return model, data
