"""Whose code failed: the user's frames of a traceback, without ours and the libraries'."""

import contextlib
import hashlib
import re
import site
import sys
import sysconfig
import tempfile
import traceback
from pathlib import Path

import autobatch

OURS = f"{Path(autobatch.__file__).parent}/"
GENERATED = f"{tempfile.gettempdir()}/__autograph_generated_file"
LIBRARIES = tuple(
    {
        *site.getsitepackages(),
        site.getusersitepackages(),
        sysconfig.get_path("stdlib"),
        sysconfig.get_path("purelib"),
        sysconfig.get_path("platlib"),
    }
)


FRAMEWORKS = {"tensorflow": "tensorflow", "jax": "jax", "jaxlib": "jax", "torch": "torch"}
MESSAGE_LINES = 12  # Keras lists every argument of every call on the way


def innermost_is_ours(error: BaseException) -> bool:
    frames = traceback.extract_tb(error.__traceback__)
    return bool(frames) and frames[-1].filename.startswith(OURS)


def users_message(error: BaseException) -> str:
    """What the exception says, without the graph's own stack that TensorFlow appends to it."""
    text = "".join(traceback.format_exception_only(error)).strip()
    text = re.split(r"\n\s*(?:Detected at node|Stack trace for op definition)", text)[0]
    lines = text.splitlines()
    return "\n".join(lines[:MESSAGE_LINES])


def users_traceback(error: BaseException) -> str:
    """The frames that are neither ours nor a library's, formatted; empty if there are none."""
    frames = [
        frame
        for frame in traceback.extract_tb(error.__traceback__)
        if not frame.filename.startswith((OURS, *LIBRARIES, "<", GENERATED))
    ]
    return "".join(traceback.format_list(frames))


def other_framework(error: BaseException, backend: str) -> str | None:
    """The framework beside the backend's that the user's code asked for, where it failed in it."""
    if isinstance(error, ModuleNotFoundError):
        missing = FRAMEWORKS.get((error.name or "").partition(".")[0])
        return missing if missing != backend else None
    users = False
    for frame, _ in traceback.walk_tb(error.__traceback__):
        called = FRAMEWORKS.get(frame.f_globals.get("__name__", "").partition(".")[0])
        if users and called not in (None, backend):
            return called
        users = not frame.f_code.co_filename.startswith((OURS, *LIBRARIES, "<", GENERATED))
    return None


def users_code() -> str:
    """A hash of the files of all imported modules that are neither ours nor a library's."""
    files = {getattr(module, "__file__", None) for module in list(sys.modules.values())}
    users = sorted(
        file for file in files if file and not file.startswith((OURS, *LIBRARIES, GENERATED))
    )
    digest = hashlib.sha256()
    for file in users:
        with contextlib.suppress(OSError):
            digest.update(Path(file).name.encode() + Path(file).read_bytes())
    return digest.hexdigest()[:16]


def users_frames(told: str) -> str:
    """The same of a traceback that comes as text, as from Python code within tf.data."""
    frames = re.findall(r'  File "(.*?)", line \d+, in .*\n(?:    .*\n)*', told)
    texts = re.findall(r'(  File ".*?", line \d+, in .*\n(?:    .*\n)*)', told)
    return "".join(
        text
        for name, text in zip(frames, texts, strict=True)
        if not name.startswith((OURS, *LIBRARIES, "<", GENERATED))
    )
