"""What trials change in the user's optimizer: the learning rate, and what goes with the batch."""

import math
from typing import Any, Literal

import keras
import numpy as np

from autobatch.core.scaling import SETTINGS, STEPS
from autobatch.protocol import RATE_FUNCTION
from autobatch.worker.mistakes import UserError
from autobatch.worker.schedules import Growing, Scaled, WarmupStableDecay

Follows = Literal["", "partly", "wholly"]
NAME = {"name": ""}  # of optimizers that are compared
SCHEDULE_HORIZON = 2**20  # steps looked at for the peak of a schedule
ROUNDED = 0.05  # of the peak: a schedule's numbers of steps are, to whole ones
SKIPPED = 0.25  # of a trial's steps: loss scaling leaves out some updates
FINER = 8  # times, each time its neighbourhood is looked at
RISE_STEPS, NEARLY = 256, 0.99  # looked at on the way to it; of it


def optimizers(model: keras.Model) -> dict[str, Any]:
    """What applies the gradients, by its path, out of loss-scaling wrappers and MultiOptimizers.

    A model with a training step of its own (a GAN) may keep several as attributes. The one that it
    is compiled with is one of them, unless it is what Keras takes where none is named.
    """
    own = {
        name: value
        for name, value in vars(model).items()
        if isinstance(value, keras.optimizers.Optimizer) and name.strip("_") != "optimizer"
    }
    found = own
    if model.optimizer is not None and not (own and _is_default(model.optimizer)):
        found = {"optimizer": model.optimizer, **own}
    once: dict[str, Any] = {}
    for name, value in found.items():
        for path, each in _unwrapped(model, name, value):
            if all(each is not other for other in once.values()):  # the model may keep parts, too
                once[path] = each
    return once


def _unwrapped(model: keras.Model, path: str, optimizer: Any) -> list[tuple[str, Any]]:
    if hasattr(optimizer, "inner_optimizer"):
        path, optimizer = f"{path}.inner_optimizer", optimizer.inner_optimizer
    if not hasattr(optimizer, "optimizers"):
        return [(path, optimizer)]
    return [(f"{path}.optimizers[{n}]", each) for n, each in enumerate(_parts(model, optimizer))]


def _is_default(optimizer: Any) -> bool:
    """Whether `compile` may have made it without being told of any."""
    made = getattr(optimizer, "inner_optimizer", optimizer)
    default = keras.optimizers.RMSprop()
    return type(made) is type(default) and made.get_config() | NAME == default.get_config() | NAME


def _parts(model: keras.Model, multiple: Any) -> list[Any]:
    """The optimizers of a MultiOptimizer; where a function chooses them, only a built model has."""
    if not multiple.optimizers and model.built:
        multiple.build(model.trainable_variables)
    if not multiple.optimizers:
        raise UserError(
            "Which optimizers the model's MultiOptimizer has is not known before it is built.",
            hint="Give it a keras.optimizers.OptimizerMap, or build the model (model.build(shape)) "
            "before returning it.",
        )
    return list(multiple.optimizers)


def optimizer_notes(model: keras.Model) -> tuple[str, ...]:
    """What is told of a model that has several."""
    found = optimizers(model)
    if len(found) < 2:
        return ()
    told = ", ".join(
        f"{name} ({type(each).__name__}, {learning_rate(each)[0]:g})"
        for name, each in found.items()
    )
    return (
        f"The model has {len(found)} optimizers: {told}. The learning rate named is that of the "
        "first; trials multiply all by the same factor.",
    )


def accumulation_steps(model: keras.Model) -> int:
    """Training steps for one update of the weights."""
    return max(map(_accumulated, optimizers(model).values()), default=1)


def _accumulated(optimizer: Any) -> int:
    return getattr(optimizer, "gradient_accumulation_steps", None) or 1


def batch_norm_layers(model: keras.Model) -> list[Any]:
    """Without those that are frozen, whose averages do not move."""
    layers = model._flatten_layers()
    return [x for x in layers if isinstance(x, keras.layers.BatchNormalization) and x.trainable]


def learning_rate(optimizer: Any) -> tuple[float | None, str | None]:
    """(learning rate, schedule's class name or None). Of a schedule, its peak."""
    if optimizer is None:
        return None, None
    schedule = _schedule(optimizer)
    if schedule is None:
        return _number(optimizer.learning_rate), None
    if not isinstance(schedule, keras.optimizers.schedules.LearningRateSchedule):
        return _number(schedule()), RATE_FUNCTION
    return _peak(schedule, steps_made(optimizer))[1], type(schedule).__name__


