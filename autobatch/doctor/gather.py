"""Gathers the facts, from files, the driver and the metadata of packages: it imports no framework.

`autobatch doctor` is `diagnose(gather(...))`.
"""

import os
import platform
import shutil
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

import msgspec

from autobatch import frameworks
from autobatch.budget import share_of_gpu
from autobatch.doctor.facts import Diagnosis, Facts, RunDirectory
from autobatch.doctor.judges import diagnose
from autobatch.engine import gpus, machine
from autobatch.engine.runs import RUNS
from autobatch.errors import RecipeError
from autobatch.frameworks import ALL_DISTRIBUTIONS, CUDNN_OF_TENSORFLOW, PLUGINS_OF_JAX
from autobatch.recipe import Recipe, files_of, make_recipe, refuse_unsupported
from autobatch.units import Share

PACKAGES = (
    "keras-autobatch",
    "keras",
    *ALL_DISTRIBUTIONS,
    *PLUGINS_OF_JAX,
    CUDNN_OF_TENSORFLOW,
    "nvidia-cudnn-cu13",  # that PyTorch is for CUDA 13
)


def examine(
    target: str | None, overrides: Sequence[str] = (), run_directory: Path | None = None
) -> Diagnosis:
    """The diagnosis for a TARGET as the user types it, or for whatever target there may be."""
    if target is None or sys.platform == "win32":  # where nothing can be measured
        recipe, files = make_recipe({"model": "any.py:any"}, overrides), []
    else:
        from autobatch.opening import read_target  # which needs what Windows has not

        recipe, folder = read_target(target, overrides)
        files = list(files_of(recipe, folder))
    return diagnose(gather(recipe, run_directory or RUNS, files=files))


def gather(
    recipe: Recipe,
    run_directory: Path,
    environ: Mapping[str, str] = os.environ,
    files: Sequence[Path] = (),
) -> Facts:
    survey = gpus.survey()
    users, chosen_by = frameworks.users_backend(environ, files)
    backend = recipe.backend or users
    refusal = _refusal(recipe, backend)
    packages = frameworks.installed(PACKAGES)
    limit = recipe.device.memory_limit
    hidden_by = environ.get("CUDA_VISIBLE_DEVICES")
    can_be_used = recipe.device.kind != "cpu" and bool(gpus.visible(survey.gpus, hidden_by))
    return Facts(
        system=platform.system(),
        architecture=platform.machine(),
        python=sys.version_info[:3],
        packages=packages,
        backend=backend,
        backend_from="the recipe" if recipe.backend else chosen_by,
        refusal=refusal.message if refusal else "",
        refusal_hint=(refusal.hint or "") if refusal else "",
        is_importable=refusal is None and frameworks.is_importable(backend),
        legacy_keras=environ.get("TF_USE_LEGACY_KERAS", "").lower() in ("1", "true"),
        wsl="microsoft" in platform.release().lower(),
        cores=os.cpu_count() or 1,
        memory=machine.memory(),
        shared_bytes=_shared_bytes(),
        gpus=survey.gpus,
        gpu_problems=survey.problems,
        nvidia_cards=gpus.nvidia_cards(),
        cpu_told=frameworks.told_cpu(backend, environ),
        unseen=can_be_used and frameworks.is_unseen(backend, packages, environ),
        share_of_gpu=share_of_gpu(backend, environ),
        visible_devices=hidden_by,
        device_order=environ.get("CUDA_DEVICE_ORDER"),
        device_asked=recipe.device.kind,
        replicas=recipe.device.replicas,
        limit_asked_bytes=None if limit is None or isinstance(limit, Share) else int(limit),
        limit_asked_share=float(limit) if isinstance(limit, Share) else None,
        run_directory=look_at(run_directory),
    )


def look_at(directory: Path) -> RunDirectory:
    """Without creating it: what counts is the nearest folder above it that exists."""
    absolute = directory.absolute()
    there = next(path for path in (absolute, *absolute.parents) if os.access(path, os.F_OK))
    return RunDirectory(
        path=str(directory),
        writable=there.is_dir() and os.access(there, os.W_OK | os.X_OK),
        free_bytes=shutil.disk_usage(there).free,
    )


def _shared_bytes() -> int | None:
    try:
        return shutil.disk_usage("/dev/shm").total
    except OSError:  # there is none on a Mac
        return None


def _refusal(recipe: Recipe, backend: str) -> RecipeError | None:
    asked = msgspec.structs.replace(recipe, backend=backend)
    try:
        refuse_unsupported(asked, {})
    except RecipeError as error:
        return error
    return None
