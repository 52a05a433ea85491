"""Whose code failed: the user's frames of a traceback, without ours and the libraries'."""

import re
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


def users_frames(told: str) -> str:
    """The same of a traceback that comes as text, as from Python code within tf.data."""
    frames = re.findall(r'  File "(.*?)", line \d+, in .*\n(?:    .*\n)*', told)
    texts = re.findall(r'(  File ".*?", line \d+, in .*\n(?:    .*\n)*)', told)
    return "".join(
        text
        for name, text in zip(frames, texts, strict=True)
        if not name.startswith((OURS, *LIBRARIES, "<", GENERATED))
    )
