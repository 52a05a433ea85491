"""The learning rate of a training that warms up and anneals: it rises, stays, and falls to 0.

Warm-up, stable, decay (Hu et al. 2024, arXiv 2404.06395; Hägele et al. 2024, arXiv 2405.18392). At
one rate throughout, what small batches and high rates lose to noise at the end counts against them,
as it would not in a training that anneals (Wu et al. 2018, arXiv 1803.02021).
"""

from dataclasses import dataclass

from autobatch.core import learning_curves
from autobatch.core.learning_curves import Curve
from autobatch.protocol import TrialSchedule

WARM_UP = 0.1  # of the steps, in which the rate rises
DECAY = 0.2  # of the steps, in which it falls

# To paste; trials train by these very lines. The first step has a rate above 0, and the last, too.
SOURCE = f"""\
import keras


@keras.saving.register_keras_serializable()
class WarmupStableDecay(keras.optimizers.schedules.LearningRateSchedule):
    def __init__(self, rate, steps, start=0):
        self.rate, self.steps, self.start = rate, steps, start

    def __call__(self, step):
        done = keras.ops.cast(step - self.start, "float32")
        rise = (done + 1) / ({WARM_UP} * self.steps)
        fall = (self.steps - done) / ({DECAY} * self.steps)
        return self.rate * keras.ops.clip(keras.ops.minimum(rise, fall), 0.0, 1.0)

    def get_config(self):
        return {{"rate": self.rate, "steps": self.steps, "start": self.start}}

"""


@dataclass(frozen=True)
class Reading:
    """How the curves of trials are read: by how their learning rate went. Shares are of a trial."""

    schedule: TrialSchedule
    targets_at: tuple[float, ...]  # of the baseline's trial: where a target may be, in order
    late: tuple[float, ...] = ()  # where finalists are evaluated beside the usual

    @property
    def anneals(self) -> bool:
        return self.schedule != "own"

    def cost(self, curve: Curve) -> float:
        """What a trial comes to: its least cost; of one that anneals, that of its end."""
        read = learning_curves.last_cost if self.anneals else learning_curves.best_cost
        return read(curve)


# What is half as fast gets to where the baseline is in half of its trial, with all seeds; to its
# end only what is sooner, or was lucky.
OWN = Reading("own", targets_at=(0.5, 0.75, 1.0))
# Annealed losses compare with annealed ones alone: the targets are where the rate falls.
ANNEALED = Reading(
    "warmup_stable_decay",
    targets_at=(1 - DECAY / 2, 1 - DECAY / 4, 1.0),
    late=(1 - DECAY, 1 - 3 * DECAY / 4, 1 - DECAY / 2, 1 - DECAY / 4),
)
READINGS = {each.schedule: each for each in (OWN, ANNEALED)}
