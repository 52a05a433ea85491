"""TensorFlow's GPUs: which are used, with how much memory, whatever the user's code says of it."""

import contextlib
import os
from collections.abc import Iterator
from typing import Any, NoReturn

from autobatch.worker.mistakes import DeviceError, TargetError, UserError

ALLOCATOR = "TF_GPU_ALLOCATOR"
_limits: list[int] = []  # of each GPU: one, where there is any


def gpu_environment() -> dict[str, str]:
    """CUDA's own pool would heed no limit: in its place, TensorFlow's usual one (BFC) is used."""
    return {ALLOCATOR: ""} if os.environ.get(ALLOCATOR) == "cuda_malloc_async" else {}


def configure_gpus(limit_bytes: int | None, replicas: int) -> None:
    """Before TensorFlow starts: which are used, and with how much memory."""
    _refuse_uncounted()
    import tensorflow as tf

    gpus = tf.config.list_physical_devices("GPU")
    if not gpus:
        raise DeviceError(
            "There is a GPU, but TensorFlow does not see it.",
            hint='Install CUDA with it: pip install "tensorflow[and-cuda]"; or train on the CPU: '
            "--set device.kind=cpu",
        )
    if len(gpus) < replicas:
        raise DeviceError(
            f"device.replicas is {replicas}; GPUs that TensorFlow sees: {len(gpus)}.",
            hint=f"Use --set device.replicas={len(gpus)}, or check CUDA_VISIBLE_DEVICES.",
        )
    tf.config.set_visible_devices(gpus[:replicas], "GPU")
    for gpu in gpus[:replicas]:
        if limit_bytes is None:
            tf.config.experimental.set_memory_growth(gpu, True)
        else:
            limit = tf.config.LogicalDeviceConfiguration(memory_limit=limit_bytes // (1 << 20))
            tf.config.set_logical_device_configuration(gpu, [limit])
    _limits.extend([] if limit_bytes is None else [limit_bytes])
    keep_memory_settings()


def held_and_limit() -> tuple[int, int | None]:
    """Bytes at most, of the GPU that held most."""
    import tensorflow as tf

    if not _limits:
        return 0, None
    with contextlib.suppress(RuntimeError, tf.errors.OpError):  # it may not even have started
        names = [gpu.name.removeprefix("/device:") for gpu in tf.config.list_logical_devices("GPU")]
        memory = tf.config.experimental.get_memory_info
        return max((int(memory(name)["peak"]) for name in names), default=0), _limits[0]
    return 0, _limits[0]


@contextlib.contextmanager
def full_precision() -> Iterator[None]:
    import tensorflow as tf

    before = tf.config.experimental.tensor_float_32_execution_enabled()
    tf.config.experimental.enable_tensor_float_32_execution(False)
    try:
        yield
    finally:
        tf.config.experimental.enable_tensor_float_32_execution(before)


def set_allocator() -> None:
    """It is read as the GPU starts, once the user's module, which may set it, is imported."""
    import tensorflow as tf

    if os.environ.get(ALLOCATOR) and tf.config.list_physical_devices("GPU"):
        _refuse_uncounted()
        os.environ.update(gpu_environment())


def _refuse_uncounted() -> None:
    if os.environ.get(ALLOCATOR) == "cuda_malloc":
        raise TargetError(
            f"The environment has {ALLOCATOR}=cuda_malloc, an allocator that counts nothing: what "
            "fits cannot be measured.",
            hint=f"unset {ALLOCATOR}",
        )


def keep_memory_settings() -> None:
    """What the user's module sets of a GPU's memory comes after ours.

    That it grows by need, as many scripts have it, is let pass (TensorFlow would refuse it, where
    there is a limit); with a limit of its own, or another GPU, something else would be measured.
    """
    import tensorflow as tf

    def refuse() -> NoReturn:
        raise UserError(
            "Your code sets a memory limit of TensorFlow's GPUs, or which of them are visible, "
            "which autobatch has set before.",
            hint="Leave that out, and use --set device.memory_limit=4GiB, say, or "
            "CUDA_VISIBLE_DEVICES in the shell.",
        )

    visible = tf.config.get_visible_devices("GPU")

    def refuse_others(devices: Any, device_type: str | None = None) -> None:
        chosen = devices if isinstance(devices, list) else [devices]  # one is a tuple itself
        is_of_cpus = device_type == "CPU" or {each.device_type for each in chosen} == {"CPU"}
        if not is_of_cpus and chosen != visible:
            refuse()

    set_devices = tf.config.set_logical_device_configuration

    def refuse_of_gpus(device: Any, configurations: Any) -> None:
        if device.device_type != "CPU":
            refuse()
        set_devices(device, configurations)

    tf.config.experimental.set_memory_growth = lambda *_, **__: None
    tf.config.set_visible_devices = tf.config.experimental.set_visible_devices = refuse_others
    tf.config.set_logical_device_configuration = refuse_of_gpus
    tf.config.experimental.set_virtual_device_configuration = refuse_of_gpus
