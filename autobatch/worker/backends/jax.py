"""JAX. What a step needs is known before it runs: XLA's own analysis of the compiled step.

On the CPU that analysis is all there is (nothing there counts memory, or limits it); a step that
would need more than the limit is not run. On a GPU the allocator's figures are read as well, and
its limit is a share of the device. XLA compiles the step once for each shape of its batch.
"""

import contextlib
import os
from collections.abc import Callable, Iterator
from typing import Any

from autobatch.protocol import Abilities, Job, ignore
from autobatch.worker.backends import (
    StepCount,
    StepLog,
    adapter,
    epochs_of,
    hide_gpus_from_tensorflow,
    line_with,
    moved,
    of_held,
)
from autobatch.worker.backends.compiled_steps import analysed, memory
from autobatch.worker.backends.jax_gpus import (
    NOT_STARTED,
    OUT_OF_MEMORY,
    UNSPECIFIC,
    counted_bytes,
    gpu_environment,
    start_cuda,
)
from autobatch.worker.mistakes import DeviceError

# TensorFlow, where it is: keras.utils.set_random_seed imports it. JAX imports the last as it
# compiles, which takes every process a twentieth of a second (2026-11-30, by -X importtime).
PRELOAD = ("jax", "keras", "tensorflow", "jaxlib.mlir.dialects.mhlo")
EQUAL_PARTS = True
COPIES_DATA = False
THREADS_PER_REPLICA = 4
SHORTEST = "JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS"


def template_environment(folder: str, device: str) -> dict[str, str]:
    """Trials of one size run one program: each process after the first finds it compiled.

    So are the many small ones beside it, of which JAX by itself keeps none.

    Were JAX to leave its own frames out of tracebacks, its errors would seem to come from ours.
    """
    # Read when it is imported; TensorFlow, for data, is to leave the GPU alone as well.
    hidden = {"JAX_PLATFORMS": "cpu", "CUDA_VISIBLE_DEVICES": "-1"}
    platforms = hidden if device == "cpu" else {}
    return platforms | {
        "JAX_COMPILATION_CACHE_DIR": f"{folder}/xla-programs",
        SHORTEST: os.environ.get(SHORTEST, "0"),
        "JAX_TRACEBACK_FILTERING": "off",
        "TF_CPP_MIN_LOG_LEVEL": "1",  # keeps the allocator's warnings, our evidence
    }


def environment(job: Job, notes: str | None) -> dict[str, str]:
    if job.target.device == "cpu":
        replicas = job.target.replicas
        if replicas == 1:
            return {}
        devices = f"--xla_force_host_platform_device_count={replicas}"
        flags = f"{os.environ.get('XLA_FLAGS', '')} {devices}".strip()
        # Replicas wait for each other in threads of one pool (by default, one for each core): with
        # too few of them a step waits for ever for the one before it.
        threads = str(THREADS_PER_REPLICA * replicas)
        return {"XLA_FLAGS": flags, "NPROC": threads}
    return gpu_environment(job.limit_bytes, job.device_bytes)


def configure(device: str, limit_bytes: int | None, replicas: int) -> None:
    if device == "gpu":
        start_cuda(replicas)
        hide_gpus_from_tensorflow()
    memory.limit_bytes = limit_bytes
    if replicas > 1:
        _share_among(replicas)
        memory.sharing = replicas if device == "cpu" else 1


def _share_among(replicas: int) -> None:
    import keras

    devices = keras.distribution.list_devices()
    if len(devices) < replicas:
        raise DeviceError(
            f"device.replicas is {replicas}; devices that JAX sees: {len(devices)}.",
            hint=f"Use --set device.replicas={len(devices)}, or check CUDA_VISIBLE_DEVICES.",
        )
    keras.distribution.set_distribution(keras.distribution.DataParallel(devices=devices[:replicas]))


watch_memory = ignore  # an allocation fails at once, or not at all
scope = contextlib.nullcontext  # the distribution that was set is everywhere


def device() -> tuple[str, str]:
    import jax

    on_gpu = jax.default_backend() == "gpu"
    return ("gpu", str(jax.devices()[0].device_kind)) if on_gpu else ("cpu", "CPU")


def abilities() -> Abilities:
    """On the CPU, what XLA says of a compiled step is all there is: it does not vary from run to
    run. On a GPU, what the allocator makes of it is to be seen."""
    return Abilities(predicts_memory=device()[0] == "cpu")


