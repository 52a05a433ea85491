"""One trace of a step where TensorFlow would make two.

A tf.function that makes variables when it is first called is traced again without making any
(`Function._call` in tensorflow/python/eager/polymorphic_function), and Keras makes those of metrics
and of the optimizer within the first step. With them there before, the one trace is what the second
would be. A probe goes without: it allocates in the order of the user's own training.
"""

from typing import Any

import keras

from autobatch.worker.target import has_own

KERAS_CALLS = ("keras.src.models.functional", "keras.src.models.sequential")


class BuiltBefore(keras.callbacks.Callback):
    """Has what Keras makes within a step made before it; after the callbacks before this one.

    `given`: what `fit` is given.
    """

    def __init__(self, given: dict[str, Any]) -> None:
        super().__init__()
        self._targets = _targets(given)
        self._has_begun = False

    def on_train_begin(self, logs: Any = None) -> None:
        """An evaluation may come before the first step."""
        if _is_traced(self._model) and self._targets is not None:
            _build_metrics(self._model, self._targets)

    def on_train_batch_begin(self, batch: int, logs: Any = None) -> None:
        """Not earlier: a callback of the user's may have made layers trainable."""
        if not self._has_begun and _is_traced(self._model):
            optimizer = self._model.optimizer
            if optimizer is not None and not optimizer.built:
                optimizer.build(self._model.trainable_weights)
        self._has_begun = True


def _is_traced(model: keras.Model) -> bool:
    """Whether Keras' own step is, of weights that are all there. Of replicas it builds first."""
    is_built = all(layer.built for layer in model._flatten_layers())
    return is_built and not has_own(model, "train_step") and not model.run_eagerly


def _build_metrics(model: keras.Model, targets: Any) -> None:
    """Of a model whose one output is known. Which accuracy is meant, Keras tells by the shapes."""
    metrics = model._compile_metrics
    outputs = getattr(model, "outputs", None) or []
    is_known = len(outputs) == 1 and type(model).call.__module__ in KERAS_CALLS
    is_own = has_own(model, "test_step", "compute_metrics")
    is_prepared = hasattr(model, "preprocess_samples")  # by which `fit` makes its targets
    if metrics is None or metrics.built or is_own or is_prepared or not is_known:
        return
    if len(outputs[0].shape) > 1 and outputs[0].shape[-1] is not None:
        metrics.build(targets, outputs[0])


def _targets(given: dict[str, Any]) -> keras.KerasTensor | None:
    """The shape of a batch's; None where there are none or several, or it is not known."""
    y = given.get("y")
    element = getattr(given["x"], "element_spec", None)  # of a tf.data.Dataset
    if isinstance(element, tuple) and len(element) > 1:
        y = element[1]
    shapes = [getattr(leaf, "shape", None) for leaf in keras.tree.flatten(y)]
    if len(shapes) != 1 or getattr(shapes[0], "rank", 0) is None or not shapes[0]:
        return None
    return keras.KerasTensor((None, *shapes[0][1:]))
