"""How sharply the training loss curves where a trial ended: its Hessian's largest eigenvalue.

By power iteration (as PyHessian: Yao et al. 2020), largest in magnitude. A product of the Hessian
with a vector is a central difference of the user's own gradient, in float32, so that two digits
hold at best. What is drawn at random (dropout) is the same on both sides.
"""

import traceback
from collections.abc import Callable
from typing import Any

import keras
import numpy as np

from autobatch.protocol import SHARPNESS_GRADIENTS
from autobatch.worker.backends import Backend
from autobatch.worker.seeds import random_state_kept
from autobatch.worker.tasks.gradients import why_no_gradients

RADIUS = 1e-3  # of the central difference, in norms of the weights
ITERATIONS = SHARPNESS_GRADIENTS // 2  # at most, of two gradients each
CLOSE = 0.01  # change of the eigenvalue from one iteration to the next
FEW_DIGITS = ("float16", "bfloat16")  # of which a difference would be rounding

Vector = list[np.ndarray]


def sharpness(model: keras.Model, draw: Callable[[], list[Any]], backend: Backend) -> float | str:
    """On the first batch of those drawn; or why there is none. The model is left as it was."""
    if why := why_no_sharpness(model):
        return why
    try:
        batch = draw()[0]
        with backend.full_precision():
            value = _largest_eigenvalue(model, batch, backend)
    except Exception as error:  # a diagnostic costs no trial; what was the matter is in its log
        traceback.print_exc()
        return f"it raised {type(error).__name__} (see the logs of the trials)"
    return value if np.isfinite(value) else "there were gradients that are not finite"


def why_no_sharpness(model: keras.Model) -> str | None:
    """As is known before any gradient; None where there may be one."""
    for layer in model._flatten_layers():
        if layer.compute_dtype in FEW_DIGITS:
            return f"the model computes in {layer.compute_dtype}, which has too few digits for it"
    return why_no_gradients(model)


def _largest_eigenvalue(model: keras.Model, batch: Any, backend: Backend) -> float:
    gradient, restore = _gradient_function(model, batch, backend)
    weights = [keras.ops.convert_to_numpy(v).astype("float32") for v in model.trainable_weights]
    radius = RADIUS * (1.0 + _norm(weights))
    random = np.random.default_rng(0)
    direction = _unit([random.standard_normal(w.shape).astype("float32") for w in weights])
    value = 0.0
    for _ in range(ITERATIONS):
        ahead = gradient([w + radius * d for w, d in zip(weights, direction, strict=True)])
        behind = gradient([w - radius * d for w, d in zip(weights, direction, strict=True)])
        product = [(a - b) / (2 * radius) for a, b in zip(ahead, behind, strict=True)]
        before, value = value, _dot(direction, product)
        settled = abs(value - before) <= CLOSE * abs(value)
        if settled or not np.isfinite(value) or not _norm(product):
            break
        direction = _unit(product)
    restore(weights)
    return value


def _gradient_function(
    model: keras.Model, batch: Any, backend: Backend
) -> tuple[Callable[[Vector], Vector], Callable[[Vector], None]]:
    """(the gradient at given weights, what puts them and all that layers keep back)."""
    kept = [(v, keras.ops.convert_to_numpy(v)) for v in model.non_trainable_variables]
    differentiate = backend.gradients(model)

    def restore(weights: Vector) -> None:
        for variable, value in (*kept, *zip(model.trainable_weights, weights, strict=True)):
            variable.assign(value)

    def gradient(weights: Vector) -> Vector:
        restore(weights)
        with random_state_kept():
            return [keras.ops.convert_to_numpy(each) for each in differentiate(batch, 1.0)]

    return gradient, restore


def _dot(one: Vector, other: Vector) -> float:
    return sum(
        float(np.vdot(a.astype("float64"), b.astype("float64")))
        for a, b in zip(one, other, strict=True)
    )


def _norm(vector: Vector) -> float:
    return float(np.sqrt(_dot(vector, vector)))


def _unit(vector: Vector) -> Vector:
    norm = _norm(vector)
    return [each / np.float32(norm) for each in vector]
