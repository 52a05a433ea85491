"""TensorFlow. On the CPU its BFC allocator, the one of its GPUs, runs with a hard limit.

`TF_CPU_ALLOCATOR_USE_BFC` and `TF_CPU_BFC_MEM_LIMIT_IN_MB` are read when the runtime initialises;
out-of-memory errors under them are real `ResourceExhaustedError`s. BFC waits 10 s for memory to be
freed before it gives up, on GPU as on CPU; where waiting.py can tell that it is in vain, 1 s.
"""

import contextlib
import os
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from typing import Any

from autobatch.protocol import Abilities, Job
from autobatch.worker.backends import StepCount, adapter, hide_gpus_from_tensorflow, waiting
from autobatch.worker.backends.tensorflow_errors import (
    out_of_memory_evidence as out_of_memory_evidence,
)
from autobatch.worker.backends.tensorflow_gpus import configure_gpus, gpu_environment, set_allocator
from autobatch.worker.backends.tensorflow_gpus import full_precision as full_precision

PRELOAD = ("tensorflow", "keras")
EQUAL_PARTS = False
COPIES_DATA = True
MEBIBYTE = 1 << 20
RESERVE_LESS_BYTES = 4 * MEBIBYTE  # taken by what the runtime allocates first


def template_environment(folder: str, device: str) -> dict[str, str]:
    # Read when it is imported; keeps the allocator's warnings, our evidence.
    return {"TF_CPP_MIN_LOG_LEVEL": "1"}


