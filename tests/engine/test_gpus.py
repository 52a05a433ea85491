"""GPUs, as a made-up driver tells of them."""

import os
import sys

import pynvml
import pytest
from nvml import GIB, Driver, OldLibrary, card, error, old_library, process

from autobatch.engine.gpus import (
    CONTEXT_BYTES,
    Gpu,
    GpuProcess,
    GpuSurvey,
    least_free,
    lost,
    nvidia_cards,
    survey,
    usable,
    visible,
)
from autobatch.engine.machine import memory


def gpu(index, uuid):
    return Gpu(name="A", total_bytes=1, free_bytes=1, driver="1", index=index, uuid=uuid)


def test_each_gpu_is_told_with_its_memory():
    driver = Driver(card(), card(name="NVIDIA T4"))
    first, second = survey(driver).gpus
    assert (first.name, first.total_bytes, first.free_bytes) == ("NVIDIA A100", 80 * GIB, 79 * GIB)
    assert (first.driver, second.index, second.name) == ("580.65.06", 1, "NVIDIA T4")
    assert driver.open == 0


def test_what_the_driver_reserves_is_no_part_of_a_gpu_as_cuda_counts_it():
    (found,) = survey(Driver(card(reserved=GIB))).gpus
    assert (found.total_bytes, found.free_bytes) == (79 * GIB, 79 * GIB)


def test_a_gpu_without_memory_of_its_own_has_what_the_machine_can_spare():
    (found,) = survey(Driver(card(memory=error(pynvml.NVML_ERROR_NOT_SUPPORTED)))).gpus
    assert found.total_bytes == memory().total_bytes
    assert 0 < found.free_bytes < found.total_bytes


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


def test_an_old_library_that_hides_nvidias_still_tells_of_gpus(monkeypatch):
    monkeypatch.setitem(sys.modules, "pynvml", old_library())
    found = survey(OldLibrary(card(uuid="GPU-7")))
    assert found.problems == ()
    (told,) = found.gpus
    assert (told.name, told.uuid, told.driver) == ("NVIDIA A100", "GPU-7", "580.65.06")
    assert (told.total_bytes, told.free_bytes) == (80 * GIB, 79 * GIB)


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
        card(memory=error(pynvml.NVML_ERROR_UNKNOWN)),
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


def test_what_a_gpu_can_compute_is_told_where_the_driver_tells():
    driver = Driver(card(capability=(8, 6)), card())
    assert [found.capability for found in survey(driver).gpus] == [8, None]


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
    assert full.free_within(1.0, "torch") == 0


def test_of_several_gpus_the_one_that_can_give_least_counts():
    large = Gpu(name="A", total_bytes=80 * GIB, free_bytes=39 * GIB, driver="1")
    small = Gpu(name="B", total_bytes=40 * GIB, free_bytes=40 * GIB, driver="1")
    assert least_free([large, small], 1.0, "torch") == 39 * GIB - CONTEXT_BYTES
    assert least_free([large, small], 0.75, "jax") == 30 * GIB
    assert least_free([], 1.0, "torch") == 0


def test_hidden_gpus_are_not_used(monkeypatch):
    found = GpuSurvey(gpus=(gpu(0, "GPU-0"), gpu(1, "GPU-1")))
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "1")
    assert usable(found) == [found.gpus[1]]
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "-1")
    assert usable(found) == []


def test_cards_are_counted_without_a_driver(tmp_path):
    for name, vendor, kind in (
        ("0000:01:00.0", "0x10de", "0x030200"),
        ("0000:01:00.1", "0x10de", "0x040300"),  # its sound
        ("0000:00:02.0", "0x8086", "0x030000"),
    ):
        (tmp_path / name).mkdir()
        (tmp_path / name / "vendor").write_text(f"{vendor}\n")
        (tmp_path / name / "class").write_text(f"{kind}\n")
    assert (nvidia_cards(tmp_path), nvidia_cards(tmp_path / "none")) == (1, 0)


def test_a_gpu_is_lost_where_the_driver_answers_and_does_not_report_it():
    one = gpu(1, "GPU-1")
    assert lost(("GPU-0", "GPU-1"), GpuSurvey(gpus=(one,))) == ("GPU-0",)
    assert lost(("GPU-1",), GpuSurvey(gpus=(one,))) == ()
    broken = survey(Driver(error(pynvml.NVML_ERROR_GPU_IS_LOST)))
    assert lost(("GPU-0",), broken) == ("GPU-0",)
    silent = survey(Driver(card(), starts=error(pynvml.NVML_ERROR_UNKNOWN)))
    assert lost(("GPU-0",), silent) == ()


def test_this_machine_can_be_asked():
    assert isinstance(survey().gpus, tuple)
