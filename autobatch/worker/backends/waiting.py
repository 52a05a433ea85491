"""An allocation of TensorFlow's that waits in vain, seen after a second instead of ten.

BFC waits 10 s (`kMaxMillisToWait`) for others to free memory before it reports that there is none.
Where `TF_BFC_MEMORY_DUMP` is set it writes what it holds as soon as an allocation fails, before it
waits. Memory can only be freed by something that runs. So a thread of ours looks, and gives the
answer (the framework's wait lets Python run) where for a whole second

- no thread of the process ran, or was ready to;
- what is held stayed what it was when the allocation failed;
- the main thread was inside TensorFlow, and no other thread in Python: nobody's callback, generator
  or `py_function` sleeps, to go on later.

Only Linux says which threads run. Elsewhere, and while anything does, the allocator's own ten
seconds hold.
"""

import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from types import FrameType

from autobatch.units import format_bytes

POLL_SECONDS = 0.05
IDLE_SAMPLES = 20  # a second; a thread that waits for a disk or a lock is soon seen to run again
LATE_SECONDS = 3 * POLL_SECONDS  # a sample later than this: we were kept from looking meanwhile
RUNNING = "RD"  # states of threads: running or ready, and waiting for a disk

_dumps: list[Path] = []  # one, where failed allocations are told of


def environment(dump: str | None) -> dict[str, str]:
    """Variables with which BFC writes files whose paths begin with `dump`; None: it writes none."""
    if dump is None:
        return {}
    _dumps.append(Path(dump))
    return {"TF_BFC_MEMORY_DUMP": dump}


def watch(held_bytes: Callable[[], int | None], give_up: Callable[[str], None]) -> None:
    """Call `give_up(evidence)` once an allocation has waited in vain. Returns at once.

    Threads that there are by now are not the user's.
    """
    if not _dumps:
        return
    ours = set(sys._current_frames())
    for path in _written(_dumps[0]):  # before the user's code ran: not about it
        path.unlink(missing_ok=True)
    threading.Thread(
        target=_watch, args=(_dumps[0], ours, held_bytes, give_up), daemon=True
    ).start()


def _written(dump: Path) -> list[Path]:
    """The oldest first."""
    return sorted(dump.parent.glob(f"{dump.name}_*"))


def _watch(
    dump: Path,
    ours: set[int],
    held_bytes: Callable[[], int | None],
    give_up: Callable[[str], None],
) -> None:
    ours = ours | {threading.get_ident()}
    latest: Path | None = None  # what was held when an allocation last failed
    idle, looked = 0, time.monotonic()
    while True:
        time.sleep(POLL_SECONDS)
        now = time.monotonic()
        is_late, looked = now - looked > LATE_SECONDS, now
        written = _written(dump)
        for path in written[:-1]:
            path.unlink(missing_ok=True)
        is_new = bool(written) and written[-1] != latest
        latest = written[-1] if written else None
        if latest is None or is_new or is_late or _may_go_on(ours):
            idle = 0
            continue
        idle += 1
        if idle >= IDLE_SAMPLES:
            evidence = _in_vain(latest.read_bytes(), held_bytes())
            latest.unlink()
            if evidence is not None:
                return give_up(evidence)


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
    """The evidence, if what was held when the allocation failed is still held."""
    from google.protobuf.message import DecodeError
    from tensorflow.core.protobuf.bfc_memory_map_pb2 import MemoryDump

    try:
        found = MemoryDump.FromString(dumped)
    except DecodeError:  # of a disk that is full
        return None
    if found.stats.bytes_in_use != held_bytes:
        return None  # it was served: something else makes the process wait
    free = max((chunk.size for chunk in found.chunk if not chunk.in_use), default=0)
    return (
        f"OOM: an allocation waits for memory, and nothing runs that could free any: "
        f"{format_bytes(found.stats.bytes_in_use)} are held, "
        f"and no free piece is larger than {format_bytes(free)}"
    )