def environment(job: Job, notes: str | None) -> dict[str, str]:
    if job.target.device == "gpu":
        return gpu_environment()
    variables = {"CUDA_VISIBLE_DEVICES": "-1"}
    if job.limit_bytes is not None:
        variables["TF_CPU_ALLOCATOR_USE_BFC"] = "1"
        variables["TF_CPU_BFC_MEM_LIMIT_IN_MB"] = str(max(1, job.limit_bytes // MEBIBYTE))
        _dumps.extend([notes] if notes else [])
    return variables


_dumps: list[str] = []  # one, where an allocation that waits in vain is looked for
_to_reserve: list[int] = []  # once the user's module is imported, which may set threads
_to_share: list[int] = []  # likewise: among so many replicas
_strategies: list[Any] = []  # one, where there are replicas


def configure(device: str, limit_bytes: int | None, replicas: int) -> None:
    import tensorflow as tf

    if device == "gpu":
        configure_gpus(limit_bytes, replicas)
    else:
        hide_gpus_from_tensorflow()  # Apple's, which no variable hides
        if replicas > 1:
            cpu = tf.config.list_physical_devices("CPU")[0]
            one = tf.config.LogicalDeviceConfiguration()
            tf.config.set_logical_device_configuration(cpu, [one] * replicas)
        if limit_bytes is not None and _dumps:  # a probe, of which only memory counts
            _reserve(limit_bytes)
            _let_threads_be_set()
        elif limit_bytes is not None:
            _to_reserve.append(limit_bytes)
    if replicas > 1:
        _to_share.append(replicas)


def watch_memory(give_up: Callable[[str], None]) -> None:
    if _dumps:
        waiting.watch(_dumps[0], held_bytes, give_up)


def scope() -> AbstractContextManager[Any]:
    set_allocator()
    while _to_reserve:
        _reserve(_to_reserve.pop())
    if _to_share and not _strategies:
        import tensorflow as tf

        _strategies.append(tf.distribute.MirroredStrategy(_logical_devices()))
    return _strategies[0].scope() if _strategies else contextlib.nullcontext()


def _reserve(limit_bytes: int) -> None:
    """Make BFC take its whole limit as one region at once, as it does on a GPU.

    On the CPU it would grow by regions, in whose gaps nothing large fits: what trains would then
    depend on the order of allocations, which overlapping operations change from run to run.
    """
    import tensorflow as tf

    if limit_bytes > 2 * RESERVE_LESS_BYTES:
        rows = (limit_bytes - RESERVE_LESS_BYTES) // MEBIBYTE  # a shape's numbers have 32 bits
        # Freed again, never touched. A machine that does not overcommit may refuse: then it grows.
        with contextlib.suppress(tf.errors.ResourceExhaustedError):
            tf.raw_ops.Empty(shape=[rows, MEBIBYTE], dtype=tf.uint8, init=False)
        reset_peak()


def _let_threads_be_set() -> None:
    """The runtime, which has started, would refuse it, and no module of the user's be imported."""
    import tensorflow as tf

    threading = tf.config.threading
    threading.set_intra_op_parallelism_threads = lambda _: None
    threading.set_inter_op_parallelism_threads = lambda _: None


def device() -> tuple[str, str]:
    import tensorflow as tf

    gpus = tf.config.get_visible_devices("GPU")
    if not gpus:
        return "cpu", "CPU"
    details = tf.config.experimental.get_device_details(gpus[0])
    return "gpu", str(details.get("device_name", gpus[0].name))


def abilities() -> Abilities:
    """Keras (3.15) feeds replicas nothing after the first of several steps at once."""
    return Abilities(compiles_anew=device()[0] == "gpu", executes_several_steps=not _strategies)


def versions() -> dict[str, str]:
    import tensorflow as tf

    build = tf.sysconfig.get_build_info()
    found = {"tensorflow": tf.__version__}
    return found | {k: str(build[k]) for k in ("cuda_version", "cudnn_version") if k in build}


def _logical_devices() -> list[str]:
    """Those that train, in order."""
    import tensorflow as tf

    found = tf.config.list_logical_devices("GPU") or tf.config.list_logical_devices("CPU")
    return [each.name.removeprefix("/device:") for each in found]


def peak_bytes() -> int | None:
    return _memory("peak")


def held_bytes() -> int | None:
    return _memory("current")


def _memory(what: str) -> int | None:
    """Of the device that holds most. Those on the CPU have one allocator, and the same figures."""
    import tensorflow as tf

    devices = _logical_devices()
    if devices[0] == "CPU:0" and "TF_CPU_ALLOCATOR_USE_BFC" not in os.environ:
        return None  # the CPU's usual allocator does not count
    return max(int(tf.config.experimental.get_memory_info(each)[what]) for each in devices)


def reset_peak() -> None:
    import tensorflow as tf

    for device in _logical_devices():
        tf.config.experimental.reset_memory_stats(device)


def synchronise() -> None:
    import tensorflow as tf

    tf.test.experimental.sync_devices()


def _dataset(fit_arguments: dict[str, Any]) -> Any:
    return adapter(fit_arguments).get_tf_dataset()


def _shared(fit_arguments: dict[str, Any]) -> Any:
    """The dataset as `fit` gives it to the training step: a part of each batch for each replica."""
    dataset = _dataset(fit_arguments)
    return _strategies[0].experimental_distribute_dataset(dataset) if _strategies else dataset


def resident_batch(fit_arguments: dict[str, Any]) -> Any:
    return next(iter(_shared(fit_arguments))) if _strategies else next(batches(fit_arguments))


def batches(fit_arguments: dict[str, Any]) -> Iterator[Any]:
    import tensorflow as tf

    def move(leaf: Any) -> Any:
        return None if isinstance(leaf, tf.experimental.Optional) else tf.identity(leaf)

    for batch in _dataset(fit_arguments):
        with tf.device(_logical_devices()[0]):
            moved = tf.nest.map_structure(move, batch)
        yield moved


def gradients(model: Any) -> Callable[[Any, float], list[Any]]:
    import keras
    import tensorflow as tf

    weights = model.trainable_weights

    def differentiate(batch: Any, scale: Any) -> list[Any]:
        x, y, sample_weight = keras.utils.unpack_x_y_sample_weight(batch)
        with tf.GradientTape() as tape:
            predicted = model(x, training=True)
            loss = model._compute_loss(x, y, predicted, sample_weight, training=True)
            loss = keras.ops.multiply(loss, scale)
        found = tape.gradient(loss, weights, unconnected_gradients="zero")
        # Of embeddings, a gradient holds rows, the same one more than once: densified, they add up.
        return [tf.cast(tf.convert_to_tensor(each), tf.float32) / scale for each in found]

    compiled = tf.function(differentiate, reduce_retracing=True)
    # Of a Python number, a trace would be of its value alone.
    return lambda batch, scale: list(compiled(batch, tf.constant(scale, tf.float32)))


def execution(model: Any, batch: Any) -> Callable[[], int]:
    import tensorflow as tf

    steps = int(model.steps_per_execution)
    # Only of its own iterator does TensorFlow take the steps of an execution by itself; which, on a
    # GPU, brings the batch there each time.
    by_itself = steps > 1 and not _strategies
    repeated = iter(tf.data.Dataset.from_tensors(batch).repeat()) if by_itself else None

    def execute() -> int:
        model.train_function(repeated or iter((batch,) * steps))
        return steps

    return execute


def input_epoch(fit_arguments: dict[str, Any]) -> Callable[[], Callable[[], bool]]:
    import tensorflow as tf

    dataset = _shared(fit_arguments)

    def has_next(iterator: Any) -> Any:
        return iterator.get_next_as_optional().has_value()

    def begin() -> Callable[[], bool]:
        iterator = iter(dataset)
        return lambda: bool(draw(iterator))

    draw = tf.function(has_next)  # as in `fit`: no tensor is made for Python
    draw.get_concrete_function(iter(dataset))
    return begin


def only_predict() -> None:
    """Nothing knows before it runs."""


def count_steps(model: Any, batch_size: int) -> Callable[[], StepCount]:
    from autobatch.worker.backends.traced_steps import counted_by_the_graph

    replicas = int(_strategies[0].num_replicas_in_sync) if _strategies else 1
    return counted_by_the_graph(model, batch_size, replicas)
