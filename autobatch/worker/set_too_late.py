"""Variables that the user's code sets once they were read: what they ask for is not measured."""

import os
from collections.abc import Iterator
from contextlib import contextmanager

from autobatch.protocol import Job, Target
from autobatch.worker.mistakes import UserError

READ_AT_IMPORT = (  # of a framework, or of what it computes with
    *("TF_ENABLE_ONEDNN_OPTS", "TF_NUM_INTRAOP_THREADS", "TF_NUM_INTEROP_THREADS", "TF_XLA_FLAGS"),
    *("XLA_FLAGS", "JAX_ENABLE_X64", "OMP_NUM_THREADS", "MKL_NUM_THREADS"),
)
READ_AS_A_GPU_STARTS: dict[str, tuple[str, ...]] = {
    "jax": (
        *("XLA_PYTHON_CLIENT_PREALLOCATE", "XLA_PYTHON_CLIENT_MEM_FRACTION"),
        "XLA_CLIENT_MEM_FRACTION",
    ),
    "torch": ("PYTORCH_ALLOC_CONF", "PYTORCH_CUDA_ALLOC_CONF"),
}
BACKEND, DEVICES = "KERAS_BACKEND", "CUDA_VISIBLE_DEVICES"


def read_by_now(target: Target) -> dict[str, str | None]:
    names: tuple[str, ...] = READ_AT_IMPORT
    if target.device == "gpu":
        names += ("CUDA_DEVICE_ORDER", *READ_AS_A_GPU_STARTS.get(target.backend, ()))
    return {name: os.environ.get(name) for name in names}


def set_since(before: dict[str, str | None]) -> tuple[str, ...]:
    """A sentence on each that the user's code has changed since."""
    now = {name: os.environ.get(name) for name in before}
    return tuple(
        f"Your code sets {name}={value}, which was read before your code ran: measurements are "
        f"without it. Set it in the shell: {name}={value} autobatch ..."
        for name, value in now.items()
        if value is not None and value != before[name]
    )


@contextmanager
def refusing_what_is_set_too_late(job: Job) -> Iterator[None]:
    """Within, the user's code runs. On another backend than it is for, it may well fail."""
    devices = os.environ.get(DEVICES)
    try:
        yield
    finally:
        _refuse_another_backend(job)
    now, replicas = os.environ.get(DEVICES), job.target.replicas
    if (
        job.target.device == "gpu"
        and now is not None
        and _first(now, replicas) != _first(devices, replicas)
    ):
        raise UserError(
            f"Your code sets {DEVICES}, which is read when a GPU is first used: here, that was "
            "before your code ran.",
            hint=f"Set it in the shell: {DEVICES}={now} autobatch ...",
        )


def _refuse_another_backend(job: Job) -> None:
    set_to, backend = os.environ.get(BACKEND), job.target.backend
    if set_to and set_to != backend and not job.backend_is_asked:
        raise UserError(
            f"Your code sets {BACKEND}={set_to}, and this run is on {backend}: the variable is "
            "read when Keras is first imported, which was before your code ran.",
            hint=f"Use --set backend={set_to}, or --set backend={backend} whatever your code sets.",
        )


def _first(devices: str | None, count: int) -> list[str]:
    """Those of CUDA_VISIBLE_DEVICES that are used; without it, the first."""
    named = map(str, range(count)) if devices is None else devices.split(",")
    return [name.strip() for name in named][:count]
