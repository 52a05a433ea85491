"""What would go wrong with GPUs: the judges that need one to be tried, and facts to be tested."""

from collections.abc import Iterator

from autobatch.doctor.facts import Facts, Finding, blocks, warns
from autobatch.engine.gpus import (
    FREE_A_GPU,
    NEEDED_ON_GPU_BYTES,
    NO_LIBRARY,
    Gpu,
    numbered_by_speed,
)
from autobatch.frameworks import FOR_GPUS, installed_as
from autobatch.units import counted

HELD = 0.5  # share of a GPU held by others above which a user should know
DRIVER_OF_CUDA_13 = 580  # the oldest
OF_CUDA_13 = {  # what is installed of each backend for CUDA 13, for 12, and how to go back
    "jax": (
        "jax-cuda13-plugin",
        "jax-cuda12-plugin",
        'pip uninstall jax-cuda13-plugin jax-cuda13-pjrt && pip install "jax[cuda12]"',
    ),
    "torch": (
        "nvidia-cudnn-cu13",
        "nvidia-cudnn-cu12",
        "pip install --force-reinstall torch --index-url https://download.pytorch.org/whl/cu126",
    ),
}


def judge_gpus_found(facts: Facts) -> Iterator[Finding]:
    """Is the GPU there that the user thinks of?"""
    for problem in facts.gpu_problems:
        if problem != NO_LIBRARY:
            yield warns(problem, "See what nvidia-smi says; after a driver update, restart.")
        elif facts.nvidia_cards:
            yield warns(problem, "pip install nvidia-ml-py")
    if facts.nvidia_cards and not facts.gpus and not facts.gpu_problems:
        yield warns(
            f"{counted(facts.nvidia_cards, 'NVIDIA GPU')} plugged in, but no driver answers.",
            "Install NVIDIA's driver; in a container, start it with --gpus all.",
        )
    if facts.device_asked == "gpu" and not facts.usable_gpus:
        yield blocks(
            "device.kind is gpu, but there is no GPU that can be used here.",
            "Use --set device.kind=cpu, or check nvidia-smi.",
        )
    if facts.gpus and not facts.usable_gpus and facts.device_asked != "cpu":
        yield warns(
            f"CUDA_VISIBLE_DEVICES={facts.visible_devices} hides "
            f"{counted(len(facts.gpus), 'NVIDIA GPU')}.",
            "unset CUDA_VISIBLE_DEVICES, or name one that nvidia-smi -L lists",
        )
    if numbered_by_speed(facts.gpus, facts.device_order):
        yield warns(
            "The GPUs differ: CUDA numbers them by speed, the driver by their slot, so that what "
            "is said here may be about another one than is used.",
            "export CUDA_DEVICE_ORDER=PCI_BUS_ID",
        )


def judge_gpu_used(facts: Facts) -> Iterator[Finding]:
    if not facts.usable_gpus:
        return
    yield from _judge_framework_of_gpu(facts)
    if facts.device != "gpu":
        return
    if len(facts.usable_gpus) < facts.replicas:
        usable = counted(len(facts.usable_gpus), "GPU")
        yield blocks(
            f"device.replicas is {facts.replicas}, and {usable} can be used here.",
            f"Use --set device.replicas={len(facts.usable_gpus)}, or check CUDA_VISIBLE_DEVICES.",
        )
    for gpu in facts.usable_gpus[: facts.replicas]:
        yield from _judge_room(gpu)
    if facts.wsl:
        yield warns(
            "WSL2: the driver may move GPU memory to the machine's instead of reporting that it "
            "is full; training then fits, but slowly.",
            "In NVIDIA's control panel: CUDA - Sysmem Fallback Policy, Prefer No Sysmem Fallback.",
        )


def _judge_room(gpu: Gpu) -> Iterator[Finding]:
    held = gpu.total_bytes - gpu.free_bytes
    if gpu.free_bytes < NEEDED_ON_GPU_BYTES:
        yield blocks(gpu.state, FREE_A_GPU)
    elif held > HELD * gpu.total_bytes:
        yield warns(gpu.state, FREE_A_GPU)


def _judge_framework_of_gpu(facts: Facts) -> Iterator[Finding]:
    if facts.device_asked == "cpu":
        return
    yield from _judge_driver(facts)
    why = facts.left_alone
    if why is None:
        return
    if facts.device_asked == "gpu":
        yield blocks(
            f"device.kind is gpu, but {why}.",
            f"{_remedy(facts)}; or train on the CPU: --set device.kind=cpu",
        )
    else:
        yield warns(f"There is a GPU, but {why}: the CPU is used.", _remedy(facts))


def _remedy(facts: Facts) -> str:
    """For a backend that leaves a GPU alone."""
    if facts.cpu_told:
        return f"unset {facts.cpu_told.partition('=')[0]}"
    install = f'pip install "{FOR_GPUS[facts.backend]}"'
    if facts.unseen:
        return install
    return f"pip uninstall {installed_as(facts.backend, facts.packages)[0]} && {install}"


def _judge_driver(facts: Facts) -> Iterator[Finding]:
    """Is it new enough for the CUDA that came with the framework?"""
    new, old, remedy = OF_CUDA_13.get(facts.backend, ("", "", ""))
    driver = facts.usable_gpus[0].driver
    major = driver.partition(".")[0]
    if new not in facts.packages or old in facts.packages:  # with both, who knows
        return
    if major.isdecimal() and int(major) < DRIVER_OF_CUDA_13:
        yield warns(
            f"NVIDIA's driver is {driver}, and {new} is for CUDA 13, which needs "
            f"{DRIVER_OF_CUDA_13} or later: {facts.backend} may not see the GPU.",
            f"Update the driver; or, for CUDA 12: {remedy}",
        )
