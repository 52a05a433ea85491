"""The HTML report: one page that holds everything, works offline and asks nobody for anything."""

import base64
import contextlib
import hashlib
import os
import sys
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from autobatch.engine.difference import in_words
from autobatch.engine.record_file import Content, read_record
from autobatch.errors import UsageError
from autobatch.opening import run_of
from autobatch.protocol import Recommendation
from autobatch.ui import words
from autobatch.ui.charts.axes import Chart
from autobatch.units import counted, format_average, format_share, ratio

if TYPE_CHECKING:
    from jinja2 import Environment

FILE_NAME = "report.html"
TEMPLATES = Path(__file__).parent / "templates"
GENERATOR = '<meta name="generator" content="autobatch'  # tells our own pages from others
HEAD_BYTES = 2000  # of a page, within which that line is


def render(content: Content, name: str) -> str:
    """The report of one run, as HTML."""
    from autobatch.ui.findings import findings  # with NumPy and SciPy, which no refusal needs
    from autobatch.ui.sections import sections

    found = findings(content, name)
    shown = sections(found)
    result = found.recommendation
    return page(
        "report.html.j2",
        title=found.header.target.model,
        found=found,
        result=result,
        verified=content.verification,
        verdict=words.verdict(result) if result else "",
        confidence=words.CONFIDENCE[result.confidence] if result else "",
        plans=tuple(_plans(result)) if result else (),
        sections=shown,
        charts=[chart for section in shown for chart in section.charts],
    )


def _plans(result: Recommendation) -> list[tuple[str, str]]:
    """What goes with the answer: other settings of the optimizer, devices, wishes."""
    plans = [(name, format_average(value)) for name, value in result.hyperparameters.items()]
    if result.gradient_accumulation_steps > 1:
        plans.append(("gradient accumulation", words.accumulation(result)))
    if result.probe.replicas > 1:
        plans.append(("devices", words.shared(result.batch_size, result.probe.replicas)))
    for plan in result.replicas:
        plans.append((counted(plan.replicas, "device"), " ".join(words.replica_plan(plan))))
    return plans


def page(template: str, *, charts: list[Chart], **shown: Any) -> str:
    """A template filled in, with styles, scripts and charts inside it.

    The page's content security policy allows its own two scripts by their hashes and no request.
    """
    from markupsafe import Markup
    from plotly.offline import get_plotlyjs

    scripts = [get_plotlyjs(), (TEMPLATES / "page.js").read_text(encoding="utf-8")]
    figures = {chart.id: chart.figure for chart in charts}
    return (
        _templates()
        .get_template(template)
        .render(
            style=Markup((TEMPLATES / "page.css").read_text(encoding="utf-8")),
            scripts=[Markup(script) for script in scripts] if charts else [Markup(scripts[1])],
            hashes=" ".join(map(_hash, scripts)),
            figures=figures,
            charts=charts,
            **shown,
        )
    )


@cache
def _templates() -> "Environment":
    from jinja2 import Environment, FileSystemLoader, StrictUndefined

    made = Environment(
        loader=FileSystemLoader(TEMPLATES),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    made.filters["ratio"] = ratio
    made.filters["share"] = format_share
    made.filters["in_words"] = in_words
    made.globals["yours"] = words.yours
    made.globals["compared"] = words.compared
    made.globals["beside_rate"] = words.beside_rate
    return made


def _hash(script: str) -> str:
    digest = hashlib.sha256(script.encode()).digest()
    return f"'sha256-{base64.b64encode(digest).decode()}'"


def write_report(directory: Path, output: Path | None = None, *, force: bool = False) -> Path:
    """Render the run in `directory`; where the page was written."""
    path = output or directory / FILE_NAME
    _refuse_others(path, force, ours=output is None)
    return write(path, render(_record(directory), shown_name(directory)))


def add_report(directory: Path, *, quiet: bool) -> None:
    """The page of a run that came to an answer. That is out: nothing that fails here undoes it."""
    try:
        path = write_report(directory)
    except Exception as error:
        print(f"note: the report was not written: {error}", file=sys.stderr)
        return
    if not quiet:
        print(f"report: {path}", file=sys.stderr)


def report(runs: list[str], *, compare: bool, output: Path | None, force: bool) -> Path:
    """What `autobatch report` does: the page of one run, or of two side by side."""
    if len(runs) != (2 if compare else 1):
        raise UsageError(
            f"Expected {'two runs to compare' if compare else 'one run'}; received {len(runs)}.",
            hint="`autobatch report RUN` shows one run, `autobatch report --compare RUN RUN` two.",
        )
    directories = [run_of(run) for run in runs]
    if not compare:
        return write_report(directories[0], output, force=force)
    contents = [(_record(directory), shown_name(directory)) for directory in directories]
    path = output or directories[0] / f"compared-with-{directories[1].resolve().name}.html"
    _refuse_others(path, force, ours=output is None)
    from autobatch.ui.compare import render_comparison
    from autobatch.ui.findings import findings

    one, other = (findings(content, name) for content, name in contents)
    return write(path, render_comparison(one, other))


def _record(directory: Path) -> Content:
    content = read_record(directory)
    if not content.entries:
        raise UsageError(
            f"{directory} holds no measurement yet: there is nothing to report.",
            hint="The command that made it goes on there when it is started again.",
        )
    return content


def shown_name(directory: Path) -> str:
    """A directory's name as text, also where it is not valid UTF-8."""
    return os.fsencode(directory.resolve().name).decode("utf-8", "replace")


def _refuse_others(path: Path, force: bool, *, ours: bool) -> None:
    """An existing file is replaced if the user says so, or if it is a page that we wrote there."""
    try:
        is_directory, exists = path.is_dir(), path.exists()
    except OSError as error:
        raise UsageError(f"Cannot write {path}: {error.strerror}.") from None
    if is_directory:
        raise UsageError(f"{path} is a directory.", hint="Give a file: --output FILE.")
    if force or not exists or (ours and _is_page(path)):
        return
    raise UsageError(
        f"{path} exists already.",
        hint="Give --force to replace it, or another file with --output FILE.",
    )


def _is_page(path: Path) -> bool:
    try:
        with path.open("rb") as file:
            return GENERATOR.encode() in file.read(HEAD_BYTES)
    except OSError:
        return False


def write(path: Path, html: str) -> Path:
    """The whole page or nothing; an earlier one stays until then."""
    aside = path.with_name(f"{path.name}.tmp")
    if path.exists() and not path.is_file():  # a device, a pipe: nothing to put in its place
        aside = path
    try:
        aside.write_text(html, encoding="utf-8", errors="replace")
        if aside != path:
            aside.replace(path)
    except OSError as error:
        if aside != path:
            with contextlib.suppress(OSError):
                aside.unlink(missing_ok=True)
        raise UsageError(
            f"Cannot write {path}: {error.strerror}.",
            hint="Give another place with --output FILE.",
        ) from None
    return path
