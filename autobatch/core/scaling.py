"""Learning-rate rules: the rate at another batch size, and what else goes with it, by optimizer.

kappa = new batch / old batch. Sources: SGD linear, Goyal et al. 2017 (arXiv 1706.02677), saturating
at the critical batch, McCandlish et al. 2018 (1812.06162); Adam and its relatives square root,
Malladi et al. 2022 (2205.10287); Lion and sign updates square root up to the critical batch
(2405.14578). The sum accumulators of Adagrad and Ftrl shrink by themselves, so their rate stays
(derived; tests/core/test_scaling.py simulates it). Rules are starting points of a ladder, never the
verdict.
"""

from collections.abc import Mapping
from math import inf, sqrt
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
    "ScheduleFreeAdamW": "sqrt",
    "Adagrad": "none",
    "Ftrl": "none",
}

# Momenta of averages over steps, which are to forget as fast in samples: raised to kappa.
AVERAGES = ("beta_2", "adam_beta_2", "rho", "ema_momentum")
# What is added to the root of averaged squared gradients, whose noise falls with the batch.
EPSILON_OF_ROOT = ("Adam", "AdamW", "Nadam", "Adamax", "Lamb", "ScheduleFreeAdamW")
STEPS = ("ema_overwrite_frequency", "warmup_steps")  # numbers of updates, as many in samples
BY_BATCH = ("ema_momentum",)  # Keras averages weights at each batch, also between updates
DECAYS = ("weight_decay", "adam_weight_decay")
# Of Adagrad and Ftrl, beside sums over all steps: the power of kappa by which these shrink. It is 2
# of squared gradients, and 1 of their root and of gradients (which an l1 of Ftrl clips).
BESIDE_SUMS = {
    "initial_accumulator_value": 2,
    "beta": 1,
    "l1_regularization_strength": 1,
    "l2_regularization_strength": 1,
}
# Of every optimizer of Keras; and of Muon, which trains what is no matrix as Adam does. Those
# without a rule have settings of their own, too.
COMMON = (*DECAYS, "adam_beta_2", "ema_momentum", "ema_overwrite_frequency")
WITHOUT_RULE = ("Adadelta", "Adafactor", "Muon")
# The last is told of, and kept (Goyal et al. 2017).
SETTINGS = (*AVERAGES, *STEPS, *DECAYS, *BESIDE_SUMS, "epsilon", "momentum")
# Of squared gradients. Below beta_1, beta_2 makes Adam unstable; and with a rho of fewer steps than
# ten, RMSprop divides a gradient by itself (tests/core/test_scaling.py simulates it).
LEAST_AVERAGE = 0.9
FAR_BEYOND = 8.0  # times the batch, or a part of it: rules are not to be extrapolated by more


def rule_for(optimizer: str, asked: str) -> tuple[Rule, str]:
    """(rule, reason). `asked` is the recipe's: auto | linear | sqrt | none."""
    for rule in get_args(Rule):
        if asked == rule:
            how = "no scaling" if rule == "none" else f"{rule} scaling"
            return rule, f"{how}, as the recipe asks"
    kind = _kind(optimizer)
    if kind not in RULES:
        several = " together" if "," in kind else ""
        return "none", f"no scaling rule is established for {kind}{several}: the rate is tuned only"
    return RULES[kind], f"{RULES[kind]} scaling, the rule for {kind}"


def _kind(optimizer: str) -> str:
    """Of several, the one that all are; else all of them."""
    kinds = set(optimizer.split(", "))
    return kinds.pop() if len(kinds) == 1 else optimizer


def gain(*, old_batch: float, new_batch: float, critical_batch: float = inf) -> float:
    """By how much more a step at `new_batch` may do: kappa (B_c + old) / (B_c + new).

    One formula for McCandlish's optimal rate, AdaScale's gain (2007.05105) and Pollux' efficiency
    times kappa: kappa far below the critical batch, and no more than 1 + B_c / old above it.
    """
    kappa = new_batch / old_batch
    if critical_batch == inf:
        return kappa
    return kappa * (critical_batch + old_batch) / (critical_batch + new_batch)


def scaled(
    learning_rate: float,
    rule: Rule,
    *,
    old_batch: int,
    new_batch: float,
    critical_batch: float = inf,
) -> float:
    """The learning rate at `new_batch` that the rule gives for `learning_rate` at `old_batch`."""
    more = gain(old_batch=old_batch, new_batch=new_batch, critical_batch=critical_batch)
    match rule:
        case "linear":
            return learning_rate * more
        case "sqrt":
            return learning_rate * sqrt(more)
        case "none":
            return learning_rate


def hyperparameters(
    optimizer: str, settings: Mapping[str, float], *, kappa: float, rate_ratio: float
) -> dict[str, float]:
    """What else of the optimizer changes with the batch, where the user's is `settings`.

    `rate_ratio` is the new learning rate over the old. Averages keep their memory in samples
    (beta_2, Malladi et al. 2022, Marek et al. 2025, arXiv 2507.07101; weight averages, Busbridge et
    al. 2023, 2307.13813); weight decay, which Keras multiplies by the rate, its time scale in
    epochs (Wang and Aitchison 2024, 2405.13698). Of an optimizer that is not Keras', nothing does.
    """
    kind = _kind(optimizer)
    if kappa == 1 or kind not in (*RULES, *WITHOUT_RULE):
        return {}
    found = {}
    for name, value in settings.items():
        if kind not in RULES and name not in COMMON:
            continue
        if name in STEPS:
            found[name] = float(max(1, round(value / kappa)))
        elif name in AVERAGES:
            least = 0.0 if name == "ema_momentum" else min(value, LEAST_AVERAGE)
            found[name] = max(value**kappa, least)
        elif name == "epsilon" and kind in EPSILON_OF_ROOT:
            found[name] = value / sqrt(kappa)
        elif name == "epsilon" and kind == "RMSprop":  # it is added before the root
            found[name] = value / kappa
        elif name in DECAYS:
            found[name] = value * kappa / rate_ratio
        elif name in BESIDE_SUMS:
            found[name] = value / kappa ** BESIDE_SUMS[name]
    return found


def whole_steps(hyperparameters: dict[str, float]) -> dict[str, float]:
    """Numbers of steps as Keras takes them."""
    return {k: int(v) if k in STEPS else v for k, v in hyperparameters.items()}
