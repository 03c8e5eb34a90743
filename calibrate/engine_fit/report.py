"""The fit of an engine's host costs, for the terminal."""

from typing import Any

from rich import box
from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from calibrate.engine_fit.split import PARTS
from sim.report.words import count, duration

_LABELS = {"ttft": "TTFT", "tpot": "TPOT", "e2e": "E2E"}


def engine_report(report: dict[str, Any]) -> RenderableType:
    """The whole report as one rich renderable."""
    parts: list[RenderableType] = [
        Text(f"{count(report['requests'])} requests of {report['requests_file']}", style="bold"),
        _costs(report["costs"]),
        _split(report),
    ]
    if report["steps"] is not None:
        steps = report["steps"]
        off = f"{_share(steps['median_error'])} off in the median, {steps['median_absolute_error']:.1%} without sign"
        parts.append(Text(f"{count(steps['steps'])} decode steps of the log: the scenario's step times are {off}"))
    parts += [Text(f"note: {note}", style="yellow") for note in report["notes"]]
    return Group(*parts)


def _costs(costs: dict[str, Any]) -> Table:
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False, padding=(0, 1, 0, 0))
    for name in ("cost", "fitted", "95% interval", "before", "meaning"):
        table.add_column(name)
    for name, cost in costs.items():
        fitted, before = duration(cost["value"]), duration(cost["before"])
        interval = f"{duration(cost['low'])} to {duration(cost['high'])}"
        known = cost["identified"]
        table.add_row(name, fitted if known else "not seen", interval if known else "-", before, cost["meaning"])
    return table


def _split(report: dict[str, Any]) -> Table:
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False, padding=(0, 1, 0, 0))
    table.add_column("error of the mean")
    for name in ("before", "after", *PARTS):
        table.add_column(name.replace("_", " "), justify="right")
    errors = report["error_of_means"]
    for name, label in _LABELS.items():
        parts = (_share(report["error_split"][name][part]) for part in PARTS)
        table.add_row(label, _share(errors["before"][name]), _share(errors["after"][name]), *parts)
    return table


def _share(value: float) -> str:
    return f"{value * 100:+.1f}%"
