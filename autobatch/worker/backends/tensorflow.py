"""TensorFlow. On the CPU its BFC allocator, the one of its GPUs, runs with a hard limit.

`TF_CPU_ALLOCATOR_USE_BFC` and `TF_CPU_BFC_MEM_LIMIT_IN_MB` are read when the runtime initialises;
out-of-memory errors under them are real `ResourceExhaustedError`s. BFC waits 10 s for memory to be
freed before it gives up (`kMaxMillisToWait`), on GPU as on CPU.
"""

from collections.abc import Callable
from typing import Any

PRELOAD = ("tensorflow", "keras")
MEBIBYTE = 1 << 20


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
        return
    gpu = tf.config.list_physical_devices("GPU")[0]
    tf.config.set_visible_devices([gpu], "GPU")
    if limit_bytes is None:
        tf.config.experimental.set_memory_growth(gpu, True)
    else:
        limit = tf.config.LogicalDeviceConfiguration(memory_limit=limit_bytes // MEBIBYTE)
        tf.config.set_logical_device_configuration(gpu, [limit])


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
    import tensorflow as tf

    return int(tf.config.experimental.get_memory_info(_logical_device())["peak"])


def synchronise() -> None:
    import tensorflow as tf

    tf.test.experimental.sync_devices()


def to_device(value: Any) -> Any:
    import tensorflow as tf

    with tf.device(_logical_device()):
        return tf.identity(tf.convert_to_tensor(value))


def count_full_steps(model: Any, batch_size: int) -> Callable[[], int]:
    """The count is part of the traced step: it sees the size that the step itself sees."""
    import tensorflow as tf

    count = tf.Variable(0, dtype=tf.int64, trainable=False)
    train_step = model.train_step

    def counting_train_step(data: Any) -> Any:
        samples = tf.shape(tf.nest.flatten(data)[0])[0]
        count.assign_add(tf.cast(tf.equal(samples, batch_size), tf.int64))
        return train_step(data)

    model.train_step = counting_train_step
    return lambda: int(count.numpy())


def out_of_memory_evidence(error: BaseException) -> str | None:
    import tensorflow as tf

    if not isinstance(error, tf.errors.ResourceExhaustedError):
        return None
    lines = [line.strip() for line in str(error).splitlines()]
    return next((line for line in lines if "OOM" in line or "memory" in line), lines[0])
