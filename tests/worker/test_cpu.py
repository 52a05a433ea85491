"""What a CPU is called: what tells one machine, or one share of it, from another."""

import os
import platform
import subprocess
import sys

import pytest

from autobatch.worker.cpu import cpu_name

INTEL = "processor\t: 0\nmodel name\t: Intel(R) Xeon(R)  CPU @ 2.20GHz\nflags\t\t: fpu\n"
ARM = "processor\t: 0\nBogoMIPS\t: 50.00\nCPU implementer\t: 0x41\n"


@pytest.mark.parametrize(
    ("content", "name"),
    [(INTEL, "Intel(R) Xeon(R) CPU @ 2.20GHz"), (ARM, platform.machine()), (None, None)],
)
def test_a_cpu_is_named_by_its_model_where_the_system_tells_it(tmp_path, content, name):
    path = tmp_path / "cpuinfo"
    if content is not None:
        path.write_text(content)
    assert cpu_name(path).startswith(f"CPU: {name or platform.machine()}, ")


@pytest.mark.skipif(not hasattr(os, "sched_setaffinity"), reason="it has no taskset")
def test_only_the_cores_that_may_be_used_count():
    code = "from autobatch.worker.cpu import cpu_name; print(cpu_name())"
    before = os.sched_getaffinity(0)
    os.sched_setaffinity(0, {min(before)})
    try:
        told = subprocess.check_output([sys.executable, "-c", code], text=True)
    finally:
        os.sched_setaffinity(0, before)
    assert told.endswith(", 1 core\n")
