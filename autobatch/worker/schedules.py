"""The schedules of learning rates that jobs set: Keras asks them for the rate of each step."""

from typing import Any

import keras

from autobatch.core.warmup_stable_decay import SOURCE


class Growing(keras.optimizers.schedules.LearningRateSchedule):
    def __init__(self, first: float, ratio: float, start: int) -> None:
        self.first, self.ratio, self.start = first, ratio, start

    def __call__(self, step: Any) -> Any:
        return self.first * keras.ops.power(
            self.ratio, keras.ops.cast(step - self.start, "float32")
        )

    def get_config(self) -> dict[str, Any]:
        return {"first": self.first, "ratio": self.ratio, "start": self.start}


class Scaled(keras.optimizers.schedules.LearningRateSchedule):
    def __init__(self, schedule: Any, factor: float, speed: float, start: int) -> None:
        self.schedule, self.factor, self.speed, self.start = schedule, factor, speed, start

    def __call__(self, step: Any) -> Any:
        # A whole step, as schedules may expect: an integer of the counter's own type.
        sped = keras.ops.cast(keras.ops.cast(step - self.start, "float32") * self.speed, "int32")
        return self.schedule(self.start + sped) * self.factor

    def get_config(self) -> dict[str, Any]:
        return {
            "schedule": self.schedule,
            "factor": self.factor,
            "speed": self.speed,
            "start": self.start,
        }


def _as_pasted() -> Any:
    """The class by the lines that users paste; what they raise is ours."""
    names: dict[str, Any] = {"__name__": __name__}
    exec(compile(SOURCE, __file__, "exec"), names)
    return names["WarmupStableDecay"]


WarmupStableDecay = _as_pasted()
