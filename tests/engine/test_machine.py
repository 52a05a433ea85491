"""Devices and memory: a made-up driver, made-up trees of control groups, and this machine."""

import os
import sys

import pynvml
import pytest
from nvml import GIB, Driver, card, error, process

from autobatch.engine.cgroups import control_groups
from autobatch.engine.machine import (
    CPU_SHARE,
    Gpu,
    GpuProcess,
    GpuSurvey,
    Memory,
    gpus,
    least_free,
    lost,
    memory,
    nvidia_cards,
    spare_bytes,
    survey,
    visible,
)

NO_LIMIT_V1 = 9223372036854771712


def gpu(index, uuid):
    return Gpu(name="A", total_bytes=1, free_bytes=1, driver="1", index=index, uuid=uuid)


def test_each_gpu_is_told_with_its_memory():
    driver = Driver(card(), card(name="NVIDIA T4"))
    first, second = survey(driver).gpus
    assert (first.name, first.total_bytes, first.free_bytes) == ("NVIDIA A100", 80 * GIB, 79 * GIB)
    assert (first.driver, second.index, second.name) == ("580.65.06", 1, "NVIDIA T4")
    assert driver.open == 0


@pytest.mark.parametrize(
    "code", [pynvml.NVML_ERROR_LIBRARY_NOT_FOUND, pynvml.NVML_ERROR_DRIVER_NOT_LOADED]
)
def test_a_machine_without_a_driver_has_no_gpus_and_no_problem(code):
    found = survey(Driver(starts=error(code)))
    assert (found.gpus, found.problems) == ((), ())


def test_without_nvidias_library_that_is_the_problem(monkeypatch):
    monkeypatch.setitem(sys.modules, "pynvml", None)
    found = survey()
    assert (found.gpus, found.answers) == ((), False)
    assert found.problems == ("nvidia-ml-py is not installed: GPUs cannot be looked at.",)


def test_a_driver_that_fails_is_a_problem():
    found = survey(Driver(card(), starts=error(pynvml.NVML_ERROR_LIB_RM_VERSION_MISMATCH)))
    assert found.gpus == ()
    assert "does not answer" in found.problems[0]


def test_a_driver_too_old_for_the_library_is_a_problem():
    found = survey(Driver(card(), starts=pynvml.NVMLLibraryMismatchError("too old")))
    assert found.problems == ("NVIDIA's driver does not answer: too old.",)


@pytest.mark.parametrize(
    "broken",
    [
        error(pynvml.NVML_ERROR_GPU_IS_LOST),
        card(memory=error(pynvml.NVML_ERROR_NOT_SUPPORTED)),
        card(name=error(pynvml.NVML_ERROR_UNKNOWN)),
    ],
)
def test_a_gpu_that_fails_leaves_the_others(broken):
    driver = Driver(broken, card())
    found = survey(driver)
    assert [g.index for g in found.gpus] == [1]
    assert found.problems[0].startswith("GPU 0 cannot be read: ")
    assert driver.open == 0


def test_who_holds_memory_is_told_once_and_largest_first():
    computing = [process(99_999_998, GIB), process(99_999_999, 4 * GIB)]
    drawing = [process(99_999_998, None)]
    (found,) = survey(Driver(card(computing=computing, drawing=drawing))).gpus
    assert found.processes == (
        GpuProcess(pid=99_999_999, command=None, held_bytes=4 * GIB),
        GpuProcess(pid=99_999_998, command=None, held_bytes=GIB),
    )


def test_a_process_that_can_be_seen_is_named():
    (found,) = survey(Driver(card(computing=[process(os.getpid(), None)]))).gpus
    assert "python" in found.processes[0].command
    assert found.processes[0].held_bytes is None


def test_a_driver_that_may_not_tell_of_processes_still_tells_of_memory():
    refused = error(pynvml.NVML_ERROR_NO_PERMISSION)
    (found,) = survey(Driver(card(computing=refused))).gpus
    assert (found.processes, found.free_bytes) == (None, 79 * GIB)


def test_a_partitioned_gpu_is_told_by_its_instances():
    instance = card(name="NVIDIA A100 MIG 1g.10gb", uuid="MIG-1")
    empty = error(pynvml.NVML_ERROR_NOT_FOUND)
    (found,) = survey(Driver(card(instances=[empty, instance]))).gpus
    assert (found.index, found.uuid) == (0, "MIG-1")


