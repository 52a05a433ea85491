"""What the devices of a run can hold, and what of it the recipe allows."""

from autobatch.engine import machine
from autobatch.errors import UsageError
from autobatch.protocol import Target
from autobatch.recipe import Recipe
from autobatch.units import Share


def free_bytes(question: Target) -> int:
    """Of the CPU's memory, or of the fullest of the GPUs that are used."""
    if question.device != "gpu":
        return machine.spare_bytes()
    found = machine.gpus()
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
    return min(gpu.free_bytes for gpu in found[: question.replicas])


def limit_bytes(recipe: Recipe, free: int) -> int:
    asked = recipe.device.memory_limit
    if asked is None:
        return free
    return int(free * asked) if isinstance(asked, Share) else int(asked)
