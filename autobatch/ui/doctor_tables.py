"""A diagnosis as Rich renderables, for stdout."""

from collections.abc import Iterator

from rich.console import Group, RenderableType
from rich.markup import escape
from rich.table import Table

from autobatch.doctor.facts import Diagnosis, Facts, Finding
from autobatch.engine.gpus import Gpu
from autobatch.errors import one_line
from autobatch.frameworks import ALL_DISTRIBUTIONS
from autobatch.ui.tables import facts_table
from autobatch.units import counted, format_bytes

COMMAND_CELLS = 40


def diagnosis_table(diagnosis: Diagnosis) -> RenderableType:
    facts = facts_table(*_rows(diagnosis))
    return Group(facts, "", *map(_finding, diagnosis.findings), _verdict(diagnosis))


def _rows(diagnosis: Diagnosis) -> Iterator[tuple[str, str]]:
    facts = diagnosis.facts
    memory = facts.memory
    cores = counted(facts.cores, "CPU core")
    yield "machine", f"{facts.system} {facts.architecture}, {cores}"
    yield (
        "memory",
        f"{format_bytes(memory.available_bytes)} available of {format_bytes(memory.total_bytes)}; "
        + _swap(facts),
    )
    if facts.shared_bytes is not None:
        yield "shared memory", f"{format_bytes(facts.shared_bytes)} in /dev/shm"
    for group in memory.groups:
        yield (
            "control group",
            f"{format_bytes(group.used_bytes)} used of {format_bytes(group.limit_bytes)} "
            f"[dim]{escape(group.path)}[/]",
        )
    for limit in memory.kernel_limits:
        yield (
            "kernel limit",
            f"{format_bytes(limit.remaining_bytes)} left for training of "
            f"{format_bytes(limit.limit_bytes)} [dim]{limit.name}[/]",
        )
    for gpu in facts.gpus:
        yield from _gpu_rows(gpu, used=gpu in facts.usable_gpus)
    if not facts.gpus:
        yield "GPU", "none that NVIDIA's driver reports"
    yield "device", f"[bold]{diagnosis.device}[/]: {escape(diagnosis.device_reason)}"
    yield (
        "memory limit",
        f"[bold]{format_bytes(diagnosis.limit_bytes)}[/]: {escape(diagnosis.limit_reason)}",
    )
    yield "backend", f"[bold]{escape(facts.backend)}[/] ({escape(facts.backend_from)})"
    yield "versions", _versions(facts)
    directory = facts.run_directory
    yield "records", f"{escape(directory.path)}, {format_bytes(directory.free_bytes)} free on disk"


def _gpu_rows(gpu: Gpu, *, used: bool) -> Iterator[tuple[str, str]]:
    hidden = "" if used else " [yellow](hidden by CUDA_VISIBLE_DEVICES)[/]"
    yield (
        f"GPU {gpu.index}",
        f"{escape(gpu.name)}, {format_bytes(gpu.free_bytes)} free of "
        f"{format_bytes(gpu.total_bytes)}, driver {escape(gpu.driver)}{hidden}",
    )
    if gpu.processes is None:
        yield "", "[dim]the driver does not say who holds memory[/]"
    for process in gpu.processes or ():
        held = "?" if process.held_bytes is None else format_bytes(process.held_bytes)
        command = one_line(process.command or "cannot be seen from here", COMMAND_CELLS)
        yield "", f"{held} held by {process.pid} [dim]{escape(command)}[/]"


def _swap(facts: Facts) -> str:
    memory = facts.memory
    if not memory.swap_total_bytes:
        return "no swap"
    used = memory.swap_total_bytes - memory.swap_free_bytes
    return f"{format_bytes(used)} of {format_bytes(memory.swap_total_bytes)} swap used"


def _versions(facts: Facts) -> str:
    told = [f"Python {'.'.join(map(str, facts.python))}"]
    for name in ("keras-autobatch", "keras", *ALL_DISTRIBUTIONS):
        if name in facts.packages:
            told.append(f"{name} {facts.packages[name]}")
    return escape(", ".join(told))


def _finding(finding: Finding) -> RenderableType:
    style = "red" if finding.severity == "blocks" else "yellow"
    table = Table.grid(padding=(0, 2))
    table.add_column(no_wrap=True, min_width=len("blocks"))
    table.add_column()
    table.add_row(f"[{style}]{finding.severity}[/]", escape(finding.fact))
    table.add_row("", f"→ {escape(finding.remedy)}")
    return table


def _verdict(diagnosis: Diagnosis) -> str:
    warnings = sum(finding.severity == "warns" for finding in diagnosis.findings)
    blocks = len(diagnosis.findings) - warnings
    if not diagnosis.ready:
        return f"[bold red]not ready[/]: {counted(blocks, 'thing')} to mend"
    and_warnings = f", {counted(warnings, 'warning')}" if warnings else ""
    return f"[bold green]ready[/]{and_warnings}"
