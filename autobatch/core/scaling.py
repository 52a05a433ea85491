"""Learning-rate rules: the rate at another batch size, by optimizer.

kappa = new batch / old batch. Sources: SGD linear, Goyal et al. 2017 (arXiv 1706.02677); Adam and
its relatives square root, Malladi et al. 2022 (2205.10287); Lion and sign updates square root up to
the critical batch (2405.14578). The sum accumulators of Adagrad and Ftrl shrink by themselves, so
their rate stays (derived; test T10). Rules are starting points of a ladder, never the verdict.
"""

from math import sqrt
from typing import Literal, get_args

Rule = Literal["linear", "sqrt", "none"]

RULES: dict[str, Rule] = {
    "SGD": "linear",
    "Adam": "sqrt",
    "AdamW": "sqrt",
    "Nadam": "sqrt",
    "Adamax": "sqrt",
    "RMSprop": "sqrt",
    "Lion": "sqrt",
    "Lamb": "sqrt",
    "Adagrad": "none",
    "Ftrl": "none",
}


def rule_for(optimizer: str, asked: str) -> tuple[Rule, str]:
    """(rule, reason). `asked` is the recipe's: auto | linear | sqrt | none."""
    for rule in get_args(Rule):
        if asked == rule:
            how = "no scaling" if rule == "none" else f"{rule} scaling"
            return rule, f"{how}, as the recipe asks"
    if optimizer not in RULES:
        return "none", f"no scaling rule is established for {optimizer}: the rate is tuned only"
    return RULES[optimizer], f"{RULES[optimizer]} scaling, the rule for {optimizer}"


def scaled(learning_rate: float, rule: Rule, *, old_batch: int, new_batch: int) -> float:
    """The learning rate at `new_batch` that the rule gives for `learning_rate` at `old_batch`."""
    kappa = new_batch / old_batch
    match rule:
        case "linear":
            return learning_rate * kappa
        case "sqrt":
            return learning_rate * sqrt(kappa)
        case "none":
            return learning_rate


def batch_norm_exponent(*, old_batch: int, new_batch: int) -> float:
    """Power of BatchNormalization's momentum that keeps its memory the same in samples.

    The moving averages forget by the step; momentum ** kappa forgets by the sample (Busbridge et
    al. 2023, arXiv 2307.13813). Without it short trials at large batches are evaluated with the
    statistics of the initial weights.
    """
    return new_batch / old_batch
