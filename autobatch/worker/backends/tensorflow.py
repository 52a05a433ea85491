"""TensorFlow. On the CPU its BFC allocator, the one of its GPUs, runs with a hard limit.

`TF_CPU_ALLOCATOR_USE_BFC` and `TF_CPU_BFC_MEM_LIMIT_IN_MB` are read when the runtime initialises;
out-of-memory errors under them are real `ResourceExhaustedError`s. BFC waits 10 s for memory to be
freed before it gives up (`kMaxMillisToWait`), on GPU as on CPU.
"""

import contextlib
import os
import re
from collections.abc import Callable, Iterator
from typing import Any

from autobatch.worker.backends import StepCount, adapter
from autobatch.worker.mistakes import DeviceError

PRELOAD = ("tensorflow", "keras")
MEBIBYTE = 1 << 20
RESERVE_LESS_BYTES = 4 * MEBIBYTE  # taken by what the runtime allocates first
NO_SIZE = 1 << 62  # larger than any batch


def template_environment(folder: str) -> dict[str, str]:
    return {"TF_CPP_MIN_LOG_LEVEL": "1"}  # read when it is imported


def environment(device: str, limit_bytes: int | None) -> dict[str, str]:
    variables = {"TF_CPP_MIN_LOG_LEVEL": "1"}  # keeps the allocator's warnings, our evidence
    if device == "cpu":
        variables["CUDA_VISIBLE_DEVICES"] = "-1"
        if limit_bytes is not None:
            variables["TF_CPU_ALLOCATOR_USE_BFC"] = "1"
            variables["TF_CPU_BFC_MEM_LIMIT_IN_MB"] = str(max(1, limit_bytes // MEBIBYTE))
    return variables


def configure(device: str, limit_bytes: int | None) -> None:
    import tensorflow as tf

    if device != "gpu":
        if limit_bytes is not None:
            _reserve(limit_bytes)
        return
    gpus = tf.config.list_physical_devices("GPU")
    if not gpus:
        raise DeviceError(
            "There is a GPU, but TensorFlow does not see it.",
            hint="Install tensorflow[and-cuda], or use --set device.kind=cpu.",
        )
    gpu = gpus[0]
    tf.config.set_visible_devices([gpu], "GPU")
    if limit_bytes is None:
        tf.config.experimental.set_memory_growth(gpu, True)
    else:
        limit = tf.config.LogicalDeviceConfiguration(memory_limit=limit_bytes // MEBIBYTE)
        tf.config.set_logical_device_configuration(gpu, [limit])


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


def device() -> tuple[str, str]:
    import tensorflow as tf

    gpus = tf.config.list_physical_devices("GPU")
    if not gpus:
        return "cpu", "CPU"
    details = tf.config.experimental.get_device_details(gpus[0])
    return "gpu", str(details.get("device_name", gpus[0].name))


def versions() -> dict[str, str]:
    import tensorflow as tf

    build = tf.sysconfig.get_build_info()
    found = {"tensorflow": tf.__version__}
    return found | {k: str(build[k]) for k in ("cuda_version", "cudnn_version") if k in build}


def _logical_device() -> str:
    import tensorflow as tf

    return "GPU:0" if tf.config.list_logical_devices("GPU") else "CPU:0"


def peak_bytes() -> int | None:
    return _memory("peak")


def held_bytes() -> int | None:
    return _memory("current")


def _memory(what: str) -> int | None:
    import tensorflow as tf

    device = _logical_device()
    if device == "CPU:0" and "TF_CPU_ALLOCATOR_USE_BFC" not in os.environ:
        return None  # the CPU's usual allocator does not count
    return int(tf.config.experimental.get_memory_info(device)[what])


def reset_peak() -> None:
    import tensorflow as tf

    tf.config.experimental.reset_memory_stats(_logical_device())


def synchronise() -> None:
    import tensorflow as tf

    tf.test.experimental.sync_devices()


def _dataset(fit_arguments: dict[str, Any]) -> Any:
    return adapter(fit_arguments).get_tf_dataset()


def resident_batch(fit_arguments: dict[str, Any]) -> Any:
    import tensorflow as tf

    batch = next(iter(_dataset(fit_arguments)))

    def move(leaf: Any) -> Any:
        return None if isinstance(leaf, tf.experimental.Optional) else tf.identity(leaf)

    with tf.device(_logical_device()):
        return tf.nest.map_structure(move, batch)


def batches(fit_arguments: dict[str, Any]) -> Iterator[Any]:
    return iter(_dataset(fit_arguments))


def gradients(model: Any) -> Callable[[Any], list[Any]]:
    import keras
    import tensorflow as tf

    weights = model.trainable_weights
    # Of float16, small gradients would vanish; it is divided out again.
    scale = float(getattr(model.optimizer, "dynamic_scale", 1.0))

    def differentiate(batch: Any) -> list[Any]:
        x, y, sample_weight = keras.utils.unpack_x_y_sample_weight(batch)
        with tf.GradientTape() as tape:
            predicted = model(x, training=True)
            loss = scale * model._compute_loss(x, y, predicted, sample_weight, training=True)
        found = tape.gradient(loss, weights, unconnected_gradients="zero")
        # Of embeddings, a gradient holds rows, the same one more than once: densified, they add up.
        return [tf.cast(tf.convert_to_tensor(each), tf.float32) / scale for each in found]

    compiled: Callable[[Any], list[Any]] = tf.function(differentiate, reduce_retracing=True)
    return compiled


def train_step(model: Any, batch: Any) -> None:
    model.train_function(iter((batch,)))


def input_batches(fit_arguments: dict[str, Any]) -> Callable[[], bool]:
    import tensorflow as tf

    iterator = iter(_dataset(fit_arguments))

    def has_next() -> Any:
        return iterator.get_next_as_optional().has_value()

    draw = tf.function(has_next)  # as in `fit`: no tensor is made for Python
    return lambda: bool(draw())


def count_steps(model: Any, batch_size: int) -> Callable[[], StepCount]:
    """The count is part of the traced step: it sees the sizes that the step itself sees.

    Components of a batch need not all be batched (anchors, a mask): its size is the one asked if
    at least half of them have it, else that of the last component, as a rule the target.
    """
    import tensorflow as tf

    # int64: on a GPU, int32 variables would live in host memory, out of a jit-compiled step's reach
    counts = tf.Variable([0, 0, NO_SIZE, 0], dtype=tf.int64, trainable=False)
    train_step = model.train_step

    def counting_train_step(data: Any) -> Any:
        leaves = [leaf for leaf in tf.nest.flatten(data) if leaf is not None]
        batched = [_rows(leaf) for leaf in leaves if leaf.shape.rank != 0]
        sizes = tf.stack(batched or [tf.constant(0, tf.int64)])
        matching = tf.reduce_sum(tf.cast(tf.equal(sizes, batch_size), tf.int64))
        full = 2 * matching >= tf.size(sizes, out_type=tf.int64)
        size = tf.where(full, tf.constant(batch_size, tf.int64), sizes[-1])
        before = counts.read_value()
        after = [
            before[0] + tf.cast(full, tf.int64),
            before[1] + 1,
            tf.minimum(before[2], size),
            tf.maximum(before[3], size),
        ]
        counts.assign(tf.stack(after))
        return train_step(data)

    model.train_step = counting_train_step
    model.train_function = None  # one made before, by the user's code, would not be counted

    def read() -> StepCount:
        full, steps, smallest, largest = (int(value) for value in counts.numpy())
        return StepCount(full=full, steps=steps, smallest=smallest, largest=largest)

    return read


def _rows(leaf: Any) -> Any:
    import tensorflow as tf

    if isinstance(leaf, tf.RaggedTensor):
        return tf.cast(leaf.nrows(), tf.int64)
    if isinstance(leaf, tf.SparseTensor):
        return tf.cast(leaf.dense_shape[0], tf.int64)
    return tf.shape(leaf, out_type=tf.int64)[0]


def error_in_data(error: BaseException) -> tuple[str, str] | None:
    """Python code that tf.data called: its exception comes as text, its traceback within."""
    import tensorflow as tf

    if not isinstance(error, tf.errors.OpError):
        return None
    head, mark, rest = str(error).partition("Traceback (most recent call last):\n")
    lines = [line.strip() for line in head.strip().splitlines()]
    if not mark or not lines:
        return None
    message = re.sub(r"^\{\{function_node .*?\}\} ?", "", lines[-1])
    return message.removeprefix("UserError: "), rest


def out_of_memory_evidence(error: BaseException) -> str | None:
    import tensorflow as tf

    if not isinstance(error, tf.errors.ResourceExhaustedError):
        return None
    lines = [line.strip() for line in str(error).splitlines()]
    return next((line for line in lines if "OOM" in line or "memory" in line), lines[0])
