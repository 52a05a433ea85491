"""What ends trials in which nothing can be compared with the baseline: why, and what to do."""

from typing import NoReturn

from autobatch.core.evidence import Evidence
from autobatch.core.learning_curves import only_cost
from autobatch.errors import UserCodeError
from autobatch.protocol import OWN_LOSS

NOT_FINITE_UNTRAINED = "is not finite before any training"
NOT_FINITE = "was not a finite number"


def refuse_baseline(evidence: Evidence) -> NoReturn:
    """It cannot be trained."""
    why, nan = evidence.failed.get(evidence.baseline), evidence.inspected.nan
    nan = f" The data: {nan}." if nan else ""
    raise UserCodeError(
        f"The baseline (batch {evidence.baseline.batch_size}, learning rate "
        f"{evidence.baseline_learning_rate:.3g}) cannot be trained: {why or 'it diverges'}.{nan}",
        hint=f"There is nothing to compare with. {_remedy(why, evidence.metric)}",
    )


def _remedy(why: str | None, metric: str) -> str:
    if why is None:
        return "Mend the data, or set a lower baseline.learning_rate."
    if why == f"{metric} {NOT_FINITE_UNTRAINED}":
        return "Mend the loss (a logarithm of 0?) or the validation data."
    if why == f"{metric} {NOT_FINITE}":
        return "Mend the metric (a division by 0?), or rank by another: --set trials.metric=NAME."
    return "Its log in the run directory says more."


def refuse_what_never_changes(evidence: Evidence) -> None:
    """A loss that is one number throughout all trials so far, at several rates or sizes.

    Any training moves a loss, if by little. Other metrics may stand still for longer than a trial.
    """
    metric, curves = evidence.metric, evidence.first_curves
    cost = only_cost(curves.values())
    if cost is None or len(curves) < 2 or not metric.endswith("loss"):
        return
    others = [name for name in evidence.inspected.metrics if name != metric]
    hint = (
        "Are all validation sample weights 0, all weights of the model frozen, or is "
        f"baseline.learning_rate ({evidence.baseline_learning_rate:.3g}) far too low?"
    )
    if evidence.inspected.loss == OWN_LOSS:
        hint += (
            " Does fit show the same number? Keras shows a loss that test_step returns only where "
            "the model's `metrics` have it: keep a keras.metrics.Mean(name='loss') there."
        )
    if others:
        hint += f" Or rank by another metric: --set trials.metric={others[0]}."
    raise UserCodeError(
        f"{metric} is {evidence.shown(cost):.4g} in all of {len(curves)} trials, before training "
        "and after: it does not depend on the training, and nothing can be ranked by it.",
        hint=hint,
    )
