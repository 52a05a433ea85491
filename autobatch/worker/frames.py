"""Whose code failed: the user's frames of a traceback, without ours and the libraries'."""

import contextlib
import errno
import hashlib
import re
import site
import sys
import sysconfig
import traceback
from collections.abc import Collection
from importlib.util import cache_from_source
from pathlib import Path
from types import ModuleType

import autobatch
from autobatch.protocol import Target, split

OURS = f"{Path(autobatch.__file__).parent}/"
GENERATED_MODULE = "__autograph_generated_file"  # what TensorFlow makes of a user's function
LIBRARIES = tuple(
    {
        *site.getsitepackages(),
        site.getusersitepackages(),
        sysconfig.get_path("stdlib"),
        sysconfig.get_path("purelib"),
        sysconfig.get_path("platlib"),
    }
)
INSTALLED = ("/site-packages/", "/dist-packages/")  # elsewhere, too: on PYTHONPATH, or by uv

FRAMEWORKS = {"tensorflow": "tensorflow", "jax": "jax", "jaxlib": "jax", "torch": "torch"}
FRAME = r'(  File "(.*?)", line \d+, in .*\n(?:    .*\n)*)'  # of a traceback that comes as text
MESSAGE_LINES = 12  # Keras lists every argument of every call on the way


def innermost_is_ours(error: BaseException) -> bool:
    frames = traceback.extract_tb(error.__traceback__)
    return bool(frames) and frames[-1].filename.startswith(OURS)


def is_users(filename: str) -> bool:
    """Whether code of that file is neither ours nor a library's."""
    return not filename.startswith(OURS) and not _is_librarys(filename)


def _is_librarys(filename: str) -> bool:
    """Or has no file, or is what TensorFlow made of a function."""
    within = (*INSTALLED, f"/{GENERATED_MODULE}")  # which lies where code says that files do
    return filename.startswith((*LIBRARIES, "<")) or any(each in filename for each in within)


def users_message(error: BaseException) -> str:
    """What the exception says, without the graph's own stack that TensorFlow appends to it."""
    whole = "".join(traceback.format_exception_only(error)).strip()
    text = re.split(r"\n\s*(?:Detected at node|Stack trace for op definition)", whole)[0].rstrip()
    what = re.search(r"^(\S.*)\n\s+\[\[\{\{node", whole, re.MULTILINE)  # after that stack
    if text.endswith("Graph execution error:") and what:
        text = f"{text} {what[1]}"
    told = "\n".join(text.splitlines()[:MESSAGE_LINES])
    notes = (note for note in getattr(error, "__notes__", ()) if note not in told)
    return "\n".join((told, *notes))  # which stand after all else, and may have been cut off


def no_memory(error: BaseException) -> str | None:
    """What it says where Python had no memory, or the system none for it (as to fork or to map)."""
    if isinstance(error, MemoryError):
        why = str(error) or "Python could allocate nothing more, not even a message"
        return f"MemoryError: {why}"
    is_systems = isinstance(error, OSError) and error.errno == errno.ENOMEM
    return f"OSError: {error}" if is_systems else None


def error_of_process(error: BaseException) -> tuple[str, str] | None:
    """(what it says, its traceback) where it was raised in a process of a torch DataLoader.

    TensorFlow tells it twice, and where in the graph it was.
    """
    *before, told = re.split(r"Caught \w+ in DataLoader worker process \d+\.\n", str(error))
    if not before:
        return None
    lines = re.split(FRAME, told)[-1].strip().split("\n\n")[0].splitlines()
    return "\n".join(lines[:MESSAGE_LINES]), told


def error_in_data(error: BaseException) -> tuple[str, str] | None:
    """The same of Python code that tf.data called, whatever the backend."""
    tensorflow = sys.modules.get("tensorflow")
    if tensorflow is None or not isinstance(error, tensorflow.errors.OpError):
        return None
    head, mark, rest = str(error).partition("Traceback (most recent call last):\n")
    lines = [line.strip() for line in head.strip().splitlines()]
    if not mark or not lines:
        return None
    message = re.sub(r"^\{\{function_node .*?\}\} ?", "", lines[-1])
    return message.removeprefix("UserError: "), rest


def users_traceback(error: BaseException) -> str:
    """The frames that are neither ours nor a library's, formatted; empty if there are none."""
    frames = [
        frame for frame in traceback.extract_tb(error.__traceback__) if is_users(frame.filename)
    ]
    return "".join(traceback.format_list(frames))


def users_frames(told: str) -> str:
    """The same of a traceback that comes as text, as from Python code within tf.data."""
    frames = re.findall(FRAME, told)
    return "".join(text for text, name in frames if is_users(name))


