"""What trials change in the user's compiled model: the learning rate and BatchNorm momentum."""

import math
from typing import Any

import keras

SCHEDULE_HORIZON = 2**20  # steps looked at for the peak of a schedule


def optimizers(model: keras.Model) -> dict[str, Any]:
    """What applies the gradients, by name, out of loss-scaling wrappers.

    A model with a training step of its own (a GAN) may keep several as attributes; the one that
    Keras made by default when it was compiled without any is then not used.
    """
    own = {
        name: value
        for name, value in vars(model).items()
        if isinstance(value, keras.optimizers.Optimizer)
        and value is not model.optimizer
        and name.strip("_") != "optimizer"
    }
    found = own or ({} if model.optimizer is None else {"optimizer": model.optimizer})
    return {name: getattr(value, "inner_optimizer", value) for name, value in found.items()}


def accumulation_steps(model: keras.Model) -> int:
    """Training steps for one update of the weights."""
    return max(
        (getattr(each, "gradient_accumulation_steps", None) or 1)
        for each in (*optimizers(model).values(), None)
    )


def batch_norm_layers(model: keras.Model) -> list[Any]:
    return [x for x in model._flatten_layers() if isinstance(x, keras.layers.BatchNormalization)]


def learning_rate(optimizer: Any) -> tuple[float | None, str | None]:
    """(learning rate, schedule's class name or None). Of a schedule, its peak."""
    if optimizer is None:
        return None, None
    schedule = getattr(optimizer, "_learning_rate", None)
    if not isinstance(schedule, keras.optimizers.schedules.LearningRateSchedule):
        return _number(optimizer.learning_rate), None
    steps = [0, *(2**power for power in range(SCHEDULE_HORIZON.bit_length()))]
    return max(_number(schedule(step)) for step in steps), type(schedule).__name__


def scale_learning_rates(model: keras.Model, rate: float | None, factor: float) -> None:
    """Set `rate`; multiply by `factor` what cannot be set: schedules, several optimizers at once.

    A model whose callable took the rate as its argument has it already.
    """
    found = list(optimizers(model).values())
    now = learning_rate(found[0])[0] if found else None
    if now is None or (rate is not None and math.isclose(now, rate, rel_tol=1e-5)):
        return
    for optimizer in found:
        schedule = getattr(optimizer, "_learning_rate", None)
        if isinstance(schedule, keras.optimizers.schedules.LearningRateSchedule):
            optimizer.learning_rate = _Scaled(schedule, factor)
        elif len(found) > 1 or rate is None:
            optimizer.learning_rate = _number(optimizer.learning_rate) * factor
        else:
            optimizer.learning_rate = rate


class _Scaled(keras.optimizers.schedules.LearningRateSchedule):
    def __init__(self, schedule: Any, factor: float) -> None:
        self.schedule, self.factor = schedule, factor

    def __call__(self, step: Any) -> Any:
        return self.schedule(step) * self.factor

    def get_config(self) -> dict[str, Any]:
        return {"schedule": self.schedule, "factor": self.factor}


def _number(value: Any) -> float:
    """As the user wrote it: 0.001, not the float32 0.0010000000474974513."""
    return float(f"{float(keras.ops.convert_to_numpy(value)):.7g}")
