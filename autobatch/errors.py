"""Every exception a user may meet, each with the exit code of the command that it ends.

The message says what happened and what was expected; the hint, if there is one, what to do. Only
`ui/cli.py` turns them into text and an exit code. Failures of measurements are no exceptions but
outcomes (`protocol.py`).
"""


class AutobatchError(Exception):
    """autobatch cannot go on; here itself, it is by a fault of ours.

    `so_far` has the answers that there were by then, the last one last.
    """

    exit_code = 1
    so_far: tuple[object, ...] = ()

    def __init__(self, message: str, *, hint: str | None = None) -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint

    def __str__(self) -> str:
        return f"{self.message}\n{self.hint}" if self.hint else self.message


class RecipeError(AutobatchError):
    """The recipe cannot be used as written."""

    exit_code = 2


class UsageError(AutobatchError):
    """The command asks for something that does not exist or does not go together."""

    exit_code = 2


class NothingFitsError(AutobatchError):
    """Not even the smallest batch of the search range trains within the memory limit.

    Or, for what needs a size that keeps the headroom, none does.
    """

    exit_code = 3


class UserCodeError(AutobatchError):
    """The user's model or data failed, whatever the batch size; `traceback` shows their frames."""

    exit_code = 4

    def __init__(self, message: str, *, hint: str | None = None, traceback: str = "") -> None:
        super().__init__(message, hint=hint)
        self.traceback = traceback

    def __str__(self) -> str:
        told = super().__str__()
        return f"{told}\nIn your code:\n{self.traceback.rstrip()}" if self.traceback else told


class OutsideError(UserCodeError):
    """A worker was ended, or kept from starting, from outside: nothing is known of its task."""


class WrongRunDirectoryError(AutobatchError):
    """The run directory holds measurements of something else, or its record is damaged."""

    exit_code = 5


class DoesNotHoldError(AutobatchError):
    """A recommendation that was verified does not hold any more, or not here."""

    exit_code = 6


class InterruptedRunError(AutobatchError):
    """The run was ended from outside."""

    exit_code = 130

    def __init__(
        self, message: str = "Interrupted. What was measured is kept.", *, hint: str | None = None
    ) -> None:
        super().__init__(message, hint=hint)


class FromOption(str):
    """A `key=value` that another option than `--set` stands for; errors name what was typed."""

    typed: str

    def __new__(cls, setting: str, *, typed: str) -> "FromOption":
        made = super().__new__(cls, setting)
        made.typed = typed
        return made


def one_line(text: str, length: int = 60) -> str:
    """`text` as a message can quote it, whatever it is."""
    line = " ".join(text.split())
    return line if len(line) <= length else f"{line[: length - 1]}…"
