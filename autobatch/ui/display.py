"""The story on stderr, from events: a live view on a terminal, plain lines elsewhere."""

import threading
import time

from rich.console import Console
from rich.live import Live
from rich.markup import escape
from rich.text import Text

from autobatch.protocol import (
    Event,
    JobFinished,
    Note,
    StageExpects,
    StageFinished,
    StageStarted,
)
from autobatch.ui.live import view
from autobatch.ui.progress import Progress
from autobatch.ui.spelling import in_ascii
from autobatch.units import counted, format_duration

REFRESHES_PER_SECOND = 4  # a few ms of this process each, beside measurements


class Display:
    """Shows events; a context manager, so that the terminal is left whole.

    `animate`: None for as the console's file is a terminal. A log stays one where FORCE_COLOR asks
    for colours in it.
    """

    def __init__(
        self, console: Console | None = None, *, quiet: bool = False, animate: bool | None = None
    ) -> None:
        self.console = console or Console(stderr=True)
        self.quiet = quiet
        if animate is None:
            animate = self.console.is_interactive and self.console.file.isatty()
        self.animate = animate and not quiet and not self.console.is_dumb_terminal
        self.ascii_only = self.console.options.ascii_only
        self.progress = Progress()
        self._lock = threading.Lock()  # the view is drawn by a thread of Rich's
        self._live: Live | None = None
        self._told_seconds = 0.0  # that were to go, when last told in a plain line
        self._began = 0.0

    def __enter__(self) -> "Display":
        if self.animate:
            self._live = Live(
                get_renderable=self._view,
                console=self.console,
                refresh_per_second=REFRESHES_PER_SECOND,
                transient=True,
            )
            self._live.start()
            self.console.show_cursor(True)  # a kill must not leave the terminal without one
        return self

    def __exit__(self, *_: object) -> None:
        if self._live is not None:
            self._live.stop()
            self._live = None

    def show(self, event: Event) -> None:
        with self._lock:
            reused, done = self.progress.reused, self.progress.done
            self.progress.update(event)
        match event:
            case StageStarted():
                self._began, self._told_seconds = time.monotonic(), event.expected_seconds
                if not self.animate:
                    told = f" ({event.detail})" if event.detail else ""
                    about = format_duration(event.expected_seconds)
                    jobs = counted(event.jobs, "job")
                    self._say(f"{event.stage}: {jobs} expected, about {about}{told}")
            case StageExpects():
                self._tell_change(event)
            case JobFinished():
                self._tell_job(event)
            case StageFinished(stage=stage, answer=answer):
                mark = "[green]✓[/]" if event.is_whole else "[yellow]-[/]"
                took = format_duration(time.monotonic() - self._began)
                told = f", {reused} of {done} from the record" if reused else ""
                self._say(f"{mark} [bold]{stage:<9}[/] {_line(answer)} [dim]({took}{told})[/]")
            case Note(text=text):
                self._say(f"  [yellow]note[/] {_line(text)}")

    def _tell_change(self, event: StageExpects) -> None:
        """In plain lines only what changes the plans of whoever waits."""
        told = self._told_seconds - (time.monotonic() - self._began)
        if not self.animate and event.seconds_left > max(1.5 * told, told + 30):
            about = format_duration(event.seconds_left)
            left = counted(event.jobs_left, "more job")
            self._say(f"{event.stage}: about {left}, {about} to go")
            self._told_seconds = event.seconds_left + time.monotonic() - self._began

    def _tell_job(self, event: JobFinished) -> None:
        if not self.animate and event.stage != "inspect":  # its end says the same
            how = "from the record" if event.reused else format_duration(event.seconds)
            self._say(f"{event.stage}: {_line(f'{event.label}: {event.answer}')} ({how})")

    def _say(self, markup: str) -> None:
        """A line that stays: whole in a log, wrapped at words on a terminal."""
        if not self.quiet:
            markup = in_ascii(markup) if self.ascii_only else markup
            self.console.print(markup, highlight=False, soft_wrap=not self.animate)

    def _view(self) -> Text:
        size = self.console.size
        with self._lock:
            return view(
                self.progress, width=size.width, height=size.height, ascii_only=self.ascii_only
            )


def _line(text: str) -> str:
    """`text` from anywhere as one line without control characters or markup."""
    printable = "".join(char if char.isprintable() else " " for char in text)
    return escape(" ".join(printable.split()))
