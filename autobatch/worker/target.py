"""The user's model: from `file.py:callable`, `package.module:callable` or `model.keras`."""

import contextlib
import inspect
import math
from collections import defaultdict
from collections.abc import Callable
from difflib import get_close_matches
from pathlib import Path
from typing import Any

import keras
from keras.src.backend.common import global_state

from autobatch.protocol import Target, split
from autobatch.worker.backends import Backend
from autobatch.worker.frames import advice_on_framework, framework_beside
from autobatch.worker.imported import imported
from autobatch.worker.mistakes import TargetError, UserError
from autobatch.worker.saved import load_saved
from autobatch.worker.seeds import set_seed


def build_model(
    target: Target,
    backend: Backend,
    *,
    seed: int,
    batch_size: int,
    learning_rate: float | None = None,
) -> keras.Model:
    """The compiled model, built afresh where it trains on all replicas.

    The seed is set once the user's module is imported: it may set one itself.

    Callables that accept `batch_size` or `learning_rate` are given them; `learning_rate` None
    leaves the callable its default.
    """
    source = split(target.model)[0]
    with backend.scope():
        if source.endswith(".keras"):
            for role in ("data", "callbacks"):
                if getattr(target, role):  # whose module may register the model's classes
                    find_callable(target, role)
            set_seed(seed)
            model = load_saved(Path(target.folder, source))
        else:
            builder = find_callable(target, "model")
            set_seed(seed)
            offered: dict[str, Any] = {"batch_size": batch_size}
            if learning_rate is not None:
                offered["learning_rate"] = learning_rate
            model = builder(**arguments(builder, target, offered, role="model"))
    if not isinstance(model, keras.Model):
        raise UserError(
            f"{target.model} returned {_describe(model)}, not a keras.Model.",
            hint="Return the compiled model from it (with `keras` imported from Keras 3).",
        )
    # A step that the user's code has traced would go on with the settings that it had then.
    model.train_function = None
    if not model.compiled:
        what, when = f"The model that {target.model} returned", "returning"
        if source.endswith(".keras"):
            what, when = f"The model in {source}", "saving"
        raise UserError(
            f"{what} is not compiled.",
            hint=f"Call model.compile(optimizer=..., loss=...) before {when} it.",
        )
    _check_steps(model, target.backend)
    return model


def named_alike(build: Callable[[], keras.Model]) -> Callable[[], keras.Model]:
    """So that each model has the names of the first, as in processes that build one.

    Keras numbers what has none of its own by how many there were: metrics, too, that trials report.
    """
    counters = "object_name_uids"
    before = dict(global_state.get_global_attribute(counters) or {})

    def built() -> keras.Model:
        global_state.set_global_attribute(counters, defaultdict(int, before))
        return build()

    return built


def _check_steps(model: keras.Model, backend: str) -> None:
    """That Keras can call steps of the user's own: on JAX, they are given the state as well."""
    given = ("state", "data") if backend == "jax" else ("data",)
    for step in (model.train_step, model.test_step):
        if _takes(step, *given):
            continue
        taken = ", ".join(inspect.signature(step).parameters)
        another = framework_beside(backend)
        usual = "tensorflow" if backend == "jax" else "jax"
        raise UserError(
            f"{type(model).__name__}.{step.__name__} takes ({taken}), and on {backend} Keras gives "
            f"it ({', '.join(given)}).",
            hint=advice_on_framework(another, backend)
            if another
            else f"Write it as Keras calls it on {backend}, or use --set backend={usual}.",
        )


def _takes(function: Callable[..., Any], *given: Any, **named: Any) -> bool:
    """Whether it can be called so; of what tells no signature it is taken for granted."""
    try:
        signature = inspect.signature(function)
    except (TypeError, ValueError):
        return True
    try:
        signature.bind(*given, **named)
    except TypeError:
        return False
    return True


def has_own(model: keras.Model, *methods: str) -> bool:
    """Whether one of these is not Keras': of the user's class, or assigned to the model itself."""
    kind, theirs = type(model), keras.Model
    return any(n in vars(model) or getattr(kind, n) is not getattr(theirs, n) for n in methods)


def can_evaluate(model: keras.Model) -> bool:
    """Whether `evaluate` can work: a GAN, say, trains by a step of its own and has no other."""
    if has_own(model, "test_step"):
        return True
    loss_on_jax = getattr(model, "compute_loss_and_updates", None)  # which test_step calls there
    if loss_on_jax and not _takes(loss_on_jax, *range(6), training=False):
        return False  # the user's own, of another signature, as Keras' guide has it
    if not has_own(model, "train_step"):
        return True
    has_loss = model.loss is not None or has_own(model, "compute_loss")
    return has_loss and has_own(model, "call")


