"""Variables that the user's code sets once they were read: what they ask for is not measured."""

import os
from collections.abc import Iterator
from contextlib import contextmanager

from autobatch.protocol import Target
from autobatch.worker.mistakes import UserError

DEVICES = "CUDA_VISIBLE_DEVICES"


@contextmanager
def refusing_what_is_set_too_late(target: Target) -> Iterator[None]:
    """Within, the user's code runs."""
    devices = os.environ.get(DEVICES)
    yield
    now, replicas = os.environ.get(DEVICES), target.replicas
    if target.device == "gpu" and now and _first(now, replicas) != _first(devices, replicas):
        raise UserError(
            f"Your code sets {DEVICES}, which is read when a GPU is first used: here, that was "
            "before your code ran.",
            hint=f"Set it in the shell: {DEVICES}={now} autobatch ...",
        )


def _first(devices: str | None, count: int) -> list[str]:
    """Those of CUDA_VISIBLE_DEVICES that are used; without it, the first."""
    named = devices.split(",") if devices else map(str, range(count))
    return [name.strip() for name in named][:count]
