"""The learning rate of a training that warms up and anneals: it rises, stays, and falls to 0.

Warm-up, stable, decay (Hu et al. 2024, arXiv 2404.06395; Hägele et al. 2024, arXiv 2405.18392). At
one rate throughout, what small batches and high rates lose to noise at the end counts against them,
as it would not in a training that anneals (Wu et al. 2018, arXiv 1803.02021).
"""

from typing import Any, TypeVar

WARM_UP = 0.1  # of the steps, in which the rate rises
DECAY = 0.2  # of the steps, in which it falls

Number = TypeVar("Number")


def lines(step: Number, steps: int) -> tuple[Number, Number]:
    """(the rise, the fall) at `step`, from 0 on: the lower one is the share of the peak, up to 1.

    The first step has a rate above 0, and the last one, too. `step` may be a tensor.
    """
    done: Any = step
    return (done + 1) / (WARM_UP * steps), (steps - done) / (DECAY * steps)


def share(step: float, steps: int) -> float:
    """Of the peak, at `step`."""
    return max(0.0, min(1.0, *lines(step, steps)))


SOURCE = f"""\
import keras


@keras.saving.register_keras_serializable()
class WarmupStableDecay(keras.optimizers.schedules.LearningRateSchedule):
    def __init__(self, rate, steps, start=0):
        self.rate, self.steps, self.start = rate, steps, start

    def __call__(self, step):
        done = keras.ops.cast(step, "float32") - self.start
        rise = (done + 1) / ({WARM_UP} * self.steps)
        fall = (self.steps - done) / ({DECAY} * self.steps)
        return self.rate * keras.ops.clip(keras.ops.minimum(rise, fall), 0.0, 1.0)

    def get_config(self):
        return {{"rate": self.rate, "steps": self.steps, "start": self.start}}

"""  # to paste
