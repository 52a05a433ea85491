"""Facts about this machine, and what is concluded from them: the words of `autobatch doctor`."""

from typing import Literal

from autobatch.engine.gpus import Gpu, least_free, visible
from autobatch.engine.machine import Memory
from autobatch.frameworks import left_alone
from autobatch.protocol import Struct


class Finding(Struct):
    """What would go wrong, or differ from what the user expects, and what to do."""

    severity: Literal["blocks", "warns"]
    fact: str
    remedy: str


def blocks(fact: str, remedy: str) -> Finding:
    return Finding(severity="blocks", fact=fact, remedy=remedy)


def warns(fact: str, remedy: str) -> Finding:
    return Finding(severity="warns", fact=fact, remedy=remedy)


class RunDirectory(Struct):
    """Where records would go; it need not exist yet."""

    path: str
    writable: bool
    free_bytes: int


class Facts(Struct):
    """All that a diagnosis goes by."""

    system: str  # Linux, Darwin, Windows
    architecture: str  # x86_64, aarch64, arm64
    python: tuple[int, int, int]
    packages: dict[str, str]  # version by name of distribution; those installed
    backend: str
    backend_from: str  # who chose it
    memory: Memory
    run_directory: RunDirectory
    refusal: str = ""  # why this version of autobatch cannot do what is asked, ending in a stop
    refusal_hint: str = ""  # and what to do
    is_importable: bool = False  # the backend, whatever it was installed as
    legacy_keras: bool = False  # TF_USE_LEGACY_KERAS
    wsl: bool = False
    cores: int = 1
    gpus: tuple[Gpu, ...] = ()  # all that the driver reports
    gpu_problems: tuple[str, ...] = ()
    nvidia_cards: int = 0  # plugged in, whether or not there is a driver
    cpu_told: str | None = None  # JAX_PLATFORMS=cpu, say, in the environment
    unseen: bool = False  # GPUs that there are, by TensorFlow, for want of CUDA's libraries
    share_of_gpu: float = 1.0  # that the framework takes of it at most
    visible_devices: str | None = None  # CUDA_VISIBLE_DEVICES
    device_order: str | None = None  # CUDA_DEVICE_ORDER
    device_asked: Literal["auto", "gpu", "cpu"] = "auto"
    replicas: int = 1
    shared_bytes: int | None = None  # that /dev/shm has in all
    limit_asked_bytes: int | None = None
    limit_asked_share: float | None = None

    @property
    def usable_gpus(self) -> list[Gpu]:
        return visible(self.gpus, self.visible_devices)

    @property
    def left_alone(self) -> str | None:
        """Why the backend would not use a GPU that is there, where that is so."""
        return left_alone(
            self.backend,
            self.packages,
            self.cpu_told,
            unseen=self.unseen,
            architecture=self.architecture,
        )

    @property
    def device(self) -> Literal["gpu", "cpu"]:
        if self.device_asked == "auto":
            return "gpu" if self.usable_gpus and not self.left_alone else "cpu"
        return self.device_asked

    @property
    def free_bytes(self) -> int:
        """Of the device that would be used; of several, the fullest."""
        if self.device == "cpu":
            return self.memory.spare_bytes
        used = self.usable_gpus[: self.replicas]
        return least_free(used, self.share_of_gpu, self.backend)


class Diagnosis(Struct):
    """What `autobatch doctor` says."""

    ready: bool
    device: Literal["gpu", "cpu"]
    device_reason: str
    limit_bytes: int
    limit_reason: str
    findings: tuple[Finding, ...]
    facts: Facts