def peak_step(optimizer: Any) -> int:
    """Batches from now on until its schedule has about its highest rate; 0 without one.

    Or until ScheduleFreeAdamW has warmed up.
    """
    start, schedule = steps_made(optimizer), _schedule(optimizer)
    if not isinstance(schedule, keras.optimizers.schedules.LearningRateSchedule):
        updates = int(_settings(optimizer).get("warmup_steps", 0))
        return max(0, updates * _accumulated(optimizer) - start)
    step, rate = _peak(schedule, start)  # of one that rises again and again, perhaps not the first
    before = range(0, step, max(1, step // RISE_STEPS))
    return next((each for each in before if _number(schedule(start + each)) >= NEARLY * rate), step)


def steps_made(optimizer: Any) -> int:
    """The steps that it has made: of a saved model, not 0."""
    return int(keras.ops.convert_to_numpy(optimizer._iterations))


def _peak(schedule: Any, start: int) -> tuple[int, float]:
    """(steps from `start`, rate). Looked for at powers of two, then ever nearer about the best."""
    steps = [0, *(2**power for power in range(SCHEDULE_HORIZON.bit_length()))]
    while True:
        rates = {step: _number(schedule(start + step)) for step in steps}
        best = max(rates, key=lambda step: rates[step])
        index = steps.index(best)
        first, last = steps[max(index - 1, 0)], steps[min(index + 1, len(steps) - 1)]
        if last - first <= 2:
            return best, rates[best]
        steps = sorted({best, *range(first, last + 1, max(1, (last - first) // FINER)), last})


def _schedule(optimizer: Any) -> Any | None:
    """A LearningRateSchedule, or a function without arguments; None of a rate that can be set."""
    rate = getattr(optimizer, "_learning_rate", None)
    return None if isinstance(rate, keras.Variable) or not callable(rate) else rate


def follows_batch(one: keras.Model, twice: keras.Model) -> Follows:
    """Whether the schedule of the first optimizer is twice as fast at twice the batch size.

    Whatever its rates are there. "partly": it differs otherwise, as by a warm-up that stays.
    """
    schedules = [_schedule(next(iter(optimizers(each).values()), None)) for each in (one, twice)]
    kind = keras.optimizers.schedules.LearningRateSchedule
    if not all(isinstance(each, kind) for each in schedules):
        return ""
    of_one, of_twice = schedules
    steps = [2**power for power in range(1, SCHEDULE_HORIZON.bit_length())]
    slow = _shape(of_one, steps)
    if np.allclose(slow, _shape(of_twice, steps), rtol=0, atol=ROUNDED):
        return ""
    halved = _shape(of_twice, [s // 2 for s in steps])
    return "wholly" if np.allclose(slow, halved, rtol=0, atol=ROUNDED) else "partly"


def _shape(schedule: Any, steps: list[int]) -> list[float]:
    """Its rates at them, as shares of its highest."""
    highest = _peak(schedule, 0)[1] or 1.0
    return [_number(schedule(step)) / highest for step in steps]


def scale_learning_rates(model: keras.Model, rate: float, *, speed: float = 1.0) -> None:
    """Set `rate`: of the first of several optimizers, all being multiplied by as much.

    So is a schedule, whose peak it is to be. Of a model whose callable took the rate as its
    argument, the rates are near it already. A schedule, which counts steps, goes through those to
    come `speed` times as fast.
    """
    found = list(optimizers(model).values())
    now = learning_rate(found[0])[0] if found else None
    factor = rate / now if now else 1.0
    if math.isclose(factor, 1.0, rel_tol=1e-5):
        factor = 1.0
    for optimizer in found:
        schedule = _schedule(optimizer)
        if schedule is not None and (factor, speed) != (1, 1):
            optimizer.learning_rate = _scaled(schedule, factor, speed, steps_made(optimizer))
        elif schedule is None and factor != 1:
            optimizer.learning_rate = _number(optimizer.learning_rate) * factor


def set_rates(model: keras.Model) -> list[float]:
    """The learning rates that are numbers: of optimizers without a schedule."""
    found = optimizers(model).values()
    return [_number(each.learning_rate) for each in found if _schedule(each) is None]


def _scaled(schedule: Any, factor: float, speed: float, start: int) -> Any:
    if isinstance(schedule, keras.optimizers.schedules.LearningRateSchedule):
        return Scaled(schedule, factor, speed, start)
    return lambda: schedule() * factor


def grow_learning_rates(model: keras.Model, first: float, ratio: float) -> None:
    """`first` times each rate, of a schedule its peak, and `ratio` times more at each step."""
    for optimizer in optimizers(model).values():
        rate, _ = learning_rate(optimizer)
        optimizer.learning_rate = Growing((rate or 0.0) * first, ratio, steps_made(optimizer))


def warm_up_and_anneal(model: keras.Model, steps: int) -> None:
    """Each rate, which is a number, over the next `steps` steps."""
    for optimizer in optimizers(model).values():
        rate, made = _number(optimizer.learning_rate), steps_made(optimizer)
        optimizer.learning_rate = WarmupStableDecay(rate, steps, made)


def went_through(model: keras.Model, steps: int) -> bool:
    """Whether each optimizer has gone on by as many steps in the schedule that it was given.

    A GAN may train one of several more often.
    """
    for optimizer in optimizers(model).values():
        schedule = _schedule(optimizer)
        if not isinstance(schedule, WarmupStableDecay):
            return False
        if abs(steps_made(optimizer) - schedule.start - steps) > SKIPPED * steps:
            return False
    return True


def settings(model: keras.Model) -> dict[str, float]:
    """What goes with the batch size beside the learning rate; what all optimizers have alike."""
    found = [_settings(each) for each in optimizers(model).values()] or [{}]
    return {k: v for k, v in found[0].items() if all(each.get(k) == v for each in found)}


def _settings(optimizer: Any) -> dict[str, float]:
    # Its configuration may not be had, for a schedule of the user's own.
    found = {name: getattr(optimizer, name, None) for name in SETTINGS}
    if not getattr(optimizer, "use_ema", False):
        found = {k: v for k, v in found.items() if not k.startswith("ema_")}
    # Older versions of Keras lack it.
    if not isinstance(optimizer, getattr(keras.optimizers, "ScheduleFreeAdamW", ())):
        found.pop("warmup_steps")
    return {k: float(v) for k, v in found.items() if isinstance(v, (int, float)) and v}


def change_settings(model: keras.Model, changes: dict[str, float]) -> None:
    """Before the training step is traced, which has them as constants."""
    for optimizer in optimizers(model).values():
        for name, value in changes.items():
            setattr(optimizer, name, int(value) if name in STEPS else value)


def _number(value: Any) -> float:
    """As the user wrote it: 0.001, not the float32 0.0010000000474974513."""
    return float(f"{float(keras.ops.convert_to_numpy(value)):.7g}")
