"""Which backend Keras would use here, and whether what is installed of it can use a GPU.

By the environment, files and the metadata of packages: no code of the user is run, and no framework
is imported (TensorFlow in a process of its own, where nothing else tells what it can).
"""

import ast
import functools
import json
import os
import platform
import subprocess
import sys
from collections.abc import Iterable, Mapping
from importlib.metadata import PackageNotFoundError, version
from importlib.util import find_spec
from pathlib import Path

from autobatch.locator import at_home
from autobatch.users_file import tree_of

VARIABLE = "KERAS_BACKEND"
ASSIGNED = (f"os.environ['{VARIABLE}']", f"environ['{VARIABLE}']")  # as `ast.unparse` spells it
DEFAULTED = ("os.environ.setdefault", "environ.setdefault")
DISTRIBUTIONS = {  # what each backend may be installed as
    "tensorflow": (
        "tensorflow",
        "tf-nightly",
        "tensorflow-cpu",
        "tensorflow-intel",
        "intel-tensorflow",
        "tf-nightly-cpu",
    ),
    "jax": ("jax",),
    "torch": ("torch",),
}
ALL_DISTRIBUTIONS = tuple(name for names in DISTRIBUTIONS.values() for name in names)
TENSORFLOWS_FOR_GPUS = ("tensorflow", "tf-nightly")
PLUGINS_OF_JAX = ("jax-cuda13-plugin", "jax-cuda12-plugin", "jax-rocm7-plugin")
CUDNN_OF_TENSORFLOW = "nvidia-cudnn-cu12"  # as its extra, and-cuda, brings it (2.21)
CUDNN_FOLDERS = (  # where distributions of Linux and NVIDIA's installers and images put it
    "/usr/lib/x86_64-linux-gnu",
    "/usr/lib/aarch64-linux-gnu",
    "/usr/lib64",
    "/usr/local/cuda/lib64",
)
DEVICES = {"jax": "JAX_PLATFORMS", "torch": "KERAS_TORCH_DEVICE"}  # which they, or Keras, train on
COUNTS_GPUS = "import tensorflow as tf; print(len(tf.config.list_physical_devices('GPU')))"
COUNT_SECONDS = 120.0  # for TensorFlow to be imported, from a slow disk, too
FOR_GPUS = {  # how to install each so that it can
    "tensorflow": "tensorflow[and-cuda]",
    "jax": "jax[cuda13]",
    "torch": "torch",
}


def users_backend(
    environ: Mapping[str, str] = os.environ, files: Iterable[Path] = ()
) -> tuple[str, str]:
    """(backend, who chose it), as in the user's own run of code in `files`.

    What the code assigns to KERAS_BACKEND counts before what the environment has, that before a
    default that the code gives, and that before Keras' configuration.
    """
    found = next(filter(None, map(_set_in, files)), None)
    in_code, place, is_default = found or ("", "", True)
    if in_code and not is_default:
        return in_code, place
    if backend := environ.get(VARIABLE):
        return backend, VARIABLE
    return (in_code, place) if in_code else configured_backend(environ)


def configured_backend(environ: Mapping[str, str] = os.environ) -> tuple[str, str]:
    """(backend, who chose it) in a shell where KERAS_BACKEND is not set."""
    file = keras_folder(environ) / "keras.json"
    try:
        return str(json.loads(file.read_text())["backend"]), str(file)
    except (OSError, ValueError, LookupError, TypeError):  # it may hold a list
        return "tensorflow", "Keras' default"


def keras_folder(environ: Mapping[str, str]) -> Path:
    """Where Keras looks for its configuration (keras/src/backend/config.py)."""
    if "KERAS_HOME" in environ:
        return at_home(Path(environ["KERAS_HOME"]))
    home = at_home(Path("~"))
    return Path(home if os.access(home, os.W_OK) else "/tmp", ".keras")


def _set_in(file: Path) -> tuple[str, str, bool] | None:
    """(backend, where, whether only as a default) as a Python file sets it before it imports Keras.

    Only what stands in the file itself, outside of functions and conditions, as a plain text.
    """
    if file.suffix != ".py":
        return None
    found = None
    for statement in tree_of(file).body:
        match statement:
            case ast.Import(names=names) if any(_imports_keras(each.name) for each in names):
                break
            case ast.ImportFrom(module=str(name)) if _imports_keras(name):
                break
            case ast.Assign(targets=[target], value=ast.Constant(value=str(backend))):
                is_default, is_it = False, ast.unparse(target) in ASSIGNED
            case ast.Expr(
                ast.Call(func=function, args=[ast.Constant(value=key), ast.Constant(str(backend))])
            ):
                is_default, is_it = True, key == VARIABLE and ast.unparse(function) in DEFAULTED
            case _:
                continue
        if is_it and backend and not (is_default and found):
            found = backend, f"{file.name}, line {statement.lineno}", is_default
    return found


