"""PyTorch. On a GPU its caching allocator has the limit; on the CPU the kernel has (RLIMIT_DATA).

On the CPU nothing counts what is held, so that a thread reads the process' private memory every
few milliseconds; the limit is on that figure, beyond what it holds before the user's model.
A failed allocation is an exception at once.
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
    moved,
    torch_errors,
)
from autobatch.worker.backends.private_memory import PrivateMemory
from autobatch.worker.backends.torch_gpus import KERAS_DEVICE, start_cuda

PRELOAD = ("torch", "keras", "tensorflow")  # where it is, keras.utils.set_random_seed imports it
EQUAL_PARTS = False
COPIES_DATA = False


def template_environment(folder: str, device: str) -> dict[str, str]:
    """Keras looks for a GPU when it is imported, unless it is told where to train.

    There is to be none where the CPU is asked for; and where CUDA is started by looking (by
    PyTorch's own look, and where its driver is asked in vain), forks of the process cannot use it.
    """
    told = (
        {"CUDA_VISIBLE_DEVICES": "-1", KERAS_DEVICE: "cpu"}
        if device == "cpu"
        else {KERAS_DEVICE: os.environ.get(KERAS_DEVICE) or "cuda"}
    )
    return {"PYTORCH_NVML_BASED_CUDA_CHECK": "1"} | told


def environment(job: Job, notes: str | None) -> dict[str, str]:
    return {}


def configure(device: str, limit_bytes: int | None, replicas: int) -> None:
    import torch

    assert replicas == 1  # Keras has no data parallelism in one process with it
    if device == "gpu":
        start_cuda()
        hide_gpus_from_tensorflow()
        if limit_bytes is not None:
            _gpu_limits.append(limit_bytes)
            total = torch.cuda.get_device_properties(0).total_memory
            torch.cuda.set_per_process_memory_fraction(min(1.0, limit_bytes / total))
        return
    _start_threads()
    _memory.start(limit_bytes)


watch_memory = ignore  # an allocation fails at once, or not at all
scope = contextlib.nullcontext


def _start_threads() -> None:
    """The pool's threads, before there is a limit: their stacks are not the user's."""
    import torch

    images = torch.ones(8, 3, 32, 32)
    kernel = torch.ones(8, 3, 3, 3, requires_grad=True)
    torch.nn.functional.conv2d(images, kernel).sum().backward()
    torch.ones(1 << 20).sum()


_memory = PrivateMemory()
_gpu_limits: list[int] = []  # one, where there is any


def _on_gpu() -> bool:
    import torch

    return bool(torch.cuda.is_available())


def device() -> tuple[str, str]:
    import torch

    return ("gpu", torch.cuda.get_device_name(0)) if _on_gpu() else ("cpu", "CPU")


def abilities() -> Abilities:
    return Abilities(executes_several_steps=False)  # Keras' trainer for PyTorch has them not


def versions() -> dict[str, str]:
    import torch

    found = {"torch": str(torch.__version__)}
    return found | ({"cuda_version": str(torch.version.cuda)} if torch.version.cuda else {})


def peak_bytes() -> int | None:
    import torch

    return int(torch.cuda.max_memory_allocated()) if _on_gpu() else _memory.peak_bytes()


def held_bytes() -> int | None:
    import torch

    return int(torch.cuda.memory_allocated()) if _on_gpu() else _memory.held_bytes()


def reset_peak() -> None:
    import torch

    if _on_gpu():
        torch.cuda.reset_peak_memory_stats()
    else:
        _memory.reset_peak()


def synchronise() -> None:
    import torch

    if _on_gpu():
        torch.cuda.synchronize()


def resident_batch(fit_arguments: dict[str, Any]) -> Any:
    return next(batches(fit_arguments))


def batches(fit_arguments: dict[str, Any]) -> Iterator[Any]:
    return moved(adapter(fit_arguments).get_torch_dataloader())


def gradients(model: Any) -> Callable[[Any, float], list[Any]]:
    import keras
    import torch

    weights = [variable.value for variable in model.trainable_weights]

    def differentiate(batch: Any, scale: float) -> list[Any]:
        x, y, sample_weight = keras.utils.unpack_x_y_sample_weight(batch)
        predicted = model(x, training=True)
        loss = scale * model._compute_loss(x, y, predicted, sample_weight, training=True)
        found = torch.autograd.grad(loss, weights, allow_unused=True)
        return [
            (torch.zeros_like(w) if g is None else g).detach().to(torch.float32) / scale
            for g, w in zip(found, weights, strict=True)
        ]

    return differentiate


@contextlib.contextmanager
def full_precision() -> Iterator[None]:
    import torch

    products = (torch.backends.cuda.matmul, torch.backends.cudnn)
    before = [each.allow_tf32 for each in products]
    for each in products:
        each.allow_tf32 = False
    try:
        yield
    finally:
        for each, allowed in zip(products, before, strict=True):
            each.allow_tf32 = allowed


def input_epoch(fit_arguments: dict[str, Any]) -> Callable[[], Callable[[], bool]]:
    return epochs_of(adapter(fit_arguments).get_torch_dataloader)


def execution(model: Any, batch: Any) -> Callable[[], int]:
    def execute() -> int:
        model.train_function([batch])
        return 1

    return execute


def only_predict() -> None:
    """Nothing knows before it runs."""


def count_steps(model: Any, batch_size: int) -> Callable[[], StepCount]:
    seen = StepLog(batch_size, synchronise)
    step = model.train_step

    def counting_train_step(data: Any) -> Any:
        seen.add(data)
        return step(data)

    model.train_step = counting_train_step
    model.train_function = None  # one made before, by the user's code, would not be counted

    return seen.count


def out_of_memory_evidence(error: BaseException) -> str | None:
    return torch_errors.evidence(error, _held_and_limit)


def _held_and_limit() -> tuple[int, int | None]:
    """Bytes at most; of a GPU, those that its allocator has taken from it."""
    import torch

    if not _on_gpu():
        return _memory.peak_bytes(), _memory.limit_bytes
    return int(torch.cuda.max_memory_reserved()), next(iter(_gpu_limits), None)
