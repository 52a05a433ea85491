"""What trials start from: the baseline, the rule, and whether more of the metric is better."""

from math import log

from autobatch.core import scaling
from autobatch.core.evidence import Evidence, Setting
from autobatch.errors import UsageError, UserCodeError
from autobatch.protocol import BenchmarkResult, Inspected, ProbeResult
from autobatch.stages.ask import Session

MAXIMISED = {"accuracy", "acc", "auc", "precision", "recall", "f1", "iou", "r2", "score"}
MINIMISED = {"loss", "error", "mae", "mse", "rmse", "mape", "crossentropy", "perplexity"}


def plan(
    session: Session, inspected: Inspected, probed: ProbeResult, measured: BenchmarkResult
) -> Evidence:
    recipe = session.recipe
    if recipe.trials.metric not in inspected.metrics:
        raise UsageError(
            f"trials.metric is {recipe.trials.metric}, which this model does not report.",
            hint=f"It reports: {', '.join(inspected.metrics)}.",
        )
    rate = recipe.baseline.learning_rate or inspected.learning_rate
    if rate is None:
        raise UserCodeError(
            f"The model's optimizer ({inspected.optimizer}) has no learning rate to tune.",
            hint="`autobatch probe` and `autobatch benchmark` work without one.",
        )
    rule, reason = scaling.rule_for(inspected.optimizer, recipe.trials.learning_rate)
    step_seconds = {point.batch_size: point.step_seconds for point in measured.points}
    size = recipe.baseline.batch_size
    notes = []
    if size not in step_seconds:
        size = min(step_seconds, key=lambda each: abs(log(each / size)))
        own = recipe.baseline.batch_size
        why = f"at most {probed.largest_fitting}, bounded by {probed.bounded_by}"
        if own <= probed.largest_fitting:
            why = "its benchmark failed"
        notes.append(
            f"Your batch size {own} cannot be had ({why}); {size} stands for it as the baseline."
        )
    return Evidence(
        baseline=Setting(size, 0),
        rule=rule,
        rule_reason=reason,
        baseline_learning_rate=rate,
        step_seconds=step_seconds,
        maximise=_is_maximised(recipe.trials.metric),
        optimizer=inspected.optimizer,
        optimizer_settings=inspected.optimizer_settings,
        accumulation_steps=inspected.accumulation_steps,
        notes=notes,
    )


def _is_maximised(metric: str) -> bool:
    """Whether more of the metric is better; refuses one of which that is not known."""
    words = set(metric.lower().split("_"))
    if words & MAXIMISED and not words & MINIMISED:
        return True
    if words & MINIMISED:
        return False
    raise UsageError(
        f"Whether more or less of trials.metric {metric} is better is not known.",
        hint="Use val_loss, or a metric whose name says what it is: "
        f"{', '.join(sorted(MAXIMISED | MINIMISED))}.",
    )
