"""Capacities on the terminal and as JSON."""

from collections.abc import Sequence
from math import isfinite
from pathlib import Path
from typing import Any

from rich import box
from rich.console import Console
from rich.table import Table
from rich.text import Text

from sim.insight.answer_file import save_answers
from sim.insight.search import Capacity
from sim.metrics.numbers import json_ready
from sim.report.save import summary_json
from sim.report.words import number

COLUMNS = ("variant", "requests/s", "per GPU", "per $", "above it fails")


def print_capacities(found: Sequence[Capacity], console: Console) -> None:
    """One row per variant, the best of each column marked, then what to know."""
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False, padding=(0, 1, 0, 0))
    for header in COLUMNS:
        table.add_column(header, justify="left" if header in ("variant", "above it fails") else "right")
    columns = list(zip(*(_figures(one) for one in found), strict=True))
    best = [
        max(values) if sum(number(max(values)) == number(value) for value in values) == 1 else None
        for values in columns
    ]
    for one in found:
        variant, *figures, binding = cells(one)
        marked = [
            Text(cell, "bold green" if value == top else "")
            for cell, value, top in zip(figures, _figures(one), best, strict=True)
        ]
        table.add_row(variant, *marked, binding)
    console.print(table)
    for note in notes(found):
        console.print(Text(f"note: {note}", style="yellow"))


def cells(one: Capacity) -> list[str]:
    """One row of the table, as `COLUMNS` has it."""
    return [one.variant, *(number(value) if value else "-" for value in _figures(one)), one.binding or "-"]


def notes(found: Sequence[Capacity]) -> list[str]:
    """What to know, each thing once."""
    about: dict[str, list[str]] = {}
    for one in found:
        for note in one.notes:
            about.setdefault(note, []).append(one.variant)
    return [
        note if len(variants) == len(found) else f"{', '.join(variants)}: {note}" for note, variants in about.items()
    ]


def capacities_json(found: Sequence[Capacity]) -> str:
    """Everything, the rates that were tried included."""
    return summary_json(json_ready({"capacities": [_plain(one) for one in found]}))


def save_capacities(
    found: Sequence[Capacity], folder: Path, *, name: str, attainment: float, limits: Sequence[str]
) -> None:
    """Write capacity.json into `folder`, whole or not at all: what `capacity` found of the scenario `name`."""
    answers = [(_plain(one), one.summary) for one in found]
    save_answers(folder, "capacity", "capacities", answers, name=name, attainment=attainment, limits=limits)


def _figures(one: Capacity) -> tuple[float, float, float]:
    return one.rate_per_s, one.per_gpu, one.requests_per_usd or 0.0


def _plain(one: Capacity) -> dict[str, Any]:
    return {
        "variant": one.variant,
        "rate_per_s": one.rate_per_s,
        "failing_rate_per_s": one.failing_rate_per_s if isfinite(one.failing_rate_per_s) else None,
        "binding": one.binding,
        "gpus": one.gpus,
        "per_gpu": one.per_gpu,
        "usd_per_hour": one.usd_per_hour,
        "requests_per_usd": one.requests_per_usd,
        "trials": [trial._asdict() for trial in one.trials],
        "notes": list(one.notes),
    }
