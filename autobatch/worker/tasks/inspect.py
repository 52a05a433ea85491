"""What the user's model and data are, and that they are what they must be."""

import platform
from typing import Any

import keras
import numpy as np

from autobatch.protocol import Inspect, Inspected, Target
from autobatch.worker import data as user_data
from autobatch.worker.backends import Backend
from autobatch.worker.optimizer import base_optimizer, batch_norm_layers, learning_rate
from autobatch.worker.target import build_model

SYNTHETIC_SAMPLES = 8  # enough to see shapes


def run(task: Inspect, target: Target, backend: Backend) -> Inspected:
    keras.utils.set_random_seed(target.seed)
    model = build_model(target, batch_size=task.batch_size)
    data = user_data.load(target, model, samples=SYNTHETIC_SAMPLES)
    synthetic = data.source == "synthetic"
    few = data.train.rows(0, min(data.train.count, task.batch_size))
    # Builds a model that knows no input shape yet, names its metrics, and shows that model and
    # data go together before anything costly starts.
    logs = model.evaluate(**few.fit_arguments(), batch_size=few.count, verbose=0, return_dict=True)
    momenta = batch_norm_layers(model)
    kind, name = backend.device()
    rate, schedule = learning_rate(base_optimizer(model))
    return Inspected(
        model_name=model.name,
        parameters=model.count_params(),
        parameter_bytes=sum(
            int(np.prod(v.shape)) * np.dtype(_numpy_type(v.dtype)).itemsize for v in model.variables
        ),
        optimizer=type(base_optimizer(model)).__name__,
        learning_rate=rate,
        learning_rate_schedule=schedule,
        loss=_name(model.loss),
        metrics=tuple(f"val_{name}" for name in logs),
        jit_compile=bool(model.jit_compile),
        precision=keras.config.dtype_policy().name,
        batch_norm_layers=len(momenta),
        batch_norm_momentum=momenta[0].momentum if momenta else None,
        train_samples=None if synthetic else data.train.count,
        validation_samples=None if data.validation is None else data.validation.count,
        sample_bytes=sum(
            leaf.nbytes // data.train.count
            for leaf in keras.tree.flatten(data.train.fit_arguments())
            if leaf is not None
        ),
        data_source=data.source,
        data_fingerprint=user_data.fingerprint(data),
        nan=user_data.nan_report(data.train),
        notes=data.notes,
        versions={"python": platform.python_version(), "keras": keras.__version__}
        | backend.versions(),
        device_name=name,
        device_kind="gpu" if kind == "gpu" else "cpu",
    )


def _name(loss: Any) -> str:
    if isinstance(loss, (str, dict, list, tuple)):
        return str(loss)
    return str(getattr(loss, "name", None) or getattr(loss, "__name__", type(loss).__name__))


def _numpy_type(dtype: Any) -> str:
    return {"bfloat16": "float16"}.get(str(dtype), str(dtype))
