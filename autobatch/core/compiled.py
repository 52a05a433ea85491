"""What the user's optimizer is compiled with, and what of it goes with the batch size."""

from dataclasses import dataclass, field

from autobatch.core import scaling


@dataclass(frozen=True)
class Compiled:
    """By the user, for their own batch size, which the baseline of trials may only stand for."""

    batch_size: int
    learning_rate: float
    optimizer: str = ""
    settings: dict[str, float] = field(default_factory=dict)  # beta_2, epsilon, ...
    schedule_peak_step: int = 0  # 0 without a warm-up
    schedule_counts_steps: bool = False  # whatever the batch size

    def kappa(self, batch_size: float) -> float:
        return batch_size / self.batch_size

    def schedule_speed(self, batch_size: int) -> float:
        """As fast in samples as the user's: steps of larger batches are fewer."""
        return self.kappa(batch_size) if self.schedule_counts_steps else 1.0

    def warm_up_steps(self, batch_size: int) -> float:
        """Fewer of larger batches, by trials or by the callable that is told the batch size."""
        return self.schedule_peak_step / self.kappa(batch_size)

    def hyperparameters(self, batch_size: float, learning_rate: float) -> dict[str, float]:
        """What else changes at a size, whose learning rate by the rule is given."""
        found = scaling.hyperparameters(
            self.optimizer,
            self.settings,
            kappa=self.kappa(batch_size),
            rate_ratio=learning_rate / self.learning_rate,
        )
        return {name: value for name, value in found.items() if value != self.settings[name]}
