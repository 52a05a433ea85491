"""Memory: made-up trees of control groups, and this machine."""

import subprocess
import sys

import pytest

from autobatch.engine.cgroups import OomKills, control_groups, oom_kills
from autobatch.engine.kernel_limits import kernel_limits
from autobatch.engine.machine import CPU_SHARE, Memory, memory, spare_bytes

NO_LIMIT_V1 = 9223372036854771712


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


def test_a_mount_whose_name_is_no_text_hides_no_group(tmp_path):
    limited(tmp_path / "cgroup2/job", 1000, 400)
    process = process_in(tmp_path, "0::/job", V2)
    with (process / "mountinfo").open("ab") as mounts:
        mounts.write(b"40 22 8:1 / /media/\xff rw - vfat none rw\n")
    assert remaining(process) == [600]


def kills(tmp_path, process):
    write(tmp_path, vmstat="pgfault 8\noom_kill 16")
    return oom_kills(process, tmp_path / "vmstat")


def test_what_the_kernel_kills_is_counted_in_the_own_group_and_on_the_machine(tmp_path):
    write(tmp_path / "cgroup2", **{"memory.events": "oom_kill 9"})
    write(tmp_path / "cgroup2/job", **{"memory.events": "oom 3\noom_kill 2\noom_group_kill 1"})
    process = process_in(tmp_path, "0::/job", V2)
    assert kills(tmp_path, process) == OomKills(own=2, anywhere=16)


def test_where_the_own_group_does_not_govern_memory_the_one_above_counts(tmp_path):
    write(tmp_path / "cgroup2/user/session", **{"pids.max": "max"})
    write(tmp_path / "cgroup2/user", **{"memory.events": "oom_kill 1"})
    assert kills(tmp_path, process_in(tmp_path, "0::/user/session", V2)).own == 1


def test_version_1_counts_in_each_group_apart(tmp_path):
    for group, count in (("", 1), ("job", 2), ("job/step", 4), ("other", 8)):
        told = f"oom_kill_disable 0\nunder_oom 0\noom_kill {count}"
        write(tmp_path / "cgroup" / group, **{"memory.oom_control": told})
    assert kills(tmp_path, process_in(tmp_path, "4:memory:/job", V1)).own == 2 + 4


@pytest.mark.parametrize("events", ["", "oom_kill many"])
def test_where_no_group_counts_all_that_the_machine_kills_may_be_ours(tmp_path, events):
    write(tmp_path / "cgroup2", **{"memory.events": events})
    assert kills(tmp_path, process_in(tmp_path, "0::/", V2)) == OomKills(own=16, anywhere=16)
    assert oom_kills(tmp_path, tmp_path / "none") == OomKills(own=0, anywhere=0)


def test_a_count_that_a_removed_group_took_along_hides_nothing_else():
    before, now = OomKills(own=3, anywhere=5), OomKills(own=1, anywhere=6)
    assert now.since(before) == OomKills(own=0, anywhere=1)


def test_the_tightest_level_sets_what_can_be_spared(tmp_path):
    limited(tmp_path / "cgroup2/slice/job", 500_000, 100_000)
    limited(tmp_path / "cgroup2/slice", 900_000, 800_000)
    process = process_in(tmp_path, "0::/slice/job", V2)
    assert spare_bytes(process) == int(100_000 * CPU_SHARE)
    assert memory(process).tightest.path == "/slice"


def test_a_limit_above_what_the_machine_has_does_not_bind(tmp_path):
    limited(tmp_path / "cgroup2/job", 1 << 59, 0)
    process = process_in(tmp_path, "0::/job", V2)
    assert memory(process).tightest is None


def under(tmp_path, data="unlimited", space="unlimited", overcommits=0):
    """A process of a shell with these limits, on a machine that promises no more than 9 GiB."""
    lines = (
        "Limit   Soft Limit   Hard Limit   Units",
        f"Max data size   {data}   unlimited   bytes",
    )
    limits = "\n".join((*lines, f"Max address space   {space}   unlimited   bytes"))
    write(tmp_path / "proc/self", limits=limits)
    write(tmp_path / "proc/sys/vm", overcommit_memory=overcommits)
    write(tmp_path / "proc", meminfo=f"CommitLimit:  {9 << 20} kB\nCommitted_AS:  {2 << 20} kB")
    return tmp_path / "proc/self"


@pytest.mark.parametrize(
    ("limits", "named", "most_gib"),
    [
        ({"space": 64 << 30}, "the address space (ulimit -v)", 62),
        ({"data": 4 << 30, "space": 1 << 50}, "the data segment (ulimit -d)", 3.5),
        ({"overcommits": 2}, "the commit limit (vm.overcommit_memory=2)", 6),
    ],
)
def test_what_the_kernel_lets_a_process_take_bounds_what_can_be_spared(
    tmp_path, limits, named, most_gib
):
    found = kernel_limits(under(tmp_path, **limits))
    here = Memory(total_bytes=1 << 40, available_bytes=1 << 40, kernel_limits=tuple(found))
    assert here.tightest.told == named
    assert 0 < here.spare_bytes < most_gib * CPU_SHARE * (1 << 30)


def test_where_the_kernel_sets_no_limit_there_is_none(tmp_path):
    assert list(kernel_limits(under(tmp_path, overcommits=1))) == []
    assert list(kernel_limits(tmp_path / "no-such-process")) == []


def test_the_limit_of_this_process_is_seen():
    code = "from autobatch.engine.machine import memory; print(memory().tightest.limit_bytes)"
    before = "import resource; resource.setrlimit(resource.RLIMIT_AS, (3 << 30, 4 << 30)); "
    command = [sys.executable, "-c", before + code]
    ended = subprocess.run(command, capture_output=True, text=True, check=True)
    assert int(ended.stdout) == 3 << 30


def test_without_limits_the_available_memory_is_what_counts():
    assert Memory(total_bytes=2000, available_bytes=1000).spare_bytes == 900


def test_this_machine_can_be_read():
    here = memory()
    assert 0 < here.spare_bytes < here.total_bytes
