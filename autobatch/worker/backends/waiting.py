"""An allocation of TensorFlow's that waits in vain, seen after a second instead of ten.

BFC waits 10 s (`kMaxMillisToWait`) for others to free memory before it reports that there is none.
Where `TF_BFC_MEMORY_DUMP` is set it writes what it holds as soon as an allocation fails, before it
waits. Memory can only be freed by something that runs: if then no thread of the process runs, and
what is held stays the same, for a whole second, nothing will be. A thread of ours sees that (the
framework's own wait lets Python run) and gives the answer. Linux alone says which threads run; on
other systems, and while anything does, the allocator's own ten seconds hold.
"""

import threading
import time
from collections.abc import Callable
from pathlib import Path

from autobatch.units import format_bytes

POLL_SECONDS = 0.05
IDLE_SECONDS = 1.0  # a thread that waits for a disk or a lock is soon seen to run again
RUNNING = "RD"  # states of threads: running or ready, and waiting for a disk

_dumps: list[Path] = []  # one, where failed allocations are told of


def environment(dump: str | None) -> dict[str, str]:
    """Variables with which BFC writes files whose paths begin with `dump`; None: it writes none."""
    if dump is None:
        return {}
    _dumps.append(Path(dump))
    return {"TF_BFC_MEMORY_DUMP": dump}


def watch(held_bytes: Callable[[], int | None], give_up: Callable[[str], None]) -> None:
    """Call `give_up(evidence)` once an allocation has waited in vain. Returns at once."""
    if _dumps:
        threading.Thread(target=_watch, args=(_dumps[0], held_bytes, give_up), daemon=True).start()


def _watch(
    dump: Path, held_bytes: Callable[[], int | None], give_up: Callable[[str], None]
) -> None:
    latest: Path | None = None  # what was held when an allocation last failed
    idle_since = time.monotonic()
    while True:
        time.sleep(POLL_SECONDS)
        written = sorted(dump.parent.glob(f"{dump.name}_*"))
        for path in written[:-1]:
            path.unlink(missing_ok=True)
        is_new = bool(written) and written[-1] != latest
        latest = written[-1] if written else None
        if latest is None or is_new or _is_any_running():
            idle_since = time.monotonic()
        elif time.monotonic() - idle_since >= IDLE_SECONDS:
            evidence = _in_vain(latest.read_bytes(), held_bytes())
            latest.unlink()
            if evidence is not None:
                return give_up(evidence)


def _is_any_running() -> bool:
    """Whether any thread but this one runs, or could."""
    mine = str(threading.get_native_id())
    try:
        tasks = [path for path in Path("/proc/self/task").iterdir() if path.name != mine]
        # "pid (name) state ...", and a name may hold anything
        states = [path.joinpath("stat").read_text().rpartition(")")[2].split()[0] for path in tasks]
    except OSError:  # a thread that has just ended; another system
        return True
    return any(state in RUNNING for state in states)


def _in_vain(dumped: bytes, held_bytes: int | None) -> str | None:
    """The evidence, if what was held when the allocation failed is still held."""
    from google.protobuf.message import DecodeError
    from tensorflow.core.protobuf.bfc_memory_map_pb2 import MemoryDump

    try:
        found = MemoryDump.FromString(dumped)
    except DecodeError:  # of a disk that is full
        return None
    if found.stats.bytes_in_use != held_bytes:
        return None  # it was served, or could do without: something else makes the process wait
    free = max((chunk.size for chunk in found.chunk if not chunk.in_use), default=0)
    return (
        f"OOM: an allocation waits for memory, and nothing runs that could free any: "
        f"{format_bytes(found.stats.bytes_in_use)} are held, "
        f"and no free piece is larger than {format_bytes(free)}"
    )