def _imports_keras(module: str) -> bool:
    return module.startswith("keras")  # keras_hub does, too


def how_to_install(backend: str) -> str:
    """What to type."""
    for_gpus = FOR_GPUS[backend]
    more = "" if for_gpus == backend else f' (for a GPU, "{for_gpus}")'
    return f"pip install {backend}{more}"


def installed(names: Iterable[str]) -> dict[str, str]:
    """Versions by name of the distributions that are."""
    found = {}
    for name in names:
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            continue
    return found


def installed_as(backend: str, packages: Mapping[str, str]) -> list[str]:
    """The distributions that it is there as, of those that are installed."""
    return [name for name in DISTRIBUTIONS.get(backend, ()) if name in packages]


def is_importable(backend: str) -> bool:
    """Whether there is a package of that name, whatever it was installed as."""
    found = find_spec(backend)
    return found is not None and found.origin is not None  # which a mere folder has not


def left_alone_here(backend: str, environ: Mapping[str, str] = os.environ) -> str | None:
    """The same as `left_alone`, of what is installed; where need be, TensorFlow is asked."""
    names = (*DISTRIBUTIONS.get(backend, ()), *PLUGINS_OF_JAX, CUDNN_OF_TENSORFLOW)
    packages = installed(names)
    unseen = is_unseen(backend, packages, environ)
    return left_alone(backend, packages, told_cpu(backend, environ), unseen=unseen)


def left_alone(
    backend: str,
    packages: Mapping[str, str],
    told: str | None,
    *,
    unseen: bool,
    architecture: str = platform.machine(),
) -> str | None:
    """Why it would not use a GPU that is there; None where it would, or may.

    `told` by the environment to use the CPU; the GPU `unseen`, as it was asked.
    """
    if told:
        return f"the environment has {told}"
    if alone := cpu_alone(backend, packages, architecture):
        return alone
    if not unseen:
        return None
    name = installed_as(backend, packages)[0]
    return f"{name} {packages[name]} came without CUDA's libraries, and does not see it"


def told_cpu(backend: str, environ: Mapping[str, str]) -> str | None:
    """What of the environment has it use the CPU, as in a shell: JAX_PLATFORMS=cpu, say."""
    name = DEVICES.get(backend, "")
    first = environ.get(name, "").partition(",")[0].partition(":")[0]
    return f"{name}={environ[name]}" if first.strip().lower() == "cpu" else None


def is_unseen(backend: str, packages: Mapping[str, str], environ: Mapping[str, str]) -> bool:
    """Whether TensorFlow does not see a GPU that is there, for want of CUDA's libraries.

    Where its cuDNN is in sight, they are taken to be there. They may be elsewhere, too (conda has
    them in a place of its own): it is asked.
    """
    if backend != "tensorflow" or not installed_as(backend, packages):
        return False
    return not (cpu_alone(backend, packages) or has_cudnn(packages, environ) or sees_gpus())


@functools.cache
def sees_gpus() -> bool:
    """Whether TensorFlow does, in a process of its own; True where there is no answer."""
    command = [sys.executable, "-P", "-c", COUNTS_GPUS]
    try:
        ran = subprocess.run(
            command, capture_output=True, text=True, check=False, timeout=COUNT_SECONDS
        )
    except (OSError, subprocess.TimeoutExpired):
        return True
    return ran.stdout.split()[-1:] != ["0"]


def has_cudnn(
    packages: Mapping[str, str], environ: Mapping[str, str], folders: Iterable[str] = CUDNN_FOLDERS
) -> bool:
    """Whether TensorFlow's cuDNN came with pip, or one with the system."""
    named = [name for name in environ.get("LD_LIBRARY_PATH", "").split(":") if name]
    return CUDNN_OF_TENSORFLOW in packages or any(
        next(Path(folder).glob("libcudnn.so*"), None) for folder in (*named, *folders)
    )


def cpu_alone(
    backend: str, packages: Mapping[str, str], architecture: str = platform.machine()
) -> str | None:
    """What is installed of it, and that it cannot use a GPU; None where it can, or may."""
    names = installed_as(backend, packages)
    if not names:
        return None
    told = f"{names[0]} {packages[names[0]]}"
    match backend:
        case "tensorflow":
            if any(_has_cuda(name, packages[name], architecture) for name in names):
                return None
        case "torch":
            if not packages["torch"].endswith("+cpu"):
                return None
        case "jax":
            if any(name in packages for name in PLUGINS_OF_JAX):
                return None
            return f"{told} has no plugin for GPUs"
    return f"{told} is built for the CPU alone"


def _has_cuda(name: str, release: str, architecture: str) -> bool:
    # For Arm, PyPI has none with CUDA; NVIDIA's own builds carry their name in the version.
    return name in TENSORFLOWS_FOR_GPUS and (architecture == "x86_64" or "+nv" in release)
