"""Mistakes that the user must mend, raised in the worker and sent home as outcomes.

`TargetError`: the recipe names something that is not there (the recipe is to be mended).
`UserError`: it is there, but not what it must be (the user's code is to be mended).
"""

from autobatch.protocol import Outcome, OverBudget, Predicted, TargetMissing, UserCodeFailed


class Concluded(Exception):
    """Ends the work on a job, whose answer is `outcome`."""

    outcome: Outcome


class TargetError(Concluded):
    """The recipe names a file, module, callable or argument that is not there."""

    is_device = False

    def __init__(self, message: str, hint: str | None = None) -> None:
        super().__init__(message)
        self.message, self.hint = message, hint
        self.outcome = TargetMissing(message=message, hint=hint, is_device=self.is_device)


class DeviceError(TargetError):
    """The framework does not see the device."""

    is_device = True


class NotRun(Concluded):
    """A step is not run: by an analysis it needs too much, or nothing else was asked."""

    def __init__(self, outcome: OverBudget | Predicted) -> None:
        super().__init__(f"{outcome.peak_bytes} bytes would be needed")
        self.outcome = outcome


class UserError(Concluded):
    """The user's model or data is not what it must be.

    Its text has the hint too: from within tf.data, an exception comes home as nothing but text.
    """

    def __init__(self, message: str, hint: str | None = None) -> None:
        super().__init__(f"{message} {hint}" if hint else message)
        self.message, self.hint = message, hint
        self.outcome = UserCodeFailed(message=message, hint=hint)


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
