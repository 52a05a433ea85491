"""The lines to paste: what of the user's code a recommendation changes."""

from autobatch.core.evidence import Evidence
from autobatch.core.standing import Choice
from autobatch.core.warmup_stable_decay import SOURCE
from autobatch.protocol import Inspected
from autobatch.units import format_average

_STEPS_PER_EPOCH = "# STEPS_PER_EPOCH: batches of an epoch; fit needs none if data ends by itself"


def snippet(
    choice: Choice,
    evidence: Evidence,
    *,
    steps_per_epoch: int,
    replicas: int = 1,
) -> str:
    size = choice.setting.batch_size
    rate, inspected = evidence.learning_rate(choice.setting), evidence.inspected
    factor = _factor(rate, size, evidence)
    names = [f"model.{name}" for name in inspected.optimizer_names]
    *loading, fit_call = inspected.fit_call.replace("{size}", str(size)).splitlines()
    if not inspected.is_whole:
        fit_call = f"{fit_call.removesuffix(')')}, steps_per_epoch=STEPS_PER_EPOCH)"
        fit_call = f"{_STEPS_PER_EPOCH}\n{fit_call}"
    if evidence.reading.anneals:
        steps = f"EPOCHS * {steps_per_epoch if inspected.is_whole else 'STEPS_PER_EPOCH'}"
        lines = _annealed(names, rate, factor, steps, inspected)
        fit_call = f"{fit_call.removesuffix(')')}, epochs=EPOCHS)"
    else:
        lines = _rates(names, rate, factor, inspected)
    if advice := evidence.compiled.schedule_advice(size):
        lines.append(f"# your {inspected.learning_rate_schedule}: {advice}")
    for name, value in evidence.hyperparameters(size).items():
        told = format_average(value, 6)
        lines.extend(f"{each}.{name} = {told}" for each in names)
    if lines and inspected.optimizer_call:
        lines.insert(0, inspected.optimizer_call)
    lines.append(fit_call)
    # The loader first: the model may be built from what that sets.
    lines[:0] = [*loading, *_built(rate, size, evidence)]
    if replicas > 1:
        each = size // replicas
        lines.insert(
            0, f"# built for {replicas} replicas, each of which gets {each} samples a batch"
        )
    if inspected.batch_norm_layers and evidence.compiled.kappa(size) != 1:
        told = format_average(moving_momentum(size, evidence))
        lines.insert(0, f"# in the model: keras.layers.BatchNormalization(momentum={told})")
    return "\n".join(lines)


def _built(rate: float, size: int, evidence: Evidence) -> list[str]:
    """The model, where it is told of what changes."""
    call, compiled = evidence.inspected.model_call, evidence.compiled
    changed = {
        "{size}": (str(compiled.batch_size), str(size)),
        "{rate}": (f"{compiled.learning_rate:.6g}", f"{rate:.6g}"),
    }
    if all(own == told for name, (own, told) in changed.items() if name in call):
        return []
    for name, (_, told) in changed.items():
        call = call.replace(name, told)
    return [call]


def _rates(names: list[str], rate: float, factor: str, inspected: Inspected) -> list[str]:
    """What of them changes where the user's own code says how they go."""
    is_set = len(names) == 1 and not inspected.learning_rate_schedule
    if is_set and inspected.rate_scheduler is None:
        return [f"{names[0]}.learning_rate = {rate:.6g}"]
    if factor == "1":
        return []
    if is_set:
        named = f"your optimizer and your {inspected.rate_scheduler} name"
        return [f"# multiply the rates that {named} by {factor} (not those made from lr)"]
    if len(names) > 1:
        return [f"# multiply the learning rates of {' and '.join(names)} by {factor}"]
    return [f"# multiply your {inspected.learning_rate_schedule} by {factor}"]


def _annealed(
    names: list[str], rate: float, factor: str, steps: str, inspected: Inspected
) -> list[str]:
    """The schedule that trials had, over the steps of the user's whole training."""
    lines = [SOURCE, "# EPOCHS: those of your whole training"]
    start = f", start={inspected.steps_made}" if inspected.steps_made else ""
    if len(names) == 1:
        schedule = f"WarmupStableDecay({rate:.6g}, steps={steps}{start})"
        return [*lines, f"{names[0]}.learning_rate = {schedule}"]
    return [
        *lines,
        f"for optimizer in ({', '.join(names)}):",
        f"    rate = {factor} * float(optimizer.learning_rate)",
        f"    optimizer.learning_rate = WarmupStableDecay(rate, steps={steps}{start})",
    ]


def _factor(rate: float, size: int, evidence: Evidence) -> str:
    """`rate` over the one that the user's code has at that size."""
    inspected = evidence.inspected
    inspected_at = inspected.batch_size or evidence.baseline.batch_size
    grows = (size / inspected_at) ** inspected.learning_rate_exponent
    return f"{rate / ((inspected.learning_rate or rate) * grows):.4g}"


def moving_momentum(batch_size: int, evidence: Evidence) -> float:
    """With it BatchNormalization's memory stays the same in samples.

    The moving averages forget by the step, with this power of their momentum by the sample
    (Busbridge et al. 2023, arXiv 2307.13813). Trials are evaluated with statistics estimated anew,
    whatever it is.
    """
    kappa = evidence.compiled.kappa(batch_size)
    return float((evidence.inspected.batch_norm_momentum or 0.0) ** kappa)
