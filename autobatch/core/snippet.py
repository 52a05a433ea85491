"""The lines to paste: what of the user's code a recommendation changes."""

from autobatch.core.evidence import Evidence
from autobatch.core.standing import Choice
from autobatch.protocol import Inspected
from autobatch.units import format_average


def snippet(choice: Choice, evidence: Evidence, inspected: Inspected, *, replicas: int = 1) -> str:
    rate = evidence.learning_rate(choice.setting)
    factor = _factor(rate, choice.setting.batch_size, evidence, inspected)
    names = [f"model.{name}" for name in inspected.optimizer_names]
    is_set = len(names) == 1 and not inspected.learning_rate_schedule
    if is_set and inspected.rate_scheduler is None:
        lines = [f"{names[0]}.learning_rate = {rate:.6g}"]
    elif factor == "1":
        lines = []
    elif is_set:
        lines = [f"# multiply what your {inspected.rate_scheduler} returns by {factor}"]
    elif len(names) > 1:
        lines = [f"# multiply the learning rates of {' and '.join(names)} by {factor}"]
    else:
        lines = [f"# multiply your {inspected.learning_rate_schedule} by {factor}"]
    kappa = evidence.compiled.kappa(choice.setting.batch_size)
    if inspected.schedule_counts_steps and kappa != 1:
        schedule = inspected.learning_rate_schedule
        lines.append(f"# divide the numbers of steps of your {schedule} by {kappa:.4g}")
    for name, value in evidence.hyperparameters(choice.setting.batch_size).items():
        inner = ".inner_optimizer" if inspected.loss_scaled else ""
        told = format_average(value, 6)
        lines.extend(f"{each}{inner}.{name} = {told}" for each in names)
    lines.append(inspected.fit_call.replace("{size}", str(choice.setting.batch_size)))
    if replicas > 1:
        each = choice.setting.batch_size // replicas
        lines.insert(
            0, f"# built for {replicas} replicas, each of which gets {each} samples a batch"
        )
    if inspected.batch_norm_layers and kappa != 1:
        told = format_average(moving_momentum(choice, evidence, inspected))
        lines.insert(0, f"# in the model: keras.layers.BatchNormalization(momentum={told})")
    return "\n".join(lines)


def _factor(rate: float, size: int, evidence: Evidence, inspected: Inspected) -> str:
    """`rate` over the one that the user's code has at that size."""
    inspected_at = inspected.batch_size or evidence.baseline.batch_size
    grows = (size / inspected_at) ** inspected.learning_rate_exponent
    return f"{rate / ((inspected.learning_rate or rate) * grows):.4g}"


def moving_momentum(choice: Choice, evidence: Evidence, inspected: Inspected) -> float:
    """For the snippet: with it BatchNormalization's memory stays the same in samples.

    The moving averages forget by the step, with this power of their momentum by the sample
    (Busbridge et al. 2023, arXiv 2307.13813). Trials are evaluated with statistics estimated anew,
    whatever it is.
    """
    kappa = evidence.compiled.kappa(choice.setting.batch_size)
    return float((inspected.batch_norm_momentum or 0.0) ** kappa)
