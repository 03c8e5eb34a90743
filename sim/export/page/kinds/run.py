"""One run: what came out, over time, by request, and by replica."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from sim.export.page.gpu_time import gpu_time_over_time
from sim.export.page.latencies import curves_of, distributions
from sim.export.page.over_time import over_time
from sim.export.page.replicas import replica_table, replica_views
from sim.export.page.requests import explore_requests, slowest, slowest_lives
from sim.export.page.section import Section, grid
from sim.export.saved import SavedRun, read_run
from sim.report import card, markup
from sim.report.terminal import breakdowns, engine, traffic
from sim.report.words import count, duration, known, nothing_measured, number, percent, tick

VERB = "run"
NOUN = "run"


def read(folder: Path) -> tuple[str, SavedRun]:
    """The run in a folder."""
    run = read_run(folder)
    return run.name, run


def section(run: SavedRun, key: str) -> Section:
    """A run."""
    summary = dict(run.summary)
    pairs = (markup.table(("", ""), rows) for rows in (traffic(summary), engine(summary)))
    parts = [*card.figures(summary), f'<div class="side">{"".join(pairs)}</div>']
    if told := breakdowns(summary):
        parts.append("<h3>Told apart</h3>" + "".join(map(markup.of_terminal, told)))
    if summary["warnings"]:
        parts.append(f"<h3>To know</h3>{markup.bullets(summary['warnings'])}")
    if run.timeline.empty:
        parts.append(markup.paragraph("Nothing ran, so nothing is drawn.", "faint"))
    else:
        parts += ["<h3>Over time</h3>", *gpu_time_over_time(run.timeline, key), grid(over_time(run.timeline, key))]
        spread = distributions({run.name: curves_of(run.requests)}, summary["slo"] or {})
        parts += ["<h3>By request</h3>", grid([spread, *slowest_lives(run.requests)])]
        parts += [explore_requests(run.requests), slowest(run.requests)]
        parts += ["<h3>By replica</h3>", *replica_views(run), replica_table(run)]
    made = {**summary["made_with"], "memory_per_gpu": summary["memory_per_gpu"]}
    return Section(sentence(summary), "".join(parts), summary["validity"], made, run.scenario, setting=setting(summary))


def setting(summary: Mapping[str, Any]) -> str:
    """Model and GPUs."""
    gpus = f"{summary['gpus']} x {summary['gpu'] or 'GPU'}"
    return " · ".join(part for part in (summary["model_id"], gpus, f"step times: {summary['provenance']}") if part)


def sentence(summary: Mapping[str, Any]) -> str:
    """What the run came to."""
    if nothing := nothing_measured(summary):
        return nothing
    tails = f"TTFT p99 {known(summary, 'p99_ttft_ms')}"
    if summary["p99_tpot_ms"] is not None:
        tails += f", TPOT p99 {known(summary, 'p99_tpot_ms')}"
    if summary["saturated"]:
        return f"Overloaded: {summary['saturation']['reason']}; {tails}."
    told = f"{count(summary['completed'])} request{'s' * (summary['completed'] != 1)} were served in "
    told += f"{duration(summary['duration'])}, {number(summary['request_throughput'])} a second"
    if summary["slo_attainment"] is None:
        return f"{told}; {tails}."
    slo = {"TTFT": "ttft_ms", "TPOT": "tpot_ms", "E2E": "e2el_ms"}
    targets = ", ".join(
        f"{label} ≤ {tick(summary['slo'][name] / 1e3, seconds=True)}"
        for label, name in slo.items()
        if summary["slo"] and summary["slo"].get(name) is not None
    )
    met = f"{percent(summary['slo_attainment']['all'])} met the targets" + (f" ({targets})" if targets else "")
    return f"{told}; {met}; {tails}."