def fixed_batch_size(model: keras.Model) -> int | None:
    """The batch size that the model's inputs are built for, as a stateful RNN's are."""
    inputs = getattr(model, "inputs", None) or []
    sizes = {tensor.shape[0] for tensor in inputs} - {None}
    return int(sizes.pop()) if sizes else None


def has_fixed_inputs(model: keras.Model) -> bool:
    """Whether all samples must be of one shape; False where that is not known."""
    inputs = getattr(model, "inputs", None) or []
    return bool(inputs) and all(None not in tensor.shape[1:] for tensor in inputs)


def parameters(model: keras.Model) -> int:
    return sum(math.prod(weight.shape) for weight in model.weights)


def scalars(logs: dict[str, Any]) -> dict[str, float]:
    """Metrics that are one number; a metric per class (F1Score) is none to compare by."""
    found: dict[str, float] = {}
    for name, value in logs.items():
        with contextlib.suppress(TypeError, ValueError):
            found[name] = float(value)
    return found


def recurrent_states(model: keras.Model) -> list[Any]:
    """The states that stateful layers keep from one batch to the next."""
    layers = [layer for layer in model._flatten_layers() if getattr(layer, "stateful", False)]
    return [
        state for layer in layers for state in keras.tree.flatten(layer.states) if state is not None
    ]


def find_callable(target: Target, role: str) -> Callable[..., Any]:
    """What it names as its model, data or callbacks; TargetError says what is there instead."""
    reference: str = getattr(target, role)
    source, name = split(reference)
    if not name:
        raise TargetError(
            f"{role}: {reference} does not name a callable.",
            hint=f"Write {source}:FUNCTION, with the function that returns the {role}.",
        )
    module = imported(source, Path(target.folder))
    found = getattr(module, name, None)
    if found is None:
        there = sorted(
            n
            for n, value in vars(module).items()
            if callable(value) and getattr(value, "__module__", None) == module.__name__
        )
        near = get_close_matches(name, there, n=1)
        raise TargetError(
            f"{role}: {source} has no {name}.",
            hint=(f"Did you mean {near[0]}? " if near else "")
            + f"Callables there: {', '.join(there) or 'none'}.",
        )
    if isinstance(found, keras.Model):
        raise TargetError(
            f"{role}: {reference} is a model, and each process makes its own.",
            hint=f"Have `def build_model():` return the compiled model: {source}:build_model.",
        )
    if not callable(found):
        raise TargetError(f"{role}: {reference} is {_describe(found)}, not a function.")
    callable_found: Callable[..., Any] = found
    return callable_found


def arguments(
    function: Callable[..., Any], target: Target, offered: dict[str, Any], *, role: str
) -> dict[str, Any]:
    """`args` of the recipe (for the model), and those of `offered` that `function` accepts."""
    parameters = inspect.signature(function).parameters
    open_ended = any(p.kind is p.VAR_KEYWORD for p in parameters.values())
    given = dict(target.args) if role == "model" else {}
    unknown = [name for name in given if name not in parameters and not open_ended]
    if unknown:
        near = get_close_matches(unknown[0], parameters, n=1)
        raise TargetError(
            f"args: {getattr(function, '__name__', role)}() has no argument {unknown[0]!r}.",
            hint=(f"Did you mean {near[0]}? " if near else "")
            + f"Its arguments: {', '.join(parameters) or 'none'}.",
        )
    if "batch_size" in given and "batch_size" in parameters:
        raise TargetError(
            "args: batch_size is given by autobatch, each that it tries.",
            hint="Leave it out of args; yours is baseline.batch_size.",
        )
    chosen = {k: v for k, v in offered.items() if k in parameters} | given
    try:
        inspect.signature(function).bind(**chosen)
    except TypeError as error:
        name = getattr(function, "__name__", role)
        hint = "Give its arguments a default" + {
            "model": ", or values under `args:` in the recipe.",
            "data": "; it is given batch_size, and as loaded what `load_once()` beside it returns.",
        }.get(role, ".")
        if "hp" in parameters:
            hint = (
                "Name a function that chooses what KerasTuner would: "
                f"def build_default(): return {name}(keras_tuner.HyperParameters())"
            )
        raise TargetError(f"{role}: {name}() cannot be called: {error}.", hint=hint) from None
    return chosen


def _describe(value: object) -> str:
    kind = type(value)
    if value is None or kind.__module__ == "builtins":
        return "None" if value is None else f"an object of type {kind.__qualname__}"
    return f"a {kind.__module__}.{kind.__qualname__}"
