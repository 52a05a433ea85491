"""A worker ends with who started it, whatever it is doing."""

import ctypes
import os
import signal
import sys
from multiprocessing import forkserver
from multiprocessing.connection import Connection
from typing import Any

from autobatch.worker.frames import remove_generated

PR_SET_PDEATHSIG = 1  # prctl(2): the signal that the kernel sends as the parent ends


def end_with_template() -> None:
    """By the kernel, on Linux: code in C that holds Python's lock lets no thread of ours do it.

    The template ends once nobody has the pipe that keeps it alive: it is closed here, so that the
    tool alone has it. A worker that is no fork of a template ends with the tool so.
    """
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, ctypes.c_ulong(signal.SIGKILL))
    server: Any = forkserver._forkserver  # nothing public closes it
    if server._forkserver_alive_fd is not None:
        os.close(server._forkserver_alive_fd)
        server._forkserver_alive_fd = None


def end_with_tool(pipe: Connection) -> None:
    """For a thread: ends us, and all that we started, once the parent does."""
    try:
        pipe.recv_bytes()  # the parent never sends: this returns only when its end closes
    except (EOFError, OSError):
        try:
            remove_generated()
        finally:
            os.killpg(0, signal.SIGKILL)
