"""The GPUs: which there are, and how many bytes each can spare.

Imports no framework: NVIDIA's management library tells about them. `survey` gives all there is to
know, `usable` what a run goes by. What cannot be read is told as a problem, never raised.
"""

import os
from collections.abc import Iterable, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

import psutil

from autobatch.engine.machine import memory
from autobatch.errors import one_line
from autobatch.protocol import Struct
from autobatch.units import format_bytes

FREE_A_GPU = "End what holds it, or choose another GPU with CUDA_VISIBLE_DEVICES."
NEEDED_ON_GPU_BYTES = 1 << 30  # CUDA's context and cuDNN's workspace, before any model
NO_LIBRARY = "nvidia-ml-py is not installed: GPUs cannot be looked at."
HIDDEN = "a process that cannot be seen from here"  # of another container or user

NVIDIA_VENDOR = "0x10de"
DISPLAY_CLASS = "0x03"  # of PCI devices: display controllers, with or without an output

# Of CUDA's context, which no limit is on: 300 to 600 MiB by GPU, driver and libraries, as users say
# (we have not measured any). Were it taken to be free, a limit would be more than can be had.
CONTEXT_BYTES = 600 << 20

# What TensorFlow leaves for CUDA's libraries of what is free beside the context, by compute
# capability: MinSystemMemory() of its gpu_device.cc. Given a limit, as here, it leaves nothing by
# itself; nor does JAX, which takes all of its limit at once: where that is not there, quietly less.
SMALL_GPU_BYTES, LEFT_OF_SMALL_BYTES = 2 << 30, 225 << 20
LEFT_BYTES, MOST_LEFT_BYTES = ((6, 500 << 20), (7, 1050 << 20), (8, 1536 << 20)), 1800 << 20


class GpuProcess(Struct):
    """Who holds memory of a GPU."""

    pid: int
    command: str | None  # None: not to be seen from here (another container or user)
    held_bytes: int | None  # None: the driver does not say


class Gpu(Struct):
    """One NVIDIA GPU, or MIG instance of one, as its driver sees it."""

    name: str
    total_bytes: int
    free_bytes: int
    driver: str
    index: int = 0  # of the driver; MIG instances have that of the GPU they are of
    uuid: str = ""
    capability: int | None = None  # to compute, its major number; None: not known
    processes: tuple[GpuProcess, ...] | None = ()  # None: the driver does not tell us

    def free_within(self, share: float, backend: str) -> int:
        """Bytes that are free of it, for one who takes no more than this share of the whole."""
        left = CONTEXT_BYTES
        if backend in ("tensorflow", "jax"):
            left += _left_for_libraries(self.free_bytes - left, self.capability)
        return max(0, min(self.free_bytes - left, int(share * self.total_bytes)))

    @property
    def state(self) -> str:
        """What is free of it, and who holds most of the rest; as a sentence."""
        free, total = format_bytes(self.free_bytes), format_bytes(self.total_bytes)
        return f"GPU {self.index} has {free} free of {total}{self._held_by}."

    @property
    def _held_by(self) -> str:
        if self.processes is None:
            return "; the driver does not say who holds the rest"
        told = [
            f"{one_line(process.command or HIDDEN, 40)} (pid {process.pid}"
            + (f", {format_bytes(process.held_bytes)})" if process.held_bytes is not None else ")")
            for process in self.processes[:3]
        ]
        return f"; held by {', '.join(told)}" if told else ""


class GpuSurvey(Struct):
    """Every GPU that the driver reports, and what it failed to."""

    gpus: tuple[Gpu, ...] = ()
    problems: tuple[str, ...] = ()
    answers: bool = True  # the driver, where there is one


def usable(found: GpuSurvey | None = None) -> list[Gpu]:
    """NVIDIA GPUs that a framework started here would use, in its order; empty without a driver."""
    return visible((found or survey()).gpus, os.environ.get("CUDA_VISIBLE_DEVICES"))


def visible(found: tuple[Gpu, ...], setting: str | None) -> list[Gpu]:
    """Those that CUDA_VISIBLE_DEVICES leaves: as CUDA does, it stops at the first unknown entry."""
    if setting is None:
        return list(found)
    chosen: list[Gpu] = []
    for entry in map(str.strip, setting.split(",")):
        named = (
            g
            for g in found
            if entry == str(g.index)
            or (entry.startswith(("GPU-", "MIG-")) and g.uuid.startswith(entry))
        )
        gpu = next(named, None)
        if gpu is None:
            break
        chosen.append(gpu)
    return chosen


def _left_for_libraries(free_bytes: int, capability: int | None) -> int:
    if free_bytes < SMALL_GPU_BYTES:
        return LEFT_OF_SMALL_BYTES
    known = (left for up_to, left in LEFT_BYTES if capability is not None and capability <= up_to)
    return next(known, MOST_LEFT_BYTES)


def least_free(used: Sequence[Gpu], share: float, backend: str) -> int:
    """Bytes that are free on the fullest of them, for one who takes no more than this share."""
    return min((gpu.free_within(share, backend) for gpu in used), default=0)


def numbered_by_speed(found: Sequence[Gpu], device_order: str | None) -> bool:
    """Whether CUDA, by its CUDA_DEVICE_ORDER, may number them otherwise than the driver does."""
    return device_order != "PCI_BUS_ID" and len({gpu.name for gpu in found}) > 1


