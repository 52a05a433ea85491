"""Mistakes that the user must mend, raised in the worker and sent home as outcomes.

`TargetError`: the recipe names something that is not there (the recipe is to be mended).
`UserError`: it is there, but not what it must be (the user's code is to be mended).
"""


class TargetError(Exception):
    """The recipe names a file, module, callable or argument that is not there."""

    def __init__(self, message: str, hint: str | None = None) -> None:
        super().__init__(message)
        self.message, self.hint = message, hint


class DeviceError(TargetError):
    """The framework does not see the device."""


class OverLimitError(Exception):
    """A step would need more than the limit, by an analysis of it; it was not run."""

    def __init__(self, peak_bytes: int) -> None:
        super().__init__(f"{peak_bytes} bytes are needed")
        self.peak_bytes = peak_bytes


class PredictedMemory(Exception):  # no error: it ends a training that is not to run
    """What a step would need, by an analysis of it; it was not run, as that was not asked for."""

    def __init__(self, peak_bytes: int) -> None:
        super().__init__(f"{peak_bytes} bytes would be needed")
        self.peak_bytes = peak_bytes


class UserError(Exception):
    """The user's model or data is not what it must be.

    Its text has the hint too: from within tf.data, an exception comes home as nothing but text.
    """

    def __init__(self, message: str, hint: str | None = None) -> None:
        super().__init__(f"{message} {hint}" if hint else message)
        self.message, self.hint = message, hint


def uncounted_memory() -> UserError:
    return UserError(
        "Nothing counts the memory of steps that are not compiled: on the CPU, JAX knows it by "
        "compiling them.",
        hint="Leave jit_compile as it is by default, and run_eagerly out; or use a GPU. A model "
        "saved under TensorFlow on a CPU has jit_compile off: load it, compile it, and save it.",
    )


def unusable_gpu(framework: str, error: Exception) -> DeviceError:
    return DeviceError(
        f"There is a GPU, but {framework} cannot use it: {str(error).splitlines()[0]}",
        hint="Check nvidia-smi, or use --set device.kind=cpu.",
    )
