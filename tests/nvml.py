"""NVIDIA's management library with made-up devices."""

from types import SimpleNamespace

import pynvml

GIB = 1 << 30


def error(code):
    return pynvml.NVMLError(code)


def process(pid, held_bytes):
    return SimpleNamespace(pid=pid, usedGpuMemory=held_bytes)


class Driver:
    """NVML with made-up devices: each a dict; an exception in place of a value is raised."""

    def __init__(self, *devices, starts=None):
        self.devices = devices
        self.starts = starts
        self.open = 0

    def nvmlInit(self):
        answer(self.starts)
        self.open += 1

    def nvmlShutdown(self):
        self.open -= 1

    def nvmlSystemGetDriverVersion(self):
        return "580.65.06"

    def nvmlDeviceGetCount(self):
        return len(self.devices)

    def nvmlDeviceGetHandleByIndex(self, index):
        return answer(self.devices[index])

    def nvmlDeviceGetName(self, device):
        return answer(device["name"])

    def nvmlDeviceGetUUID(self, device):
        return device.get("uuid", "GPU-0")

    def nvmlDeviceGetMemoryInfo(self, device, version=None):
        if version and "reserved" not in device:
            raise error(pynvml.NVML_ERROR_FUNCTION_NOT_FOUND)
        found = answer(device["memory"])
        return SimpleNamespace(**vars(found), reserved=device["reserved"]) if version else found

    def nvmlDeviceGetCudaComputeCapability(self, device):
        return answer(device.get("capability", error(pynvml.NVML_ERROR_NOT_SUPPORTED)))

    def nvmlDeviceGetComputeRunningProcesses(self, device):
        return answer(device.get("computing", []))

    def nvmlDeviceGetGraphicsRunningProcesses(self, device):
        return answer(device.get("drawing", []))

    def nvmlDeviceGetMigMode(self, device):
        if "instances" not in device:
            raise error(pynvml.NVML_ERROR_NOT_SUPPORTED)
        return [1, 1]

    def nvmlDeviceGetMaxMigDeviceCount(self, device):
        return len(device["instances"])

    def nvmlDeviceGetMigDeviceHandleByIndex(self, device, index):
        return answer(device["instances"][index])

    def nvmlDeviceGetHandleByUUID(self, uuid):
        for device in self.devices:
            for part in (device, *device.get("instances", [])):
                if part.get("uuid") == uuid:
                    return part
        raise error(pynvml.NVML_ERROR_NOT_FOUND)

    def nvmlDeviceGetTotalEnergyConsumption(self, device):
        if "millijoules" not in device:
            raise error(pynvml.NVML_ERROR_NOT_SUPPORTED)
        return device["millijoules"]


def answer(value):
    if isinstance(value, Exception):
        raise value
    return value


def card(**changes):
    free = SimpleNamespace(total=80 * GIB, free=79 * GIB)
    return {"name": "NVIDIA A100", "memory": free} | changes


class OldLibrary(Driver):
    """As a `pynvml` package of 2019 has it: names in bytes, and not all functions."""

    nvmlDeviceGetMigMode = nvmlDeviceGetTotalEnergyConsumption = property()  # AttributeError

    def nvmlSystemGetDriverVersion(self):
        return super().nvmlSystemGetDriverVersion().encode()

    def nvmlDeviceGetName(self, device):
        return super().nvmlDeviceGetName(device).encode()

    def nvmlDeviceGetUUID(self, device):
        return super().nvmlDeviceGetUUID(device).encode()

    def nvmlDeviceGetMemoryInfo(self, device):
        return super().nvmlDeviceGetMemoryInfo(device)


def old_library():
    """What `import pynvml` then finds."""
    lacks = ("NVMLLibraryMismatchError", "nvmlMemory_v2")
    return SimpleNamespace(**{k: v for k, v in vars(pynvml).items() if k not in lacks})
