"""Whose code failed: the user's frames of a traceback, without ours and the libraries'."""

import site
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


def innermost_is_ours(error: BaseException) -> bool:
    frames = traceback.extract_tb(error.__traceback__)
    return bool(frames) and frames[-1].filename.startswith(OURS)


def users_traceback(error: BaseException) -> str:
    """The frames that are neither ours nor a library's, formatted; empty if there are none."""
    frames = [
        frame
        for frame in traceback.extract_tb(error.__traceback__)
        if not frame.filename.startswith((OURS, *LIBRARIES, "<", GENERATED))
    ]
    return "".join(traceback.format_list(frames))