def versions() -> dict[str, str]:
    import jax
    import jaxlib

    return {"jax": str(jax.__version__), "jaxlib": str(jaxlib.__version__)}


def peak_bytes() -> int | None:
    counted = counted_bytes("peak_bytes_in_use")
    return (memory.peak_bytes or None) if counted is None else counted


def held_bytes() -> int | None:
    import jax

    counted = counted_bytes("bytes_in_use")
    if counted is not None:
        return counted
    return sum(int(array.nbytes) for array in jax.live_arrays())


def reset_peak() -> None:
    memory.peak_bytes = 0  # a GPU's peak cannot be reset


def synchronise() -> None:
    import jax

    jax.block_until_ready(jax.live_arrays())


def batches(fit_arguments: dict[str, Any]) -> Iterator[Any]:
    return moved(adapter(fit_arguments).get_jax_iterator())


def resident_batch(fit_arguments: dict[str, Any]) -> Any:
    from keras.src.backend.jax.trainer import _distribute_data

    return _distribute_data(next(iter(adapter(fit_arguments).get_jax_iterator())))


def input_epoch(fit_arguments: dict[str, Any]) -> Callable[[], Callable[[], bool]]:
    return epochs_of(adapter(fit_arguments).get_jax_iterator)


def _state(model: Any) -> Any:
    model.jax_state_sync()
    return model._get_jax_state(
        trainable_variables=True,
        non_trainable_variables=True,
        optimizer_variables=True,
        metrics_variables=True,
    )


def execution(model: Any, batch: Any) -> Callable[[], int]:
    steps = int(model.steps_per_execution)
    states = [_state(model)]  # the latest: the model's own variables are donated with the first

    def execute() -> int:
        _, states[0] = model.train_function(states[0], iter((batch,) * steps))
        return steps

    return execute


def gradients(model: Any) -> Callable[[Any, float], list[Any]]:
    import jax
    import keras

    def loss_of(weights: Any, others: Any, batch: Any, scale: Any) -> Any:
        kept, optimizer, metrics = others
        _, (unscaled, _, kept, _) = model.compute_loss_and_updates(
            weights, kept, metrics, *keras.utils.unpack_x_y_sample_weight(batch), True, optimizer
        )
        return unscaled * scale, kept

    compiled = jax.jit(jax.grad(loss_of, has_aux=True))

    def differentiate(batch: Any, scale: float) -> list[Any]:
        weights, *others = _state(model)
        found, kept = compiled(weights, others, batch, scale)
        for variable, value in zip(model.non_trainable_variables, kept, strict=True):
            variable.assign(value)
        return [keras.ops.cast(each, "float32") / scale for each in found]

    return differentiate


@contextlib.contextmanager
def full_precision() -> Iterator[None]:
    import jax

    with jax.default_matmul_precision("highest"):
        yield


def only_predict() -> None:
    memory.only_predicts = True


def count_steps(model: Any, batch_size: int) -> Callable[[], StepCount]:
    """Steps as Keras makes them, but compiled ahead of time.

    So their memory is known before they run, for training and for validation.
    """
    seen = StepLog(batch_size, synchronise)

    def make_train_function(force: bool = False) -> None:
        if model.train_function is not None and not force:
            return
        step = analysed(model, model.train_step)

        def counting(state: Any, data: Any) -> Any:
            found = step(state, data)
            seen.add(data)  # afterwards: one that is over the limit does not run
            return found

        model.train_function = model._make_function(counting)

    def make_test_function(force: bool = False) -> None:
        if model.test_function is None or force:
            model.test_function = model._make_function(analysed(model, model.test_step))

    model.make_train_function, model.train_function = make_train_function, None
    model.make_test_function, model.test_function = make_test_function, None

    return seen.count


def out_of_memory_evidence(error: BaseException) -> str | None:
    text = str(error)
    if not type(error).__module__.startswith(("jax", "jaxlib")) and NOT_STARTED not in text:
        return None
    if said := line_with(text, OUT_OF_MEMORY):
        return said
    if any(sign in text for sign in UNSPECIFIC):
        return of_held(text, *_held_and_limit())
    return None


def _held_and_limit() -> tuple[int, int | None]:
    return counted_bytes("peak_bytes_in_use") or 0, memory.limit_bytes
