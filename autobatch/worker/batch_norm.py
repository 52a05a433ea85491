"""BatchNormalization with the statistics of the present weights, for an evaluation.

Its moving averages forget by the step (momentum 0.99: 37 % of the initial statistics are left after
100 steps), so in short training they tell of weights long gone, and validation loss with them.
Re-estimating them makes settings comparable whatever their number of steps.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import keras

from autobatch.worker.optimizer import batch_norm_layers


@contextmanager
def reestimated(model: keras.Model, x: Any) -> Iterator[None]:
    """Within, moving averages are those of one pass over `x`; after it, what they were."""
    layers = batch_norm_layers(model)
    kept = [
        (layer, layer.momentum, layer.moving_mean.numpy(), layer.moving_variance.numpy())
        for layer in layers
    ]
    if layers:
        for layer in layers:
            layer.momentum = 0.0  # eager, as here: the traced step has the user's value in it
        model(x, training=True)
    try:
        yield
    finally:
        for layer, momentum, mean, variance in kept:
            layer.momentum = momentum
            layer.moving_mean.assign(mean)
            layer.moving_variance.assign(variance)
