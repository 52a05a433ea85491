"""What the user's model and data are, and that they are what they must be."""

import math
import platform
from collections.abc import Callable
from contextlib import suppress
from functools import partial
from typing import Any

import keras

from autobatch.protocol import OWN_LOSS, Inspect, Inspected, Target, split
from autobatch.units import format_duration
from autobatch.worker import cache_files
from autobatch.worker import data as user_data
from autobatch.worker.arrays import Arrays, itemsize
from autobatch.worker.backends import Backend, adapter
from autobatch.worker.batches import Built
from autobatch.worker.by_size import by_size, scheduler_exponent
from autobatch.worker.callbacks import callback_notes, made_callbacks, rate_setters, scheduler
from autobatch.worker.called import Called, call_loader
from autobatch.worker.calls import fit_call, model_call, optimizer_call
from autobatch.worker.configuration import Configuration
from autobatch.worker.cpu import cpu_name
from autobatch.worker.datasets import Unbatched
from autobatch.worker.frames import no_memory, users_code, users_files
from autobatch.worker.mistakes import uncounted_memory
from autobatch.worker.optimizer import (
    accumulation_steps,
    batch_norm_layers,
    learning_rate,
    optimizer_notes,
    optimizers,
    peak_step,
    settings,
    steps_made,
)
from autobatch.worker.order import order_notes
from autobatch.worker.set_too_late import READ_AT_IMPORT, read_by_now, set_since
from autobatch.worker.sharpness import why_no_sharpness
from autobatch.worker.source import Source, nan_phrase
from autobatch.worker.target import (
    build_model,
    can_evaluate,
    fixed_batch_size,
    named_alike,
    parameters,
    scalars,
)
from autobatch.worker.tasks.given_rate import argument_stays

SLOW_IMPORT_SECONDS = 3.0
FEW_SAMPLES = 8  # for each replica: enough to see shapes; with a smaller batch size, not more
NOT_ON_TRAINING = (
    "The model cannot be evaluated on training samples, but it can on those for validation: "
    "whether it trains is seen by the first measurement."
)


def run(task: Inspect, target: Target, backend: Backend) -> Inspected:
    size = task.batch_size
    before, configuration = read_by_now(target), Configuration(target)
    called = call_loader(target, batch_size=size, anew=True)
    build = named_alike(partial(build_model, target, backend, seed=target.seed, batch_size=size))
    model = build()
    call_of_optimizer = optimizer_call(model)  # before anything here builds it
    abilities = backend.abilities()
    if abilities.predicts_memory and (model.run_eagerly or not model.jit_compile):
        raise uncounted_memory()
    few = fixed_batch_size(model) or FEW_SAMPLES * target.replicas
    data = user_data.load(
        target, model, called, batch_size=size, samples=size, validates=True, anew=True
    )
    first = data.train.part(min(data.train.count, size))
    cuts = isinstance(data.train, (Arrays, Unbatched))  # what the user batches stays as it is
    tried = first.part(min(first.count, few)) if cuts else first
    model, metrics, notes = _try_out(model, build, tried, first, data.validation, backend)
    cache_files.let_go()
    given = first.fit_arguments(size)
    adapter(given | {"class_weight": target.class_weight})  # fails where those do not go with it
    nan = _nan_report(data, given["x"])
    is_split = data.has_validation and len(data.extents) == 1
    callbacks, kept_alike = made_callbacks(target, size), settings(model)
    notes = (
        *data.notes,
        *notes,
        *order_notes(data.train, model, size, is_split=is_split),
        *_import_notes(target, called),
        *set_since(before),
        *cache_files.notes(),
        *callback_notes(callbacks, averages="ema_momentum" in kept_alike),
        *optimizer_notes(model),
        *_strategy_notes(model, target),
    )
    momenta, named = batch_norm_layers(model), optimizers(model)
    (kind, device_name), found = backend.device(), list(named.values())
    told = [learning_rate(each) for each in found]
    rate, schedule = (told[0][0] if told else None), next((s for _, s in told if s), None)
    told_size = by_size(model, size, target, backend, called, schedule=schedule)
    rate_scheduler, exponent = None, told_size.rate_exponent
    if schedule is None and len(found) == 1:
        rate_scheduler, rate = scheduler(callbacks, rate)
        if rate_scheduler is not None:
            exponent = scheduler_exponent(target, size, rate, told[0][0])
    rate_stays = argument_stays(target, model, rate)
    return Inspected(
        model_name=model.name,
        parameters=parameters(model),
        parameter_bytes=sum(math.prod(v.shape) * itemsize(str(v.dtype)) for v in model.variables),
        optimizer=", ".join(type(each).__name__ for each in found) or "none",
        learning_rate=rate,
        learning_rate_schedule=schedule,
        loss=_name(model.loss),
        metrics=metrics,
        jit_compile=bool(model.jit_compile),
        precision=_precision(model),
        batch_norm_layers=len(momenta),
        batch_norm_momentum=momenta[0].momentum if momenta else None,
        train_samples=None if data.source == "synthetic" else data.count,
        validation_samples=None if data.validation is None else data.validation.count,
        data_source=data.source,
        code_fingerprint=users_code(target),
        data_fingerprint=user_data.fingerprint(data),
        nan=nan,
        notes=(*notes, *told_size.notes),
        versions={"python": platform.python_version(), "keras": keras.__version__}
        | backend.versions(),
        device_name=device_name if kind == "gpu" else cpu_name(),
        device_kind="gpu" if kind == "gpu" else "cpu",
        optimizer_names=tuple(named) or ("optimizer",),
        optimizer_settings=kept_alike,
        accumulation_steps=accumulation_steps(model),
        accumulation_follows_batch=told_size.accumulation_follows,
        abilities=abilities,
        saved_seconds=data.saved_seconds,
        mapped_bytes=data.mapped_bytes,
        extents=data.extents,
        schedule_follows_batch=told_size.follows != "",
        schedule_follows_partly=told_size.follows == "partly",
        schedule_peak_step=max(map(peak_step, found), default=0),
        learning_rate_exponent=exponent,
        rate_scheduler=rate_scheduler,
        data_kind=data.train.kind,
        fit_call=fit_call(data.train, target, called),
        model_call=model_call(target, rate_stays=rate_stays),
        optimizer_call=call_of_optimizer,
        batch_size=size,
        code_files=tuple(users_files(target)),
        configuration=configuration.read(),
        settings={name: value for name in READ_AT_IMPORT if (value := before[name])},
        rate_setters=rate_setters(callbacks),
        steps_made=max(map(steps_made, found), default=0),
        validation_is_batched=isinstance(data.validation, Built),
        rate_argument_stays=rate_stays,
        why_no_sharpness=why_no_sharpness(model),
    )


