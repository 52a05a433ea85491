"""JAX's GPUs: how much of them it may take, and that they can be used."""

import os

from autobatch.worker.backends import line_with
from autobatch.worker.mistakes import DeviceError, TargetError, unusable_gpu

PLATFORMS, ALLOCATOR = "JAX_PLATFORMS", "XLA_PYTHON_CLIENT_ALLOCATOR"
UNIFIED = "TF_FORCE_UNIFIED_MEMORY"  # with it, XLA takes a share to be the whole at least
OUT_OF_MEMORY = (
    *("RESOURCE_EXHAUSTED", "OUT_OF_MEMORY", "ut of memory"),
    *("_ALLOC_FAILED", "the resource allocation failed"),
)
# By cuDNN, for which JAX leaves what is not in its limit.
UNSPECIFIC = ("DNN library initialization failed",)
NOT_STARTED = "Unable to initialize backend"  # an error of Python's type, not of JAX's


def gpu_environment(limit_bytes: int | None, device_bytes: int | None) -> dict[str, str]:
    """Read when JAX starts. Under a limit it takes all of that at once, as in any training.

    (Grown by need, memory is more fragmented: less would fit.) The limit is told as a share of the
    device, whose bytes whoever started us has from its driver: JAX must not have started yet. An
    allocator of CUDA's own ("platform", "cuda_async") would heed no limit, and gives way to XLA's.
    """
    heeds = {ALLOCATOR: "default", UNIFIED: "0"}
    usual = {name: value for name, value in heeds.items() if os.environ.get(name)}
    if limit_bytes is None or not device_bytes:
        return usual | {"XLA_PYTHON_CLIENT_PREALLOCATE": "false"}
    return usual | {
        "XLA_PYTHON_CLIENT_MEM_FRACTION": f"{min(1.0, limit_bytes / device_bytes):.6f}",
        "XLA_CLIENT_MEM_FRACTION": "",  # the newer name: both together are refused
    }


def start_cuda(replicas: int) -> None:
    """On the first of the GPUs alone. Refused in a fork of a process that has used it."""
    import jax

    platforms = os.environ.get(PLATFORMS, "")
    if platforms and not {"cuda", "gpu", "rocm"} & set(platforms.lower().split(",")):
        raise TargetError(
            f"The environment has {PLATFORMS}={platforms}, and what is asked for is a GPU.",
            hint=f"unset {PLATFORMS}, or use --set device.kind=cpu.",
        )
    jax.config.update("jax_cuda_visible_devices", ",".join(map(str, range(replicas))))
    try:
        found = jax.default_backend()
    except RuntimeError as error:
        if line_with(str(error), OUT_OF_MEMORY):  # by others held, all of it
            raise
        raise unusable_gpu("JAX", error) from None
    if found != "gpu":
        raise DeviceError(
            "There is a GPU, but JAX does not see it.",
            hint="Install jax[cuda13] (or jax[cuda12]), or update the driver (CUDA 13 needs 580), "
            "or use --set device.kind=cpu.",
        )


def counted_bytes(what: str) -> int | None:
    """Of the device that has most; None where they do not count, or could not even start."""
    import jax

    try:
        found = [device.memory_stats() for device in jax.local_devices()]
    except RuntimeError:
        return None
    return max((int(each[what]) for each in found if each is not None), default=None)
