"""What trials change in the user's compiled model: the learning rate and BatchNorm momentum."""

from typing import Any

import keras

SCHEDULE_HORIZON = 2**20  # steps looked at for the peak of a schedule


def base_optimizer(model: keras.Model) -> Any:
    """The optimizer that applies the gradients, out of a loss-scaling wrapper."""
    return getattr(model.optimizer, "inner_optimizer", model.optimizer)


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


def scale_learning_rate(optimizer: Any, rate: float | None, factor: float) -> None:
    """Set the rate; multiply a schedule, whose rate cannot be set, by `factor`."""
    schedule = getattr(optimizer, "_learning_rate", None)
    if isinstance(schedule, keras.optimizers.schedules.LearningRateSchedule):
        optimizer.learning_rate = _Scaled(schedule, factor)
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