def _try_out(
    model: keras.Model,
    build: Callable[[], keras.Model],
    few: Source,
    more: Source,
    validation: Source | None,
    backend: Backend,
) -> tuple[keras.Model, tuple[str, ...], tuple[str, ...]]:
    """(model, metrics, notes) of what was tried with `few` samples, or else with `more` of them.

    A model may take no fewer than some number. Or it trains on other batches than it is evaluated
    on (with samples beside them that have no labels): it is tried on those of `validation`. What
    one is left like that failed, nobody knows: each further try is on one that is built afresh.
    """
    try:
        return model, *_try(model, few)
    except Exception as error:
        if _is_of_memory(error, backend):
            raise
        failed = error
    if few.count < more.count:
        model = build()
        try:
            return model, *_try(model, more)
        except Exception as error:
            error.add_note(f"This is with {more.count} samples; with {few.count} it failed, too.")
            if _is_of_memory(error, backend):
                raise
            failed = error
    if validation is not None and can_evaluate(model):
        model = build()
        with suppress(Exception):
            metrics, _ = _try(model, validation.part(min(validation.count, more.count)))
            return model, metrics, (NOT_ON_TRAINING,)
    raise failed


def _is_of_memory(error: Exception, backend: Backend) -> bool:
    return bool(no_memory(error) or backend.out_of_memory_evidence(error))


def _try(model: keras.Model, few: Source) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """(metrics, notes). Model and data go together, or this raises, before anything costly starts.

    It builds a model that knows no input shape yet, and names its metrics.
    """
    arguments = few.fit_arguments(few.count)  # at most a batch of them
    if can_evaluate(model):
        arguments.pop("shuffle", None)
        logs = model.evaluate(**arguments, verbose=0, return_dict=True)
        return tuple(f"val_{name}" for name in scalars(logs)), ()
    model.fit(**arguments, verbose=0)
    note = (
        f"{type(model).__name__} has a train_step of its own and no test_step: it cannot be "
        "evaluated, so that probe and benchmark work, and recommend does not."
    )
    return (), (note,)


def _import_notes(target: Target, called: Called) -> tuple[str, ...]:
    if called.import_seconds < SLOW_IMPORT_SECONDS:
        return ()
    module = split(target.model)[0]
    took = format_duration(called.import_seconds)
    told = f"Importing {module} takes {took}, in every process. What it loads is better loaded in "
    return (f"{told}the function that `data` names, whose arrays are kept.",)


def _strategy_notes(model: keras.Model, target: Target) -> tuple[str, ...]:
    strategy = getattr(model, "_distribute_strategy", None)
    if strategy is None or target.replicas > 1:
        return ()
    return (
        f"The model is built under a {type(strategy).__name__} of your own, and measured on one "
        "device: device.replicas in the recipe measures several (leave your own scope out then).",
    )


def _nan_report(data: user_data.Data, batches: Any) -> str | None:
    """Of all arrays; of the first of the batches of what is no array, before `fit` prepares it."""
    if isinstance(data.train, Arrays):
        found = nan_phrase({"x": data.train.x, "y": data.train.y}, "")
    else:
        batch = next(iter(batches))
        parts = batch if isinstance(batch, (tuple, list)) else (batch,)
        found = nan_phrase(dict(zip(("x", "y"), parts, strict=False)), "the first ")
    if found is None and isinstance(data.validation, Arrays):
        named = {"validation x": data.validation.x, "validation y": data.validation.y}
        return nan_phrase(named, "")
    return found


def _precision(model: keras.Model) -> str:
    """The dtype policies of the layers that have weights; the global one where none has."""
    policies = {
        layer.dtype_policy.name
        for layer in model._flatten_layers()
        if layer.weights and not isinstance(layer, keras.Model)
    }
    return ", ".join(sorted(policies)) or str(keras.config.dtype_policy().name)


def _name(loss: Any) -> str:
    if loss is None:
        return OWN_LOSS
    if isinstance(loss, dict):
        return ", ".join(f"{key}: {_name(each)}" for key, each in sorted(loss.items()))
    if isinstance(loss, (list, tuple)):
        return ", ".join(map(_name, loss))
    if isinstance(loss, str):
        return loss
    return str(getattr(loss, "name", None) or getattr(loss, "__name__", type(loss).__name__))
