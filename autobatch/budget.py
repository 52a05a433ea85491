"""What the devices of a run can hold, and what of it the recipe allows."""

import os
from collections.abc import Callable, Mapping

from autobatch import frameworks
from autobatch.engine import gpus, machine
from autobatch.errors import UsageError
from autobatch.protocol import Target
from autobatch.recipe import Recipe
from autobatch.units import Share, format_bytes

# Of a GPU, which JAX takes at most unless one of these variables says otherwise.
SHARE_OF_JAX = 0.75
SHARES_OF_JAX = ("XLA_CLIENT_MEM_FRACTION", "XLA_PYTHON_CLIENT_MEM_FRACTION")

# By which what is free may differ from the first start's without a word. On a CPU it moves by
# itself, as programs and caches come and go; and batch sizes that are worth telling apart differ by
# a factor of two.
MOVES = 0.25


def free_bytes(question: Target) -> int:
    """Of the CPU's memory, or of each of the GPUs that are used."""
    if question.device != "gpu":
        return machine.spare_bytes()
    return free_of(gpus.usable(), question)


def free_of(found: list[gpus.Gpu], question: Target) -> int:
    """Bytes that the user's own training, too, could have on each of the first GPUs.

    Raises UsageError where there are too few, or one has no room for any model.
    """
    if not found:
        raise UsageError(
            "device.kind is gpu, but NVIDIA's driver reports no GPU here.",
            hint="Use --set device.kind=cpu, or check nvidia-smi.",
        )
    if len(found) < question.replicas:
        raise UsageError(
            f"device.replicas is {question.replicas}, and GPUs that can be used: {len(found)}.",
            hint=f"Use --set device.replicas={len(found)}, or check CUDA_VISIBLE_DEVICES.",
        )
    used = found[: question.replicas]
    fullest = min(used, key=lambda gpu: gpu.free_bytes)
    if fullest.free_bytes < gpus.NEEDED_ON_GPU_BYTES:
        raise UsageError(
            f"There is no room for a model: {fullest.state}",
            hint=gpus.FREE_A_GPU,
        )
    return gpus.least_free(used, share_of_gpu(question.backend), question.backend)


def share_of_gpu(backend: str, environ: Mapping[str, str] = os.environ) -> float:
    """What the framework takes of a GPU at most, in the user's own training too."""
    if backend != "jax":
        return 1.0
    for name in SHARES_OF_JAX:
        if written := environ.get(name):
            try:
                return float(written)
            except ValueError:
                raise UsageError(
                    f"The environment has {name}={written}, which is not a number.",
                    hint="Unset it, or give a share such as 0.9.",
                ) from None
    return SHARE_OF_JAX


def gpu_left_idle(
    question: Target,
    recipe: Recipe,
    survey: Callable[[], gpus.GpuSurvey] = gpus.survey,
    cards: Callable[[], int] = gpus.nvidia_cards,
) -> str | None:
    """A sentence where the CPU was chosen because the GPU that there is cannot be used."""
    if (question.device, recipe.device.kind) != ("cpu", "auto"):
        return None
    found = survey()
    why = None
    if gpus.usable(found):
        why = frameworks.left_alone_here(question.backend)
    elif not found.gpus and cards():
        why = " ".join(found.problems).removesuffix(".") or "no driver of NVIDIA's answers"
    if why is None:
        return None
    return f"There is a GPU, but {why}: the CPU is used (`autobatch doctor` says what to do)."


def made_of_the_cpu(question: Target, recipe: Recipe) -> str | None:
    """A sentence where several replicas found no GPU, and nobody asked for the CPU."""
    if question.device != "cpu" or question.replicas == 1 or recipe.device.kind != "auto":
        return None
    return (
        f"There is no GPU that {question.backend} can use: the {question.replicas} replicas are "
        "devices made of the CPU, which share its memory and its cores."
    )


def of_unlike_gpus(
    question: Target,
    survey: Callable[[], gpus.GpuSurvey] = gpus.survey,
    environ: Mapping[str, str] = os.environ,
) -> str | None:
    """A sentence where the GPU looked at may be another than the one that trains."""
    is_named = environ.get("CUDA_VISIBLE_DEVICES", "").strip().startswith(("GPU-", "MIG-"))
    order = environ.get("CUDA_DEVICE_ORDER")
    if question.device != "gpu" or is_named or not gpus.numbered_by_speed(survey().gpus, order):
        return None
    return (
        "The GPUs differ, and CUDA numbers them by speed, the driver by their slot: the limit may "
        "be that of another one than trains. export CUDA_DEVICE_ORDER=PCI_BUS_ID, and start anew "
        "with --fresh."
    )


def limit_bytes(recipe: Recipe, free: int) -> int:
    """What is asked, and no more than is free: nothing could have it."""
    asked = recipe.device.memory_limit
    if asked is None:
        return free
    return int(free * asked) if isinstance(asked, Share) else min(int(asked), free)


def more_than_free(recipe: Recipe, free: int) -> str | None:
    asked = recipe.device.memory_limit
    if asked is None or isinstance(asked, Share) or asked <= free:
        return None
    return (
        f"device.memory_limit is {format_bytes(asked)}, and {format_bytes(free)} were free at the "
        "first start: that is the limit."
    )


def other_than_then(recipe: Recipe, then: int, now: int) -> str | None:
    """A sentence where the limit is by what was free at the first start, and now it is not."""
    asked = recipe.device.memory_limit
    is_by_free = asked is None or isinstance(asked, Share) or asked > then
    if not is_by_free or abs(now - then) <= MOVES * then:
        return None
    return (
        f"The limit is that of the first start: {format_bytes(then)} were free then, "
        f"{format_bytes(now)} are now. --fresh measures anew."
    )
