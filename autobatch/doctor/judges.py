"""What would go wrong on this machine: from facts to findings.

Pure: `diagnose` takes facts that `gather.py` collected, or that a test made up. Each judge looks at
one topic; each finding is a fact and what to do about it.
"""

import re
from collections.abc import Iterator

from autobatch.doctor.facts import Diagnosis, Facts, Finding, blocks, warns
from autobatch.doctor.gpus import judge_gpu_used, judge_gpus_found
from autobatch.engine.machine import CPU_SHARE
from autobatch.frameworks import DISTRIBUTIONS, how_to_install, installed_as
from autobatch.units import format_bytes, format_share

PYTHONS = ((3, 11), (3, 14))  # from, to below: requires-python of pyproject.toml
OLDEST_KERAS = (3, 5)
OLDEST_TENSORFLOW = (2, 16)  # the first that goes with Keras 3
# TensorFlow 2.21 and Keras hold 0.55 GiB once imported (2026-11-21); the template and one job do.
NEEDED_BYTES = 1 << 30
SCARCE = 0.1  # share of memory left below which a user should know
SCARCE_SHARED_BYTES = 1 << 30  # some batches of each process; Docker gives 64 MiB
NEEDED_ON_DISK_BYTES = 1 << 20
SCARCE_ON_DISK_BYTES = 100 << 20  # a record and its logs are a few MiB


def diagnose(facts: Facts) -> Diagnosis:
    found = [finding for judge in JUDGES for finding in judge(facts)]
    found.sort(key=lambda finding: finding.severity)  # what blocks comes first
    limit_bytes, limit_reason = _limit(facts)
    return Diagnosis(
        ready=all(finding.severity != "blocks" for finding in found),
        device=facts.device,
        device_reason=_device_reason(facts),
        limit_bytes=limit_bytes,
        limit_reason=limit_reason,
        findings=tuple(found),
        facts=facts,
    )


def _device_reason(facts: Facts) -> str:
    if facts.device_asked != "auto":
        return "device.kind asks for it"
    if facts.device == "gpu":
        return facts.usable_gpus[0].name
    if facts.usable_gpus and facts.left_alone:
        return facts.left_alone
    if facts.gpus:
        return "the GPUs are hidden or unreadable"
    apples = "; Apple's is not used" if facts.system == "Darwin" else ""
    return f"no NVIDIA GPU here{apples}"


def _limit(facts: Facts) -> tuple[int, str]:
    free = facts.free_bytes
    asked = facts.limit_asked_bytes
    if asked is not None and asked <= free:
        return asked, "memory_limit of the recipe"
    if facts.device == "gpu":
        share = facts.share_of_gpu
        reason = "what is free on the GPU, less CUDA's context"
        if facts.backend == "tensorflow":
            reason += " and what TensorFlow leaves of it"
        if facts.backend == "jax":
            reason += " and what CUDA's libraries need"
        if share < 1:
            reason += f"; at most the {share:.0%} of the GPU that JAX takes"
    else:
        limit = facts.memory.tightest
        what = f"what {limit.told} leaves" if limit else "available memory"
        reason = f"{CPU_SHARE:.0%} of {what}"
    if facts.limit_asked_share is not None:
        share = facts.limit_asked_share
        return int(free * share), f"memory_limit of the recipe: {format_share(share)} of {reason}"
    return free, reason


# --- judges ----------------------------------------------------------------------------------


def _judge_system(facts: Facts) -> Iterator[Finding]:
    if facts.system == "Windows":
        yield blocks(
            "Windows cannot fork processes, which autobatch needs.",
            "Run it under WSL2, where your GPU is available too.",
        )
    low, beyond = PYTHONS
    if not low <= facts.python[:2] < beyond:
        yield blocks(
            f"Python is {_dotted(facts.python)}; autobatch supports "
            f"{_dotted(low)} to {beyond[0]}.{beyond[1] - 1}.",
            f"Make an environment with one of these: python{_dotted(low)} -m venv .venv",
        )


def _judge_keras(facts: Facts) -> Iterator[Finding]:
    version = facts.packages.get("keras")
    if version is None:
        yield blocks("Keras is not installed.", f"pip install {_at_least('keras', OLDEST_KERAS)}")
    elif _parts(version) < OLDEST_KERAS:
        yield blocks(
            f"Keras is {version}; autobatch needs {_dotted(OLDEST_KERAS)} or newer.",
            f"pip install --upgrade {_at_least('keras', OLDEST_KERAS)}",
        )
    if facts.legacy_keras:
        yield warns(
            "TF_USE_LEGACY_KERAS is set: tf.keras is Keras 2, whose models autobatch refuses.",
            "unset TF_USE_LEGACY_KERAS, or import keras instead of tf.keras",
        )


