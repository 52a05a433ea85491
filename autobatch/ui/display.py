"""The story on stderr, from events: a live line per stage on a terminal, plain lines elsewhere.

`python -m autobatch.ui.display` shows it with pretend events.
"""

import time

from rich.console import Console
from rich.live import Live
from rich.markup import escape
from rich.text import Text

from autobatch.protocol import (
    Event,
    JobFinished,
    JobProgress,
    JobStarted,
    Note,
    StageExpects,
    StageFinished,
    StageStarted,
)
from autobatch.units import format_duration

REFRESHES_PER_SECOND = 8
BAR_CELLS = 24


class Display:
    """Shows events; a context manager, so that the terminal is left whole."""

    def __init__(self, console: Console | None = None, *, quiet: bool = False) -> None:
        self.console = console or Console(stderr=True)
        self.quiet = quiet
        self._live: Live | None = None
        self._stage: StageStarted | None = None
        self._expects: StageExpects | None = None
        self._expected_at = 0.0
        self._told_seconds = 0.0  # that were to go, when last told in a plain line
        self._began = 0.0
        self._done = 0
        self._reused = 0
        self._trying = ""
        self._share = 0.0  # of the present job
        self._last = ""

    def __enter__(self) -> "Display":
        if self.console.is_terminal and not self.quiet:
            self._live = Live(
                get_renderable=self._line,
                console=self.console,
                refresh_per_second=REFRESHES_PER_SECOND,
                transient=True,
            )
            self._live.start()
        return self

    def __exit__(self, *_: object) -> None:
        if self._live is not None:
            self._live.stop()

    def show(self, event: Event) -> None:
        match event:
            case StageStarted():
                self._stage, self._began = event, time.monotonic()
                self._expects, self._told_seconds = None, event.expected_seconds
                self._done = self._reused = 0
                self._trying, self._share, self._last = "", 0.0, ""
                if self._live is None:
                    told = f" ({event.detail})" if event.detail else ""
                    about = format_duration(event.expected_seconds)
                    self._say(f"{event.stage}: {event.jobs} expected, about {about}{told}")
            case StageExpects():
                self._expects, self._expected_at = event, time.monotonic()
                self._tell_change(event)
            case JobStarted(label=label):
                self._trying, self._share = label, 0.0
            case JobProgress(done=done, total=total):
                self._share = done / max(total, 1)
            case JobFinished():
                self._job_finished(event)
            case StageFinished(stage=stage, answer=answer):
                self._stage_finished(stage, answer)
            case Note(text=text):
                self._say(f"  [yellow]note[/] {escape(text)}")

    def _tell_change(self, event: StageExpects) -> None:
        """In plain lines only what changes the plans of whoever waits."""
        told = self._told_seconds - (time.monotonic() - self._began)
        if self._live is None and event.seconds_left > max(1.5 * told, told + 30):
            about = format_duration(event.seconds_left)
            self._say(f"{event.stage}: about {event.jobs_left} more, {about}")
            self._told_seconds = event.seconds_left + time.monotonic() - self._began

    def _job_finished(self, event: JobFinished) -> None:
        self._done += 1
        self._reused += event.reused
        self._trying, self._share = "", 0.0
        self._last = f"{event.label}: {event.answer}"
        if self._live is None and event.stage != "inspect":  # its end says the same
            how = "from the record" if event.reused else format_duration(event.seconds)
            self._say(f"{event.stage}: {escape(self._last)} ({how})")

    def _stage_finished(self, stage: str, answer: str) -> None:
        took = format_duration(time.monotonic() - self._began)
        reused = f", {self._reused} of {self._done} from the record" if self._reused else ""
        self._say(f"[green]✓[/] [bold]{stage:<9}[/] {escape(answer)} [dim]({took}{reused})[/]")
        self._stage = None

    def _say(self, markup: str) -> None:
        if not self.quiet:
            self.console.print(markup, highlight=False)

    def _line(self) -> Text:
        """The one live line: stage, bar, elapsed and expected time, what is tried now."""
        if self._stage is None:
            return Text()
        elapsed = time.monotonic() - self._began
        done = self._done + self._share
        jobs, left = self._left(done, elapsed)
        filled = round(BAR_CELLS * min(1.0, done / max(jobs, 1)))
        bar = f"[cyan]{'━' * filled}[/][dim]{'━' * (BAR_CELLS - filled)}[/]"
        times = f"{format_duration(elapsed)}, {format_duration(max(0.0, left))} to go"
        line = Text.from_markup(
            f"  [bold]{self._stage.stage:<9}[/] {bar} {times}  {self._present()}"
        )
        line.no_wrap, line.overflow = True, "ellipsis"
        return line

    def _left(self, done: float, elapsed: float) -> tuple[float, float]:
        """(jobs in all, seconds to go)."""
        assert self._stage is not None
        if self._expects is not None:
            since = time.monotonic() - self._expected_at
            return done + self._expects.jobs_left, self._expects.seconds_left - since
        jobs = max(self._stage.jobs, self._done + (1 if self._trying else 0), 1)
        measured = self._done - self._reused
        if measured >= 2:  # by then what the jobs of this run took is the better guide
            return jobs, elapsed / max(measured + self._share, 1) * (jobs - done)
        return jobs, self._stage.expected_seconds * (1 - done / jobs)

    def _present(self) -> str:
        trying = f"[bold]{escape(self._trying)}[/]" if self._trying else ""
        last = f"[dim]{escape(self._last)}[/]" if self._last else ""
        return " [dim]after[/] ".join(filter(None, (trying, last)))


def _demo() -> None:
    with Display() as display:
        display.show(StageStarted(stage="probe", jobs=4, expected_seconds=4))
        for size in (32, 128, 1024, 512):
            display.show(JobStarted(stage="probe", label=f"batch {size}"))
            time.sleep(1)
            answer = "out of memory" if size == 1024 else f"fits, peak {size / 10:.1f} MiB"
            display.show(
                JobFinished(
                    stage="probe", label=f"batch {size}", answer=answer, seconds=1, reused=False
                )
            )
        display.show(StageFinished(stage="probe", answer="largest 512"))
        display.show(Note(text="This was a demonstration."))


if __name__ == "__main__":
    _demo()
