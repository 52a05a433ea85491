"""PyTorch's GPU: that Keras puts its tensors on it, and that it can be used."""

import os

from autobatch.worker.backends import torch_errors
from autobatch.worker.mistakes import DeviceError, TargetError, unusable_gpu

KERAS_DEVICE = "KERAS_TORCH_DEVICE"  # that Keras puts all tensors on
FIRST = ("cuda", "cuda:0")


def start_cuda() -> None:
    """Refused in a fork of a process that has used it."""
    import torch

    told = os.environ.get(KERAS_DEVICE) or FIRST[0]
    if told not in FIRST:
        raise TargetError(
            f"The environment has {KERAS_DEVICE}={told}, and what is asked for is the first GPU.",
            hint=f"unset {KERAS_DEVICE}; CUDA_VISIBLE_DEVICES chooses a GPU, and "
            "--set device.kind=cpu the CPU.",
        )
    if not torch.cuda.is_available():
        raise DeviceError(
            "There is a GPU, but PyTorch does not see it.",
            hint="Install a PyTorch built for CUDA, or use --set device.kind=cpu.",
        )
    try:
        torch.cuda.init()
    except RuntimeError as error:
        if torch_errors.evidence(error, lambda: (0, None)) is not None:
            raise
        raise unusable_gpu("PyTorch", error) from None
