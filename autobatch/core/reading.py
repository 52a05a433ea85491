"""How the curves of trials are read: by how their learning rate went."""

from dataclasses import dataclass

from autobatch.core.warmup_stable_decay import DECAY
from autobatch.protocol import TrialSchedule


@dataclass(frozen=True)
class Reading:
    """Shares are of a trial."""

    schedule: TrialSchedule
    targets_at: tuple[float, ...]  # of the baseline's trial: where a target may be, in order
    late: tuple[float, ...] = ()  # where finalists are evaluated beside the usual

    @property
    def anneals(self) -> bool:
        return self.schedule != "own"


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
