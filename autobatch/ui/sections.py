"""The parts of a report below its answer: facts, charts and sentences, each in its section."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from autobatch.core.outlook_wording import critical_batch, noise
from autobatch.core.search import BOUNDED_BY
from autobatch.protocol import BenchmarkResult, Inspected, NoiseScale, ProbeResult, Recommendation
from autobatch.ui import held_back, words
from autobatch.ui.charts.axes import Chart, Table
from autobatch.ui.charts.memory import memory_chart
from autobatch.ui.charts.model import model_chart
from autobatch.ui.charts.ranking import ranking_chart, ranking_table
from autobatch.ui.charts.throughput import throughput_chart
from autobatch.ui.charts.trials import trials_chart
from autobatch.ui.findings import Failure, Findings
from autobatch.units import format_bytes, format_duration, format_share

Facts = tuple[tuple[str, str], ...]


@dataclass(frozen=True)
class Section:
    """What a section holds is shown in this order; what it has not is left out."""

    id: str
    title: str
    lead: str = ""
    facts: Facts = ()
    charts: tuple[Chart, ...] = ()
    tables: tuple[Table, ...] = ()
    sentences: tuple[str, ...] = ()
    failures: tuple[Failure, ...] = ()
    code: str = ""


def sections(found: Findings) -> tuple[Section, ...]:
    """All that there is something to say of."""
    made = (
        _memory(found),
        _throughput(found),
        _trials(found),
        _noise(found.recommendation),
        *_words(found),
        _failures(found),
        _environment(found),
        _repeat(found),
    )
    return tuple(section for section in made if section is not None)


def _memory(found: Findings) -> Section | None:
    chart = memory_chart(found)
    result = found.recommendation
    facts = tuple(_memory_facts(found.probed)) if found.probed else ()
    if result:
        facts = (("recommended", words.memory(result)), *facts)
    if not chart and not facts:
        return None
    return Section("memory", "Memory", facts=facts, charts=(chart,) if chart else ())


def _memory_facts(probed: ProbeResult) -> Iterator[tuple[str, str]]:
    yield probed.name_of_largest, str(probed.largest_fitting)
    yield f"keeps {format_share(probed.headroom)} free", words.ceiling(probed)
    if probed.replicas > 1 and probed.ceiling:
        yield "devices", words.shared(probed.ceiling, probed.replicas)
    yield "bounded by", BOUNDED_BY[probed.bounded_by]


def _throughput(found: Findings) -> Section | None:
    chart = throughput_chart(found)
    if chart is None:
        return None
    result = found.recommendation
    facts = tuple(_throughput_facts(found.measured)) if found.measured else ()
    if result:
        facts = (("recommended", words.throughput(result)), *facts)
    return Section("throughput", "Throughput", facts=facts, charts=(chart,))


def _throughput_facts(measured: BenchmarkResult) -> Iterator[tuple[str, str]]:
    yield "knee", f"{measured.knee} {words.knee(measured)}"
    yield "fastest", str(measured.best)
    if measured.replicas > 1:
        yield "devices", words.shared(measured.knee, measured.replicas)
    if measured.step_time:
        yield "a step takes", words.step_time(measured.step_time)
    yield from held_back.sentences(measured)


def _trials(found: Findings) -> Section | None:
    chart = trials_chart(found)
    result = found.recommendation
    if result is None:
        return Section("trials", "Trials", charts=(chart,)) if chart else None
    ranking = ranking_chart(result)
    facts = (
        ("verdict", words.verdict(result)),
        ("target", words.target(result)),
        *_tied(result),
        ("", words.dropped(result)),
    )
    charts = tuple(each for each in (chart, ranking) if each)
    tables = () if ranking else (ranking_table(result),)
    return Section("trials", "Trials", facts=facts, charts=charts, tables=tables)


def _tied(result: Recommendation) -> Iterator[tuple[str, str]]:
    if result.tied_with:
        yield "not told apart from", "batch " + ", ".join(map(str, result.tied_with))


def _noise(result: Recommendation | None) -> Section | None:
    if result is None or result.noise_scale is None:
        return None
    late, early = result.noise_scale, result.noise_scale_early
    facts = [("noise scale", _scale(late, result.optimizer))]
    if early is not None and early != late:
        facts.append(("earlier", _scale(early, result.optimizer)))
    critical = critical_batch(result.critical_batch, result.gradient_accumulation_steps)
    facts.append(("critical batch", critical))
    chart = model_chart(result)
    return Section(
        "noise",
        "Noise scale, and what it implies",
        lead="How far gradients differ from sample to sample: batches well below the noise scale "
        "learn about as much per sample as smaller ones, batches well above it hardly more per "
        "step.",
        facts=tuple(facts),
        charts=(chart,) if chart else (),
    )


def _scale(found: NoiseScale, optimizer: str) -> str:
    kind = f", as {optimizer} scales gradients" if found.preconditioned else ""
    return f"{noise(found)} samples after {found.step} steps, from {found.samples:,} samples{kind}"


def _words(found: Findings) -> Iterator[Section]:
    result, probed, measured = found.recommendation, found.probed, found.measured
    if result:
        yield Section("reasons", "Why", sentences=result.reasons)
        notes = result.warnings
    else:
        skipped = measured.skipped if measured else ()
        notes = (
            *(probed.notes if probed else ()),
            *(measured.notes if measured else ()),
            *(f"Not measured: {reason.removesuffix('.')}." for reason in skipped),
        )
    if notes:
        yield Section("notes", "What to mind", sentences=notes)


def _failures(found: Findings) -> Section | None:
    if not found.failures:
        return None
    return Section("failures", "What failed for other reasons than memory", failures=found.failures)


def _environment(found: Findings) -> Section:
    header, inspected, content = found.header, found.inspected, found.content
    facts: list[tuple[str, str]] = [("model", header.target.model)]
    if inspected:
        facts += _inspected_facts(inspected, words.versions(found.recommendation))
    spent = format_duration(sum(entry.seconds for entry in content.entries))
    facts += [
        ("backend", header.target.backend),
        ("autobatch", header.autobatch_version),
        ("begun", header.created.replace("T", " ").replace("Z", " UTC")),
        ("jobs", f"{len(content.entries)}, which took {spent}"),
        ("run", found.name),
    ]
    return Section("environment", "Environment", facts=tuple(facts))


def _inspected_facts(found: Inspected, recommended: dict[str, str]) -> Iterator[tuple[str, str]]:
    size = format_bytes(found.parameter_bytes)
    yield "", f"{found.model_name}, {found.parameters:,} parameters ({size})"
    yield "optimizer and loss", f"{found.optimizer}, {found.loss}"
    yield "data", found.data_source
    if found.train_samples is not None:
        validation = found.validation_samples or 0
        yield "", f"{found.train_samples:,} training samples, {validation:,} for validation"
    yield "device", found.device_name
    yield "precision", found.precision + (", compiled by XLA" if found.jit_compile else "")
    versions = found.versions | recommended  # which has the driver's, too
    yield "versions", ", ".join(f"{name} {value}" for name, value in versions.items())
    if found.settings:
        yield "settings", ", ".join(f"{name}={value}" for name, value in found.settings.items())
    yield "fingerprints", f"data {found.data_fingerprint}, code {found.code_fingerprint}"


def _repeat(found: Findings) -> Section | None:
    if found.command == "verify":  # which takes a run, and no recipe
        return None
    import yaml

    recipe = yaml.safe_dump(_recipe(found), sort_keys=False, allow_unicode=True)
    left_out = "Ranges and budgets are not in the record: add what you set. "
    told = "" if found.recommendation else left_out
    return Section(
        "repeat",
        "How to repeat",
        lead=f"{told}Save this as recipe.yaml in {found.header.target.folder}, then type: "
        f"autobatch {found.command} recipe.yaml",
        code=recipe.rstrip(),
    )


def _recipe(found: Findings) -> dict[str, Any]:
    """What was asked: the whole recipe where the answer holds it, else what the target says."""
    if found.recommendation:
        return dict(_without_none(found.recommendation.environment["recipe"]))
    target, inspected = found.header.target, found.inspected
    is_synthetic = inspected is not None and inspected.train_samples is None
    own_limit = found.limit_bytes != found.header.free_bytes
    asked = {
        "model": target.model,
        "data": None if is_synthetic else target.data,  # which names what is not there
        "args": target.args or None,
        "callbacks": target.callbacks,
        # Keys of YAML are words here: a recipe with numbers for them is refused.
        "class_weight": {str(each): weight for each, weight in (target.class_weight or {}).items()},
        "backend": target.backend,
        "device": {
            "kind": target.device,
            "memory_limit": found.limit_bytes if own_limit else None,
            "replicas": target.replicas if target.replicas > 1 else None,
        },
        "seed": target.seed,
    }
    return dict(_without_none(asked))


def _without_none(value: Any) -> Any:
    if not isinstance(value, dict):
        return value
    kept = {key: each for key, each in value.items() if each not in (None, {})}
    return {key: each if key == "args" else _without_none(each) for key, each in kept.items()}
