"""BatchNormalization with the statistics of the present weights, for an evaluation.

Its moving averages forget by the step (momentum 0.99: 37 % of the initial statistics are left after
100 steps), so in short training they tell of weights long gone, and validation loss with them.
Re-estimating them makes settings comparable whatever their number of steps. A model that cannot be
called (it trains and evaluates by steps of its own) is evaluated with its averages as they are, of
which those of other batch sizes are made to forget as fast in samples.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import keras

from autobatch.worker.optimizer import batch_norm_layers
from autobatch.worker.target import has_own


def can_reestimate(model: keras.Model) -> bool:
    """Not where only `fit` prepares what the model is called with, as KerasHub's tasks have it."""
    is_called = has_own(model, "call")
    return is_called and bool(batch_norm_layers(model)) and not hasattr(model, "preprocess_samples")


def is_called_with(model: keras.Model, x: Any) -> bool:
    """Not where steps of its own prepare what it is called with: of triplets, say, one is `x`."""
    if not has_own(model, "test_step"):
        return True
    try:
        model(x, training=False)
    except Exception:
        return False
    return True


def forget_as_fast(model: keras.Model, times: float) -> None:
    """In samples, with batches so many times as large (Busbridge et al. 2023, arXiv 2307.13813).

    Before the training step is traced, which has momenta as constants.
    """
    for layer in batch_norm_layers(model):
        layer.momentum **= times


@contextmanager
def reestimated(model: keras.Model, inputs: list[Any]) -> Iterator[None]:
    """Within, moving averages are those of one pass over all `inputs`, the mean of what each batch
    of them has; after it, what they were."""
    if not inputs or not can_reestimate(model):
        yield
        return
    momenta = [(layer, layer.momentum) for layer in batch_norm_layers(model)]
    if any(layer.moving_mean is None for layer, _ in momenta):
        model(inputs[0], training=False)  # builds it
    kept = [(state, keras.ops.convert_to_numpy(state)) for state in _states(model)]
    for number, x in enumerate(inputs, start=1):
        for layer, _ in momenta:
            layer.momentum = 1 - 1 / number  # eager, as here: the traced step has the user's in it
        model(x, training=True)
    try:
        yield
    finally:
        for layer, momentum in momenta:
            layer.momentum = momentum
        for state, value in kept:
            state.assign(value)


def _states(model: keras.Model) -> list[Any]:
    """What such a pass changes: averages, seeds of dropout, ...; not weights that are frozen."""
    weights = {id(each) for layer in model._flatten_layers() for each in layer._trainable_variables}
    return [each for each in model.non_trainable_variables if id(each) not in weights]
