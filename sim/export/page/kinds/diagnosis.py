"""What holds a scenario back, and what would mend it."""

from collections.abc import Mapping
from html import escape
from pathlib import Path
from typing import Any

from sim.export.page import charts
from sim.export.page.section import Section, grid
from sim.export.saved import called, read_json
from sim.insight.cards import diagnosis_headline, diagnosis_parts
from sim.report.colours import BLUE, FAINT, GREEN, ORANGE, SKY
from sim.report.folder import MARKS
from sim.report.words import number

VERB = "diagnose"
NOUN = "diagnosis"


def read(folder: Path) -> tuple[str, tuple[Mapping[str, Any], str]]:
    """`diagnosis.json`, and the scenario with the best fixes as YAML."""
    told = read_json(folder / MARKS[VERB], ("name", "today", "bottlenecks", "waterfall", "fixes", "together"))
    fixed = folder / "fixed.yaml"
    return called(told["name"], folder), (told, fixed.read_text(encoding="utf-8") if fixed.is_file() else "")


def section(saved: tuple[Mapping[str, Any], str], key: str) -> Section:
    """A diagnosis."""
    told, fixed = saved
    parts = diagnosis_parts(told, between=grid([_waterfall(told), _reached(told)]))
    if fixed:
        title = "The mended scenario (fixed.yaml)"
        parts.append(f"<details><summary>{title}</summary><pre tabindex=0>{escape(fixed)}</pre></details>")
    setting = f"step times: {told['provenance']}; {told['runs']} runs"
    return Section(
        diagnosis_headline(told), "".join(parts), told.get("validity"), told.get("made_with", {}), setting=setting
    )


def _waterfall(told: Mapping[str, Any]) -> str:
    steps = told["waterfall"]
    if len(steps) < 2:
        return ""  # nothing that could be taken away binds
    names = [step["without"] if i == 0 else f"without: {step['without']}" for i, step in enumerate(steps)]
    values = [step["request_goodput"] for step in steps]
    gains = [after - before for before, after in zip([0.0, *values], values, strict=False)]
    trace = {
        "type": "bar", "orientation": "h", "y": names, "x": charts.numbers(gains),
        "base": charts.numbers([0.0, *values[:-1]]), "marker": {"color": [BLUE, *[ORANGE] * (len(steps) - 1)]},
        "text": [number(values[0]), *(f"{gain:+.3g}" for gain in gains[1:])], "showlegend": False, "cliponaxis": False,
        "hoverinfo": "y+text",
    }  # fmt: skip
    offered = charts.line([told["offered_per_s"]] * 2, [names[0], names[-1]], "all that is offered", FAINT, dash="dot")
    made = charts.figure(
        "goodput", [trace, offered], "goodput [requests/s]", yaxis=charts.TOP_DOWN, xaxis={"rangemode": "tozero"}
    )
    return charts.chart("Bottlenecks taken away, one after another", made, height=130 + 30 * len(names))


def _reached(told: Mapping[str, Any]) -> str:
    rows = [("today", told["today"]["goodput"], BLUE)]
    rows += [(fix["fix"], fix["goodput"], SKY) for fix in told["fixes"][:8]]
    if told["together"]["fixes"]:
        rows.append((f"{len(told['together']['fixes'])} together", told["together"]["score"]["goodput"], GREEN))
    names, values, colours = zip(*rows, strict=True)
    trace = charts.bars(list(names), charts.numbers(values), [number(value) for value in values], "")
    trace["marker"] = {"color": list(colours)}
    wide = {"range": [0, 1.2 * max(*values, told["offered_per_s"])]}
    made = charts.figure("goodput", [trace], "goodput [requests/s]", yaxis=charts.TOP_DOWN, xaxis=wide)
    return charts.chart("What would help", made, height=130 + 30 * len(names))
