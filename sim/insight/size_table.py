"""Sizes on the terminal and as JSON."""

from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from rich import box
from rich.console import Console
from rich.table import Table
from rich.text import Text

from sim.insight.answer_file import save_answers
from sim.insight.belief import doubts
from sim.insight.sizing import Size
from sim.metrics.numbers import json_ready
from sim.report.save import summary_json
from sim.report.words import count, milliseconds, number, percent

COLUMNS = (
    "GPU", "TP", "replicas", "GPUs", "$/h", "meet the SLO", "TTFT p99", "TPOT p99", "busy", "why not fewer",
)  # fmt: skip


def print_sizes(found: Sequence[Size], console: Console) -> None:
    """One row per kind of replica, the cheapest first."""
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False, padding=(0, 1, 0, 0))
    for name in COLUMNS:
        table.add_column(name, justify="left" if name in ("GPU", "why not fewer") else "right")
    for place, one in enumerate(found):
        style = "bold green" if place == 0 and one.carries else "" if one.carries else "dim"
        table.add_row(*(Text(cell, style=style) for cell in cells(one)))
    console.print(table)
    for note in notes(found):
        console.print(Text(f"note: {note}", style="yellow"))
    if not any(one.carries for one in found):
        console.print(Text("nothing that was tried carries this load", style="bold red"))


def notes(found: Sequence[Size]) -> list[str]:
    """Whether the runs behind it can be believed, each doubt once."""
    runs = {f"{one.gpu} TP{one.tensor_parallel}" if one.tensor_parallel else one.gpu: one.summary for one in found}
    return doubts({name: summary for name, summary in runs.items() if summary})


def sizes_json(found: Sequence[Size]) -> str:
    """Everything but the runs' summaries."""
    return summary_json(json_ready({"sizes": [_plain(one) for one in found]}))


def save_sizes(found: Sequence[Size], folder: Path, *, name: str, attainment: float, limits: Sequence[str]) -> None:
    """Write size.json into `folder`, whole or not at all: what `size` found of the scenario `name`."""
    answers = [(_plain(one), one.summary) for one in found]
    save_answers(folder, "size", "sizes", answers, name=name, attainment=attainment, limits=limits)


def _plain(one: Size) -> dict[str, Any]:
    return {name: value for name, value in asdict(one).items() if name != "summary"}


def cells(one: Size) -> list[str]:
    """One row of the table, as `COLUMNS` has it."""
    kind = [one.gpu, str(one.tensor_parallel) if one.tensor_parallel else "-"]
    if not one.carries:
        return [*kind, "-", "-", "-", *["-"] * 4, one.why]
    replicas = ", ".join(f"{name} {n}" for name, n in one.pools.items()) or count(one.replicas)
    summary = one.summary
    met = summary["slo_attainment"]["all"] if summary["slo_attainment"] else None
    return [
        *kind,
        replicas,
        count(one.gpus),
        "-" if one.usd_per_hour is None else number(one.usd_per_hour),
        percent(met),
        milliseconds(summary["p99_ttft_ms"]),
        milliseconds(summary["p99_tpot_ms"]),
        percent(1 - summary["gpu_time"]["fraction"]["starved"]),
        one.why,
    ]