@pytest.mark.parametrize(
    ("setting", "chosen"),
    [
        (None, [0, 1]),
        ("1", [1]),
        ("1,0", [1, 0]),
        ("GPU-bb", [1]),
        ("", []),
        ("-1", []),
        ("0,7,1", [0]),
        (" 1 ", [1]),
    ],
)
def test_cuda_visible_devices_chooses_as_cuda_does(setting, chosen):
    found = (gpu(0, "GPU-aa11"), gpu(1, "GPU-bb22"))
    assert [g.index for g in visible(found, setting)] == chosen


def test_of_a_nearly_full_gpu_nothing_is_free():
    full = Gpu(name="A", total_bytes=80 * GIB, free_bytes=100 << 20, driver="1")
    assert full.free_within(1.0, "tensorflow") == 0
    assert full.free_within(1.0, "torch") == 100 << 20


def test_of_several_gpus_the_one_that_can_give_least_counts():
    large = Gpu(name="A", total_bytes=80 * GIB, free_bytes=39 * GIB, driver="1")
    small = Gpu(name="B", total_bytes=40 * GIB, free_bytes=40 * GIB, driver="1")
    assert least_free([large, small], 1.0, "torch") == 39 * GIB
    assert least_free([large, small], 0.75, "jax") == 30 * GIB
    assert least_free([], 1.0, "torch") == 0


def test_hidden_gpus_are_not_used(monkeypatch):
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "-1")
    assert gpus() == []


def test_cards_are_counted_without_a_driver(tmp_path):
    for name, vendor, kind in (
        ("0000:01:00.0", "0x10de", "0x030200"),
        ("0000:01:00.1", "0x10de", "0x040300"),  # its sound
        ("0000:00:02.0", "0x8086", "0x030000"),
    ):
        write(tmp_path / name, vendor=vendor, **{"class": kind})
    assert (nvidia_cards(tmp_path), nvidia_cards(tmp_path / "none")) == (1, 0)


# --- memory ------------------------------------------------------------------------------------


def write(folder, **files):
    folder.mkdir(parents=True, exist_ok=True)
    for name, text in files.items():
        (folder / name).write_text(f"{text}\n")


def limited(folder, limit, used, stat=""):
    write(folder, **{"memory.max": limit, "memory.current": used, "memory.stat": stat})


def limited_v1(folder, limit, used, stat=""):
    names = ("memory.limit_in_bytes", "memory.usage_in_bytes", "memory.stat")
    write(folder, **dict(zip(names, (limit, used, stat), strict=True)))


def process_in(tmp_path, cgroup, *mounts):
    """A folder of /proc for a process in `cgroup`, which sees `mounts`: (kind, root, options)."""
    lines = ["22 1 0:21 / /sys rw - sysfs sysfs rw", "23 1 0:5 / /odd rw -  rw"]
    for kind, root, options in mounts:
        lines.append(f"31 22 0:28 {root} {tmp_path}/{kind} rw shared:9 - {kind} {kind} {options}")
    write(tmp_path / "proc", cgroup=cgroup, mountinfo="\n".join(lines))
    return tmp_path / "proc"


def remaining(process):
    return [group.remaining_bytes for group in control_groups(process)]


V2 = ("cgroup2", "/", "rw,nsdelegate")
V1 = ("cgroup", "/", "rw,memory")


def test_version_2_takes_the_limit_of_the_own_group(tmp_path):
    limited(tmp_path / "cgroup2/job", 1000, 400)
    (group,) = control_groups(process_in(tmp_path, "0::/job", V2))
    assert (group.path, group.limit_bytes, group.used_bytes) == ("/job", 1000, 400)


def test_version_2_looks_at_every_level_up_to_the_root(tmp_path):
    limited(tmp_path / "cgroup2/slice/job/step", "max", 100)
    limited(tmp_path / "cgroup2/slice/job", 5000, 100)
    limited(tmp_path / "cgroup2/slice", 2000, 1900)
    process = process_in(tmp_path, "0::/slice/job/step", V2)
    assert remaining(process) == [4900, 100]


def test_the_root_counts_where_a_container_sees_its_own_group_as_root(tmp_path):
    limited(tmp_path / "cgroup2", 3000, 1000)
    assert remaining(process_in(tmp_path, "0::/", V2)) == [2000]


def test_max_everywhere_is_no_limit(tmp_path):
    limited(tmp_path / "cgroup2/job", "max", 100)
    assert remaining(process_in(tmp_path, "0::/job", V2)) == []


def test_the_throttling_limit_counts_when_it_is_lower(tmp_path):
    limited(tmp_path / "cgroup2/job", "max", 100)
    write(tmp_path / "cgroup2/job", **{"memory.high": 600})
    assert remaining(process_in(tmp_path, "0::/job", V2)) == [500]


