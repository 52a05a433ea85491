"""What a process holds of the machine's memory, with those that it started."""

import subprocess
import sys
import tempfile
import time
from pathlib import Path
from types import SimpleNamespace

import psutil
import pytest

from autobatch.engine.resident import FAMILY_SECONDS, ResidentWatch, family_bytes, share_of

MIB = 1 << 20
ALONE = "import time; held = b'x' * (200 << 20); print(flush=True); time.sleep(60)"
WITH_FORKS = """
import os, time
held = b"x" * (200 << 20)
for _ in range(3):
    if os.fork() == 0:
        time.sleep(60)
print(flush=True)
time.sleep(60)
"""


def started(code):
    process = subprocess.Popen(
        [sys.executable, "-c", code], stdout=subprocess.PIPE, start_new_session=True
    )
    process.stdout.readline()
    return process


def killed(process):
    for child in psutil.Process(process.pid).children(recursive=True):
        child.kill()
    process.kill()
    process.communicate()


def test_pages_that_forks_share_count_once():
    process = started(WITH_FORKS)
    try:
        assert 200 * MIB < family_bytes(psutil.Process(process.pid)) < 300 * MIB
        watch = ResidentWatch(process.pid, 300 * MIB)
        time.sleep(FAMILY_SECONDS)
        assert watch.too_large() is None
    finally:
        killed(process)


def test_a_process_without_children_is_judged_by_its_own():
    process = started(ALONE)
    try:
        assert family_bytes(psutil.Process(process.pid)) == 0
        assert ResidentWatch(process.pid, 300 * MIB).too_large() is None
        told = ResidentWatch(process.pid, 100 * MIB).too_large()
        assert told is not None and told.startswith("its resident memory reached 2")
        assert told.endswith("more than the 100.0 MiB this machine can spare")
    finally:
        killed(process)
    assert ResidentWatch(process.pid, 100 * MIB).too_large() is None  # gone


def test_pages_of_a_file_are_not_held(tmp_path):
    """The kernel takes them back at need: data that is mapped may be larger than the memory."""
    (tmp_path / "data").write_bytes(bytes(200 * MIB))
    process = started(
        "import mmap, time\n"
        f"file = open({str(tmp_path / 'data')!r}, 'rb')\n"
        "data = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)\n"
        "sum(data[::4096])\nprint(flush=True)\ntime.sleep(60)"
    )
    try:
        assert psutil.Process(process.pid).memory_info().rss > 200 * MIB
        assert ResidentWatch(process.pid, 100 * MIB).too_large() is None
    finally:
        killed(process)


MAPPING = """
import mmap, time
with open({path!r}, "r+b") as file:
    data = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_COPY)
{then}
print(flush=True)
time.sleep(60)
"""
WRITES = "for at in range(0, len(data), 4096): data[at] = 1"
READS = "sum(data[::4096])"


def told_of(path, size, then, limit):
    """What is said of a process that maps a file of kept data of `size`."""
    path.write_bytes(bytes(size))
    process = started(MAPPING.format(path=str(path), then=then))
    try:
        return ResidentWatch(process.pid, limit, size, path).too_large()
    finally:
        killed(process)


@pytest.mark.parametrize("then", ["", READS])
def test_data_that_it_maps_counts_whether_or_not_it_was_read(tmp_path, then):
    assert told_of(tmp_path / "kept", 200 * MIB, then, 300 * MIB) is None
    told = told_of(tmp_path / "kept", 200 * MIB, then, 150 * MIB)
    assert "MiB with data of 200.0 MiB, more than the 150.0 MiB" in told


@pytest.mark.parametrize("then", [WRITES, "copy = bytes(data[:]); data.close()"])
def test_data_that_it_has_written_into_or_copied_counts_once(tmp_path, then):
    assert told_of(tmp_path / "kept", 200 * MIB, then, 300 * MIB) is None


def test_data_in_files_that_lie_in_memory_counts_once():
    memory = Path("/dev/shm")
    if not memory.is_dir():
        pytest.skip("there is no /dev/shm")
    with tempfile.TemporaryDirectory(dir=memory) as folder:
        assert told_of(Path(folder, "kept"), 40 * MIB, READS, 70 * MIB) is None


def test_where_the_system_tells_no_proportional_share_its_own_pages_count():
    on_macos = SimpleNamespace(rss=300, vms=900, uss=200)
    assert share_of(on_macos) == 200
    assert share_of(SimpleNamespace(rss=300, uss=200, pss=250)) == 250
