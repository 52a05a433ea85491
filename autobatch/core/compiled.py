"""What the user's optimizer is compiled with, and what of it goes with the batch size."""

from dataclasses import dataclass

from autobatch.core import scaling
from autobatch.protocol import Inspected


@dataclass(frozen=True)
class Compiled:
    """By the user, for their own batch size, which the baseline of trials may only stand for."""

    batch_size: int
    learning_rate: float
    inspected: Inspected

    def kappa(self, batch_size: float) -> float:
        return batch_size / self.batch_size

    def batch_norm_ratio(self, batch_size: int) -> float:
        """By which averages of BatchNormalization, if there are any, are to forget."""
        return self.kappa(batch_size) if self.inspected.batch_norm_layers else 1.0

    def schedule_speed(self, batch_size: int) -> float:
        """As fast in samples as the user's: steps of larger batches are fewer."""
        return self.kappa(batch_size) if self.inspected.schedule_counts_steps else 1.0

    def schedule_advice(self, batch_size: int) -> str:
        """What to change in it for that speed; nothing where it is the user's own."""
        speed, made = self.schedule_speed(batch_size), self.inspected.steps_made
        if speed == 1:
            return ""
        if made == 0:
            return f"divide its numbers of steps by {speed:.4g}"
        at = f"{made} + {speed:.4g} * (s - {made})"
        return f"from step {made} on, at step s take its rate at {at}"

    def warm_up_steps(self, batch_size: int) -> float:
        """Fewer of larger batches, by trials or by the callable that is told the batch size.

        At most: that may leave them as they are.
        """
        own = self.inspected.schedule_peak_step
        scaled = own / self.kappa(batch_size)
        return max(own, scaled) if self.inspected.schedule_follows_partly else scaled

    def hyperparameters(self, batch_size: float, learning_rate: float) -> dict[str, float]:
        """What else changes at a size, whose learning rate by the rule is given."""
        own = self.inspected.optimizer_settings
        found = scaling.hyperparameters(
            self.inspected.optimizer,
            own,
            kappa=self.kappa(batch_size),
            rate_ratio=learning_rate / self.learning_rate,
        )
        return {name: value for name, value in found.items() if value != own[name]}