def other_framework(error: BaseException, backend: str) -> str | None:
    """A framework beside the backend's that the user's code imports, or would.

    None where the error was raised by their own code: what they compute was not reached.
    """
    if isinstance(error, ModuleNotFoundError):
        missing = FRAMEWORKS.get((error.name or "").partition(".")[0])
        return missing if missing != backend else None
    frames = traceback.extract_tb(error.__traceback__)
    if frames and not _is_librarys(frames[-1].filename):
        return None
    return framework_beside(backend)


def framework_beside(backend: str) -> str | None:
    """A framework that the user's code imports beside the backend's."""
    for module in users_modules():
        for value in vars(module).values():
            name = value.__name__ if isinstance(value, ModuleType) else _module_of(value)
            used = FRAMEWORKS.get(name.partition(".")[0])
            if used not in (None, backend):
                return used
    return None


def advice_on_framework(used: str, backend: str) -> str:
    """Where code that was written for one framework may have met another."""
    return (
        f"Your code imports {used}, and the backend is {backend}: write what the model computes "
        f"with keras.ops (pipelines of tf.data may stay), or use --set backend={used}."
    )


def advice_on(error: BaseException) -> str | None:
    """On what is no fault of code that runs otherwise; None where it may be one."""
    if isinstance(error, SystemExit):
        return (
            "Your code ended the program. The command line is not passed on, so that arguments "
            "need defaults; what is to run as a script alone belongs under "
            "`if __name__ == '__main__':`."
        )
    if "Mixing different tf.distribute.Strategy" in str(error):
        return (
            "With device.replicas your code runs in the scope of a strategy already: leave your "
            "own scope out."
        )
    if isinstance(error, ImportError) and "attempted relative import" in str(error):
        return (
            "Name it as a module of its package, from the folder above: "
            "autobatch recommend package.module:build_model"
        )
    missing = error.name if isinstance(error, ModuleNotFoundError) else None
    if missing and any(Path(missing).glob("*.py")):
        return (
            f"The folder {missing} is here: name your file as a module from here, too, "
            "autobatch recommend folder.module:build_model"
        )
    if isinstance(error, FileNotFoundError) and isinstance(error.filename, str):
        return _advice_on_file(error.filename, error)
    return None


def _advice_on_file(name: str, error: BaseException) -> str | None:
    """That it lies beside the code that opens it, where it does."""
    for frame in reversed(traceback.extract_tb(error.__traceback__)):
        code = Path(frame.filename)
        if name and is_users(frame.filename) and (code.parent / name).exists():
            return (
                f"Your code runs where the command is typed, in {Path.cwd()}, and {name} lies "
                f"beside {code.name}: write Path(__file__).parent / {name!r} there."
            )
    return None


def _module_of(value: object) -> str:
    name = getattr(value, "__module__", None)
    return name if isinstance(name, str) else ""


def users_modules(packages: Collection[str] = ()) -> list[ModuleType]:
    """All imported modules that are neither ours nor a library's, and those of the `packages`."""
    return [
        module
        for name, module in list(sys.modules.items())
        if (file := getattr(module, "__file__", None))
        and (name.partition(".")[0] in packages or is_users(file))
    ]


def named_packages(target: Target) -> set[str]:
    """Of modules that it names, wherever they are installed; frameworks are known by version."""
    named = (target.model, target.data, target.callbacks)
    modules = (split(each)[0] for each in named if each and split(each)[1])
    return {module.partition(".")[0] for module in modules} - {"keras", *FRAMEWORKS}


def users_code(target: Target) -> str:
    """A hash of the files of the user's modules, and of a saved model."""
    digest = hashlib.sha256()
    for path in map(Path, users_files(target)):
        with contextlib.suppress(OSError), path.open("rb") as file:
            digest.update(path.name.encode())
            hashlib.file_digest(file, lambda: digest)  # in parts: a model may be large
    return digest.hexdigest()[:16]


def users_files(target: Target) -> list[str]:
    """Of the modules that are the user's by now, and of the saved model that is named."""
    files = {str(module.__file__) for module in users_modules(named_packages(target))}
    saved = [] if split(target.model)[1] else [str(Path(target.folder, target.model))]
    return sorted(files.union(saved))


def remove_generated() -> None:
    """Delete the files that TensorFlow has made; it does so at a shutdown of the interpreter."""
    for name, module in list(sys.modules.items()):
        if name.startswith(GENERATED_MODULE):
            made = str(module.__file__)
            for path in (made, cache_from_source(made)):
                with contextlib.suppress(OSError):
                    Path(path).unlink()
