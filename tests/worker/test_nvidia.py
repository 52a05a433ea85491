"""A GPU's counter of joules, of a made-up driver."""

import sys

import pynvml
import pytest
from nvml import GIB, Driver, OldLibrary, card, error, old_library, process

from autobatch.worker.nvidia import EnergyCounter, visible_handles


def counted(driver, *, replicas=1, spent=0):
    """Joules per sample of 10 samples, for which the first GPU spends `spent` mJ."""
    counter = EnergyCounter("gpu", replicas, driver)
    counter.start()
    counter.trained(10)
    for device in driver.devices:
        if "millijoules" in device:
            device["millijoules"] += spent
    return counter.joules_per_sample()


def test_joules_are_counted_from_the_start_on():
    assert counted(Driver(card(millijoules=7_000_000)), spent=5000) == 0.5


def test_replicas_spend_together():
    driver = Driver(*(card(millijoules=k) for k in range(3)))
    assert counted(driver, replicas=2, spent=5000) == 1.0


@pytest.mark.parametrize(
    "driver",
    [
        Driver(card()),
        Driver(card(millijoules=1), starts=error(pynvml.NVML_ERROR_LIBRARY_NOT_FOUND)),
        Driver(card(millijoules=1, computing=[process(1, GIB), process(2, GIB)])),
    ],
    ids=["a GPU before Volta", "no driver", "others compute"],
)
def test_without_a_counter_nothing_is_known(driver):
    assert counted(driver) is None


def test_what_the_driver_does_not_tell_of_processes_is_no_reason_to_know_nothing():
    refused = error(pynvml.NVML_ERROR_NO_PERMISSION)
    too_old = pynvml.NVMLLibraryMismatchError("Unversioned function called")
    for computing in ([process(1, GIB), process(1, None)], refused, too_old):
        assert counted(Driver(card(millijoules=1, computing=computing)), spent=5000) == 0.5


def test_without_nvidias_library_nothing_is_known(monkeypatch):
    monkeypatch.setitem(sys.modules, "pynvml", None)
    counter = EnergyCounter("gpu")
    counter.start()
    counter.trained(10)
    assert counter.joules_per_sample() is None


def test_where_an_old_library_hides_nvidias_nothing_is_known(monkeypatch):
    monkeypatch.setitem(sys.modules, "pynvml", old_library())
    driver = OldLibrary(card(millijoules=1, uuid="GPU-a"))
    assert counted(driver, spent=5000) is None
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "GPU-a")
    assert [found["uuid"] for found in visible_handles(driver)] == ["GPU-a"]


def test_on_a_cpu_no_driver_is_asked():
    driver = Driver(card(millijoules=1))
    assert EnergyCounter("cpu", nvml=driver).joules_per_sample() is None
    assert driver.open == 0


def test_before_anything_was_trained_nothing_is_known():
    counter = EnergyCounter("gpu", nvml=Driver(card(millijoules=1)))
    counter.start()
    assert counter.joules_per_sample() is None


@pytest.mark.parametrize(
    ("setting", "expected"),
    [
        *((None, "GPU-a"), ("", "GPU-a"), ("1", "GPU-b"), ("1,-1", "GPU-b"), ("1,9", "GPU-b")),
        *(("GPU-b,GPU-a", "GPU-b"), ("GPU-b1", "GPU-b12"), ("MIG-c", "MIG-c")),
    ],
)
def test_the_first_visible_gpu_is_asked(monkeypatch, setting, expected):
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    if setting is not None:
        monkeypatch.setenv("CUDA_VISIBLE_DEVICES", setting)
    parts = [card(uuid="MIG-c")]
    driver = Driver(card(uuid="GPU-a"), card(uuid="GPU-b", instances=parts), card(uuid="GPU-b12"))
    assert [found["uuid"] for found in visible_handles(driver)] == [expected]
