"""Memory on a CPU where the kernel counts it."""

import resource
import subprocess
import sys
import threading

import pytest

from autobatch.worker.backends.private_memory import PrivateMemory, sample_seconds
from autobatch.worker.mistakes import TargetError


def test_a_system_that_does_not_count_it_is_refused_with_what_to_use(tmp_path):
    with pytest.raises(TargetError, match="neither measured nor limited") as refused:
        PrivateMemory().start(1 << 30, statm=tmp_path / "statm")
    assert "--set backend=tensorflow" in refused.value.hint


@pytest.mark.parametrize(("counted", "until_next"), [(0.1, 0.002), (1, 0.01), (60, 0.02)])
def test_it_is_sampled_often_in_a_step_and_seldom_in_a_training(counted, until_next):
    assert sample_seconds(counted) == until_next


def test_threads_count_for_what_they_hold_and_not_for_their_stacks():
    memory = PrivateMemory()
    memory.start(None)
    before = memory.held_bytes()
    end = threading.Event()
    for _ in range(8):
        threading.Thread(target=end.wait).start()
    held = memory.held_bytes() - before
    end.set()
    assert (before < 1 << 20, held < 16 << 20) == (True, True)


PEAK = """
import os, time
from autobatch.worker.backends.private_memory import PrivateMemory

memory = PrivateMemory()
memory.start(None)
time.sleep(2)
before = memory.peak_bytes()
held = bytearray(os.urandom(1)) * (64 << 20)
time.sleep(0.2)
del held
print(memory.peak_bytes() - before)
"""


def test_a_peak_that_lasts_is_seen_also_long_after_the_start():
    """In a process of its own: what other tests left here may be let go meanwhile."""
    ended = subprocess.run([sys.executable, "-c", PEAK], capture_output=True, text=True, check=True)
    assert int(ended.stdout) > 60 << 20


LIMITED = """
import resource, sys
from autobatch.worker.backends.private_memory import PrivateMemory

resource.setrlimit(resource.RLIMIT_DATA, (2 << 30, int(sys.argv[1])))
memory = PrivateMemory()
memory.start(8 << 30)
print(resource.getrlimit(resource.RLIMIT_DATA)[0], memory.limit_bytes)
"""


@pytest.mark.parametrize("hard", [2 << 30, resource.RLIM_INFINITY])
def test_a_limit_of_the_shell_that_is_lower_stays(hard):
    command = [sys.executable, "-c", LIMITED, str(hard)]
    ended = subprocess.run(command, capture_output=True, text=True, check=True)
    at_most, limit_bytes = map(int, ended.stdout.split())
    assert (at_most, 1 << 30 < limit_bytes < at_most) == (2 << 30, True)