def _judge_backend(facts: Facts) -> Iterator[Finding]:
    backend = facts.backend
    if facts.refusal:
        source = f" ({facts.backend_from})" if facts.refusal.startswith("backend ") else ""
        yield blocks(f"{facts.refusal}{source}", facts.refusal_hint)
        return
    installed = installed_as(backend, facts.packages)
    if not installed and facts.is_importable:
        yield warns(
            f"{backend} is here under none of the names that are known "
            f"({', '.join(DISTRIBUTIONS[backend])}): its version and its use of GPUs are not.",
            f"If measurements fail: {how_to_install(backend)}",
        )
    elif not installed:
        others = [b for b, names in DISTRIBUTIONS.items() if set(names) & facts.packages.keys()]
        be = "is" if len(others) == 1 else "are"
        instead = f"; {' and '.join(others)} {be}" if others else ""
        yield blocks(
            f"Keras would use {backend} ({facts.backend_from}), which is not installed{instead}.",
            how_to_install(backend),
        )
    if len(installed) > 1:
        yield warns(
            f"{' and '.join(installed)} are both installed: they hold the same files, and the one "
            "installed last wins.",
            f"pip uninstall {' '.join(installed)}, then install the one you want",
        )
    if backend == "torch" and facts.system == "Darwin":
        yield blocks(
            "On macOS the memory that PyTorch holds cannot be measured.",
            "Use --set backend=tensorflow or --set backend=jax, or Linux.",
        )
    if backend == "tensorflow" and installed:
        version = facts.packages[installed[0]]
        if _parts(version) < OLDEST_TENSORFLOW:
            yield blocks(
                f"TensorFlow is {version}; {_dotted(OLDEST_TENSORFLOW)} is the first for Keras 3.",
                f"pip install --upgrade {_at_least(installed[0], OLDEST_TENSORFLOW)}",
            )


def _judge_memory(facts: Facts) -> Iterator[Finding]:
    memory = facts.memory
    limit = memory.tightest
    left = limit.remaining_bytes if limit else memory.available_bytes
    whole = limit.limit_bytes if limit else memory.total_bytes
    where = limit.told if limit else "this machine"
    state = f"{format_bytes(left)} of memory left of {format_bytes(whole)} in {where}"
    remedy = (
        "Raise its limit (docker run --memory, the job's request, ulimit), or end what fills it."
        if limit
        else "End what fills it (ps aux --sort=-rss)."
    )
    if memory.spare_bytes < NEEDED_BYTES:
        spare, needed = map(format_bytes, (memory.spare_bytes, NEEDED_BYTES))
        yield blocks(
            f"{state}, of which {spare} may be taken; a training process needs {needed}.", remedy
        )
    elif left < SCARCE * whole:
        yield warns(f"{state}: little can be tried.", remedy)
    asked = facts.limit_asked_bytes
    if asked is not None and asked > facts.free_bytes:
        yield warns(
            f"memory_limit is {format_bytes(asked)}, more than the "
            f"{format_bytes(facts.free_bytes)} that can be had now.",
            "Lower it, or leave it out to use what is free.",
        )


def _judge_shared_memory(facts: Facts) -> Iterator[Finding]:
    shared = facts.shared_bytes
    if shared is not None and shared < SCARCE_SHARED_BYTES and "torch" in facts.packages:
        yield warns(
            f"/dev/shm has {format_bytes(shared)}, in which the processes of a DataLoader hand "
            "over their batches.",
            "Start the container with more (docker run --shm-size=2g), or use num_workers=0.",
        )


def _judge_run_directory(facts: Facts) -> Iterator[Finding]:
    directory = facts.run_directory
    if not directory.writable:
        yield blocks(f"{directory.path} cannot be written to.", "Choose another with --run-dir.")
    elif directory.free_bytes < SCARCE_ON_DISK_BYTES:
        too_little = directory.free_bytes < NEEDED_ON_DISK_BYTES
        judge = blocks if too_little else warns
        yield judge(
            f"{format_bytes(directory.free_bytes)} of disk space left for {directory.path}.",
            "Free some, or choose another disk with --run-dir.",
        )


JUDGES = (
    _judge_system,
    _judge_keras,
    _judge_backend,
    judge_gpus_found,
    judge_gpu_used,
    _judge_memory,
    _judge_shared_memory,
    _judge_run_directory,
)


def _parts(version: str) -> tuple[int, ...]:
    """(2, 21) of 2.21rc1"""
    digits = (re.match(r"[0-9]+", part) for part in version.split(".")[:2])
    return tuple(int(found[0]) for found in digits if found)


def _dotted(version: tuple[int, ...]) -> str:
    return ".".join(map(str, version))


def _at_least(name: str, version: tuple[int, ...]) -> str:
    return f'"{name}>={_dotted(version)}"'
