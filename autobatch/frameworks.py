"""Which backend Keras would use here, and whether what is installed of it can use a GPU.

By the environment, files and the metadata of packages: no framework is imported, and no code of the
user is run.
"""

import ast
import json
import os
import platform
from collections.abc import Iterable, Mapping
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from autobatch.users_file import parsed

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
    file = Path(environ.get("KERAS_HOME") or Path.home() / ".keras", "keras.json")
    try:
        return str(json.loads(file.read_text())["backend"]), str(file)
    except (OSError, ValueError, LookupError, TypeError):  # it may hold a list
        return "tensorflow", "Keras' default"


def _set_in(file: Path) -> tuple[str, str, bool] | None:
    """(backend, where, whether only as a default) as a Python file sets it before it imports Keras.

    Only what stands in the file itself, outside of functions and conditions, as a plain text.
    """
    if file.suffix != ".py":
        return None
    try:
        tree, _ = parsed(file)
    except (OSError, SyntaxError, ValueError):  # whoever imports it says so
        return None
    found = None
    for statement in tree.body:
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


def cpu_alone_here(backend: str) -> str | None:
    """The same as `cpu_alone`, of what is installed."""
    return cpu_alone(backend, installed((*DISTRIBUTIONS.get(backend, ()), *PLUGINS_OF_JAX)))


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
