"""What a trace of requests holds."""

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from sim.export.page import charts
from sim.export.page.section import Section, grid
from sim.export.saved import called, read_json
from sim.insight.traces.table import description_table
from sim.report import markup
from sim.report.colours import BLUE, GREEN
from sim.report.folder import MARKS
from sim.report.words import count, duration, number, percent

VERB = "trace describe"
NOUN = "trace"


def read(folder: Path) -> tuple[str, Mapping[str, Any]]:
    """`trace.json`."""
    told = read_json(folder / MARKS[VERB], ("name", "format", "requests", "arrivals", "prompt_tokens", "drawn"))
    return called(told["name"], folder), told


def section(told: Mapping[str, Any], key: str) -> Section:
    """A trace."""
    tables = (markup.of_terminal(part) for part in description_table(dict(told)).renderables)  # type: ignore[arg-type]
    body = f"{''.join(tables)}{grid(_charts(told['drawn']))}"
    return Section(_headline(told), body, setting=f"{told['format']} trace")


def _headline(told: Mapping[str, Any]) -> str:
    lengths = (
        f"{number(told['prompt_tokens']['mean'])} prompt and {number(told['output_tokens']['mean'])} output tokens"
    )
    sentence = f"{count(told['requests'])} requests of {lengths} on average"
    if (arrivals := told["arrivals"]) is not None:
        sentence += f" in {duration(arrivals['duration_s'])}: {number(arrivals['rate_per_s'])} a second"
        sentence += f"; CV of gaps {number(arrivals['gap_cv'])} (Poisson: 1)"
    if (prefix := told["prefix"]) is not None:
        sentence += f"; {percent(prefix['token_hit_rate'])} of the prompt tokens repeat earlier ones"
    return f"{sentence}."


def _charts(drawn: Mapping[str, Any]) -> Iterator[str]:
    if "time_s" in drawn:
        line = charts.line(
            charts.numbers(drawn["time_s"]), charts.numbers(drawn["arrivals_per_s"]), "arrivals", BLUE, fill=True
        )
        made = charts.figure("arrivals", [line], "time [s]", "requests/s", yaxis={"rangemode": "tozero"})
        yield charts.chart("Arrivals", made)
    figures = []
    for name, colour in (("prompt_tokens", BLUE), ("output_tokens", GREEN)):
        label = name.replace("_", " ")
        line = charts.line(charts.numbers(drawn[name]), charts.numbers(drawn["shares"]), label, colour)
        spread = "log" if drawn[name][0] > 0 and drawn[name][-1] > 20 * drawn[name][0] else "linear"
        axes = {"xaxis": {"type": spread}, "yaxis": {"tickformat": charts.PERCENT}}
        figures.append(charts.figure(label, [line], label, "share of requests", **axes))
    yield charts.chart("Lengths", *figures)