def survey(nvml: Any = None) -> GpuSurvey:
    """All that the driver tells; `nvml` is `pynvml`, or has its interface."""
    try:
        import pynvml
    except ImportError:  # from an installation without dependencies
        return GpuSurvey(problems=(NO_LIBRARY,), answers=False)
    nvml = nvml or pynvml
    # The second where a driver is too old. An old `pynvml` package, which hides NVIDIA's, has
    # neither that nor all functions.
    mismatch = getattr(pynvml, "NVMLLibraryMismatchError", pynvml.NVMLError)
    errors = (pynvml.NVMLError, mismatch, AttributeError)
    try:
        nvml.nvmlInit()
    except (pynvml.NVMLError_LibraryNotFound, pynvml.NVMLError_DriverNotLoaded):
        return GpuSurvey()  # a machine without GPUs, as a rule
    except errors as error:
        problem = f"NVIDIA's driver does not answer: {error}."
        return GpuSurvey(problems=(problem,), answers=False)
    found: list[Gpu] = []
    problems: list[str] = []
    answers = True
    try:
        driver = _text(nvml.nvmlSystemGetDriverVersion())
        for index in range(nvml.nvmlDeviceGetCount()):
            try:
                handle = nvml.nvmlDeviceGetHandleByIndex(index)
                for part in _instances(nvml, handle, errors) or [handle]:
                    found.append(_gpu(nvml, part, index, driver, errors))
            except errors as error:
                problems.append(f"GPU {index} cannot be read: {error}.")
    except errors as error:
        problems.append(f"NVIDIA's driver does not answer: {error}.")
        answers = False
    finally:
        with suppress(*errors):
            nvml.nvmlShutdown()
    return GpuSurvey(gpus=tuple(found), problems=tuple(problems), answers=answers)


def lost(uuids: Iterable[str], found: GpuSurvey) -> tuple[str, ...]:
    """Those that the driver reports no more; none where it does not answer."""
    left = {gpu.uuid for gpu in found.gpus}
    return tuple(uuid for uuid in uuids if found.answers and uuid not in left)


def _gpu(nvml: Any, handle: Any, index: int, driver: str, errors: Any) -> Gpu:
    total_bytes, free_bytes = _memory(nvml, handle, errors)
    return Gpu(
        name=_text(nvml.nvmlDeviceGetName(handle)),
        total_bytes=total_bytes,
        free_bytes=free_bytes,
        driver=driver,
        index=index,
        uuid=_text(nvml.nvmlDeviceGetUUID(handle)),
        capability=_capability(nvml, handle, errors),
        processes=_processes(nvml, handle, errors),
    )


def _text(told: str | bytes) -> str:
    """Of an old `pynvml`, which tells in bytes, too."""
    return told.decode(errors="replace") if isinstance(told, bytes) else told


def _memory(nvml: Any, handle: Any, errors: Any) -> tuple[int, int]:
    """Bytes in all, as CUDA counts them, and those that are free."""
    import pynvml

    with suppress(*errors, TypeError):  # of a driver before 515, or an old `pynvml`
        # Without what the driver reserves: CUDA's total, of which JAX takes its share, has it not.
        found = nvml.nvmlDeviceGetMemoryInfo(handle, version=pynvml.nvmlMemory_v2)
        return int(found.total - found.reserved), int(found.free)
    try:
        found = nvml.nvmlDeviceGetMemoryInfo(handle)
    except pynvml.NVMLError_NotSupported:  # it has none of its own, but the machine's (GB10)
        shared = memory()
        return shared.total_bytes, shared.spare_bytes
    return int(found.total), int(found.free)


def _capability(nvml: Any, handle: Any, errors: Any) -> int | None:
    with suppress(*errors):
        return int(nvml.nvmlDeviceGetCudaComputeCapability(handle)[0])
    return None


def _instances(nvml: Any, handle: Any, errors: Any) -> list[Any]:
    """MIG instances, where the GPU is partitioned: then no program can use the whole."""
    try:
        if not nvml.nvmlDeviceGetMigMode(handle)[0]:
            return []
        count = nvml.nvmlDeviceGetMaxMigDeviceCount(handle)
    except errors:  # no such mode on this GPU
        return []
    instances = []
    for index in range(count):
        with suppress(*errors):  # an empty place
            instances.append(nvml.nvmlDeviceGetMigDeviceHandleByIndex(handle, index))
    return instances


def _processes(nvml: Any, handle: Any, errors: Any) -> tuple[GpuProcess, ...] | None:
    """Largest first. A process that draws and computes is in both of the driver's lists."""
    try:
        listed = nvml.nvmlDeviceGetComputeRunningProcesses(handle)
    except errors:  # needs permission on some drivers, and does not exist on others
        return None
    with suppress(*errors):
        listed = [*listed, *nvml.nvmlDeviceGetGraphicsRunningProcesses(handle)]
    held: dict[int, int | None] = {}
    for process in listed:
        known = [b for b in (held.get(process.pid), process.usedGpuMemory) if b is not None]
        held[process.pid] = max(known, default=None)
    told = [GpuProcess(pid=p, command=_command(p), held_bytes=b) for p, b in held.items()]
    return tuple(sorted(told, key=lambda p: -(p.held_bytes or 0)))


def _command(pid: int) -> str | None:
    try:
        process = psutil.Process(pid)
        return " ".join(process.cmdline()).strip() or process.name()
    except (psutil.Error, OSError, ValueError):
        return None


def nvidia_cards(devices: Path = Path("/sys/bus/pci/devices")) -> int:
    """NVIDIA GPUs that are plugged in, whether or not there is a driver."""
    cards = 0
    for device in devices.glob("*"):
        with suppress(OSError):
            vendor, kind = (device / "vendor").read_text(), (device / "class").read_text()
            cards += vendor.strip() == NVIDIA_VENDOR and kind.startswith(DISPLAY_CLASS)
    return cards
