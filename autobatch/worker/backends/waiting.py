"""An allocation of TensorFlow's that waits in vain, seen after a second instead of ten.

BFC waits 10 s (`kMaxMillisToWait`) for others to free memory before it reports that there is none.
Memory can only be freed by something that runs. So a thread of ours looks (the framework's wait
lets Python run) whether for half a second

- no thread of the process ran, or was ready to;
- the main thread was inside TensorFlow, and no other thread in Python: nobody's callback, generator
  or `py_function` sleeps, to go on later.

Then it asks whether an allocation waits: it frees a little memory, upon which BFC lets all who wait
try again; and while `TF_BFC_MEMORY_DUMP` is set, one that fails writes what is held. Where such a
file comes, and for another half second nothing runs and what is held stays the same, the answer is
given. (Were it set from the beginning, every allocation that must wait, if only for a moment, would
write a file and hold the allocator's lock meanwhile: enough to change what overlaps, and near the
edge what trains.)

Only Linux says which threads run. Elsewhere, and while anything does, the allocator's own ten
seconds hold.
"""

import os
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from types import FrameType

from autobatch.units import format_bytes

POLL_SECONDS = 0.05
ASKED_AFTER = 10  # idle samples; a thread that waits for a disk or a lock soon runs again
IDLE_SAMPLES = 20  # a second in all
BUSY_SECONDS = 0.005  # of all threads, in a sample: more, and it computes
LATE_SECONDS = 3 * POLL_SECONDS  # a sample later than this: we were kept from looking meanwhile
RUNNING = "RD"  # states of threads: running or ready, and waiting for a disk
DUMP = "TF_BFC_MEMORY_DUMP"  # BFC reads it anew whenever an allocation fails


def watch(dump: str, held_bytes: Callable[[], int | None], give_up: Callable[[str], None]) -> None:
    """Call `give_up(evidence)` once an allocation has waited in vain. Returns at once.

    Files whose paths begin with `dump` may be written. Threads that there are by now are not the
    user's.
    """
    ours = set(sys._current_frames())
    threading.Thread(
        target=_watch, args=(Path(dump), ours, held_bytes, give_up), daemon=True
    ).start()


def _watch(
    dump: Path,
    ours: set[int],
    held_bytes: Callable[[], int | None],
    give_up: Callable[[str], None],
) -> None:
    ours = ours | {threading.get_ident()}
    idle, looked, computed, failed = 0, time.monotonic(), time.process_time(), b""
    while True:
        time.sleep(POLL_SECONDS)
        is_late = time.monotonic() - looked > LATE_SECONDS
        # Looking closer takes time from who computes, and so would change what overlaps.
        is_busy = time.process_time() - computed > BUSY_SECONDS
        idle = 0 if is_late or is_busy or _may_go_on(ours) else idle + 1
        if idle == ASKED_AFTER:
            failed = _failing_allocation(dump)
        elif idle == IDLE_SAMPLES:
            evidence = _in_vain(failed, held_bytes())
            if evidence is not None:
                return give_up(evidence)
            idle = 0
        looked, computed = time.monotonic(), time.process_time()


def _failing_allocation(dump: Path) -> bytes:
    """What BFC writes of an allocation that waits and cannot be served now; empty: none waits."""
    import tensorflow as tf

    for path in dump.parent.glob(f"{dump.name}_*"):
        path.unlink()
    try:
        with tf.device("CPU:0"):
            little = tf.raw_ops.Empty(shape=[1], dtype=tf.uint8, init=False)
    except tf.errors.ResourceExhaustedError:
        return b""
    before = os.environ.get(DUMP)
    os.environ[DUMP] = str(dump)
    try:
        del little  # freed: who waits tries again
        time.sleep(POLL_SECONDS)
    finally:
        if before is None:
            del os.environ[DUMP]
        else:
            os.environ[DUMP] = before
    found = b""
    for path in dump.parent.glob(f"{dump.name}_*"):
        found = max(found, path.read_bytes(), key=len)  # of two, one may be half written
        path.unlink()
    return found


def _may_go_on(ours: set[int]) -> bool:
    """Whether anything runs, or sleeps in Python code that is not ours."""
    frames = sys._current_frames()
    main = threading.main_thread().ident
    if set(frames) - ours - {main} or not _is_in_tensorflow(frames.get(main or 0)):
        return True
    mine = str(threading.get_native_id())
    try:
        tasks = [path for path in Path("/proc/self/task").iterdir() if path.name != mine]
        # "pid (name) state ...", and a name may hold anything
        states = [path.joinpath("stat").read_text().rpartition(")")[2].split()[0] for path in tasks]
    except OSError:  # a thread that has just ended; another system
        return True
    return any(state in RUNNING for state in states)


def _is_in_tensorflow(frame: FrameType | None) -> bool:
    name = frame.f_globals.get("__name__", "") if frame else ""
    return name.partition(".")[0] == "tensorflow"


def _in_vain(dumped: bytes, held_bytes: int | None) -> str | None:
    """The evidence, if an allocation failed, and what was held then is still held."""
    from google.protobuf.message import DecodeError
    from tensorflow.core.protobuf.bfc_memory_map_pb2 import MemoryDump

    try:
        found = MemoryDump.FromString(dumped)
    except DecodeError:  # of a disk that is full
        return None
    if not dumped or found.stats.bytes_in_use != held_bytes:
        return None  # it was served: something else makes the process wait
    free = max((chunk.size for chunk in found.chunk if not chunk.in_use), default=0)
    return (
        f"OOM: an allocation waits for memory, and nothing runs that could free any: "
        f"{format_bytes(found.stats.bytes_in_use)} are held, "
        f"and no free piece is larger than {format_bytes(free)}"
    )
