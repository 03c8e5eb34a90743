"""A profile proved by the reference engine: its errors on several workloads, and whether they reach the goals."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from sim.export.page.section import Section
from sim.export.saved import called, read_json
from sim.report import markup

VERB = "calibrate validate"
NOUN = "validation of a profile"


def read(folder: Path) -> tuple[str, Mapping[str, Any]]:
    """`validation.json`."""
    told = read_json(folder / "validation.json", ("profile", "device", "model", "overall", "workloads", "made_with"))
    return called(str(told["profile"]["name"]), folder), told


def section(told: Mapping[str, Any], key: str) -> Section:
    """A validation of a profile."""
    rows: list[list[markup.Cell]] = []
    for name, found in told["overall"].items():
        if isinstance(found, Mapping):
            goal = "-" if found["goal"] is None else f"{found['goal']:.0%}"
            style = "" if found["reached"] is None else "good" if found["reached"] else "bad"
            worst = f"{found['worst']:.1%} ({found['worst_workload']})"
            rows.append([name.replace("_", " "), (f"{found['median']:.1%}", style), worst, goal])
    same = told["overall"].get("identical_decisions")
    headline = f"{len(told['workloads'])} workloads: {_reached(told['overall'])}"
    headline += "; engine and simulation decided the same." if same else "; engine and simulation decided otherwise."
    body = markup.table(("error", "median", "worst", "goal"), rows)
    setting = f"{told['model']} on {told['device']['name']}, the reference engine against the simulation"
    made_with = {"versions": told["made_with"], "profile": told["profile"], "device": told["device"]}
    return Section(headline, body, made_with=made_with, setting=setting)


def _reached(overall: Mapping[str, Any]) -> str:
    judged = [found for found in overall.values() if isinstance(found, Mapping) and found["reached"] is not None]
    return f"{sum(found['reached'] for found in judged)} of {len(judged)} goals are reached"
