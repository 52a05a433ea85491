"""Evidence on settings of which nothing was trained yet."""

from typing import Any

from pretend import inspected

from autobatch.core.compiled import Compiled
from autobatch.core.evidence import Evidence, Setting

OWN = Setting(32, 0)


def untrained(**facts: Any) -> Evidence:
    """The baseline is OWN, the user's own; larger batches take longer steps, and less by sample."""
    of_all: dict[str, Any] = {
        "baseline": OWN,
        "rule": "linear",
        "rule_reason": "Linear",
        "baseline_learning_rate": 0.01,
        "compiled": Compiled(32, 0.01, inspected()),
        "step_seconds": {32: 0.001, 64: 0.0015},
        "metric": "val_loss",
    }
    return Evidence(**of_all | facts)