def test_file_caches_that_can_be_given_back_are_not_counted_as_used(tmp_path):
    limited(tmp_path / "cgroup2/job", 1000, 900, "anon 200\ninactive_file 600\nactive_file 100")
    assert remaining(process_in(tmp_path, "0::/job", V2)) == [800]


def test_version_1_takes_the_memory_controller_among_others(tmp_path):
    caches = "inactive_file 9\ntotal_inactive_file 150\ntotal_active_file 50"
    limited_v1(tmp_path / "cgroup/a/b", 1000, 700, caches)
    limited_v1(tmp_path / "cgroup/a", NO_LIMIT_V1, 700)
    process = process_in(tmp_path, "9:name=systemd:/x\n4:cpu,memory:/a/b\n0::/", V1, V2)
    assert remaining(process) == [500]


def test_version_1_in_a_container_is_found_below_what_the_mount_shows(tmp_path):
    limited_v1(tmp_path / "cgroup/sub", 800, 100)
    limited_v1(tmp_path / "cgroup", 1000, 100)
    mount = ("cgroup", "/docker/abc", "rw,memory")
    groups = list(control_groups(process_in(tmp_path, "4:memory:/docker/abc/sub", mount)))
    assert [(g.path, g.limit_bytes) for g in groups] == [
        ("/docker/abc/sub", 800),
        ("/docker/abc", 1000),
    ]


@pytest.mark.parametrize("own", ["/elsewhere/x", "/../outside"])
def test_a_group_outside_the_mount_falls_back_to_the_root_that_is_seen(tmp_path, own):
    limited_v1(tmp_path / "cgroup", 1000, 300)
    limited_v1(tmp_path / "outside", 10, 10)
    mount = ("cgroup", "/docker/abc" if own != "/../outside" else "/", "rw,memory")
    assert remaining(process_in(tmp_path, f"4:memory:{own}", mount)) == [700]


def test_a_limit_without_usage_is_still_a_limit(tmp_path):
    write(tmp_path / "cgroup2/job", **{"memory.max": 1000})
    assert remaining(process_in(tmp_path, "0::/job", V2)) == [1000]


def test_more_used_than_allowed_leaves_nothing(tmp_path):
    limited(tmp_path / "cgroup2/job", 1000, 1500)
    assert remaining(process_in(tmp_path, "0::/job", V2)) == [0]


@pytest.mark.parametrize("cgroup", ["", "nonsense", "0::/job"])
def test_missing_or_strange_files_are_no_limit(tmp_path, cgroup):
    assert remaining(tmp_path / "no-such-process") == []
    assert remaining(process_in(tmp_path, cgroup, V2)) == []


def test_mount_points_with_spaces_are_found(tmp_path):
    limited(tmp_path / "a b/job", 1000, 0)
    point = f"{tmp_path}/a\\040b"
    line = f"31 22 0:28 / {point} rw - cgroup2 none rw"
    write(tmp_path / "proc", cgroup="0::/job", mountinfo=line)
    assert remaining(tmp_path / "proc") == [1000]


def test_the_tightest_level_sets_what_can_be_spared(tmp_path):
    limited(tmp_path / "cgroup2/slice/job", 500_000, 100_000)
    limited(tmp_path / "cgroup2/slice", 900_000, 800_000)
    process = process_in(tmp_path, "0::/slice/job", V2)
    assert spare_bytes(process) == int(100_000 * CPU_SHARE)
    assert memory(process).tightest_group.path == "/slice"


def test_a_limit_above_what_the_machine_has_does_not_bind(tmp_path):
    limited(tmp_path / "cgroup2/job", 1 << 59, 0)
    process = process_in(tmp_path, "0::/job", V2)
    assert memory(process).tightest_group is None


def test_without_limits_the_available_memory_is_what_counts():
    assert Memory(total_bytes=2000, available_bytes=1000).spare_bytes == 900


def test_this_machine_can_be_read():
    here = memory()
    assert 0 < here.spare_bytes < here.total_bytes
    assert isinstance(survey().gpus, tuple)


def test_a_gpu_is_lost_where_the_driver_answers_and_does_not_report_it():
    one = gpu(1, "GPU-1")
    assert lost(("GPU-0", "GPU-1"), GpuSurvey(gpus=(one,))) == ("GPU-0",)
    assert lost(("GPU-1",), GpuSurvey(gpus=(one,))) == ()
    broken = survey(Driver(error(pynvml.NVML_ERROR_GPU_IS_LOST)))
    assert lost(("GPU-0",), broken) == ("GPU-0",)
    silent = survey(Driver(card(), starts=error(pynvml.NVML_ERROR_UNKNOWN)))
    assert lost(("GPU-0",), silent) == ()
