"""Charts as data: plotly.js traces and layouts, which page.js draws in the colours of light or dark."""

import json
import math
from collections.abc import Iterable, Mapping, Sequence
from html import escape
from typing import Any, TypedDict

import numpy as np

from sim.report.colours import AMBER, BLUE, GPU_TIME, GREEN, ORANGE, PINK, PURPLE, SKY
from sim.report.words import number

Trace = dict[str, Any]
LIGHT_TO_DARK = [[0, "#f0f4f8"], [0.5, "#56b4e9"], [1, "#0b3c5d"]]
"""Colours of low to high."""
TOP_DOWN = {"type": "category", "autorange": "reversed"}
"""An axis of names, the first on top."""
PERCENT = ".3~p"
"""How an axis tells shares: 1.5%."""
SERIES = (BLUE, ORANGE, GREEN, PURPLE, AMBER, SKY, PINK)
"""Colours of things of one kind; after these they come again with another `dash`."""
_DASHES = ("", "dash", "dot", "longdash")
_TOLD_TRACES = 8


def numbers(values: Iterable[Any], digits: int = 6) -> list[float | None]:
    """Numbers with so many digits; None where there is none."""
    column = np.fromiter(values, dtype=np.float64)
    return [_short(value, digits) if math.isfinite(value) else None for value in column.tolist()]


def _short(value: float, digits: int) -> float:
    rounded = float(f"{value:.{digits}g}")
    return int(rounded) if rounded == int(rounded) else rounded


def line(x: Sequence[Any], y: Sequence[Any], name: str, colour: str, *, fill: bool = False, dash: str = "") -> Trace:
    """A line through points, its area filled if wished."""
    style: dict[str, Any] = {"color": colour, "width": 1.5}
    trace: Trace = {"type": "scatter", "mode": "lines", "x": x, "y": y, "name": name}
    trace["line"] = style | ({"dash": dash} if dash else {})
    return trace | ({"fill": "tozeroy", "fillcolor": f"{colour}40"} if fill else {})


def plain(text: str) -> str:
    """A name that plotly shows as it is, and takes for no markup of its own."""
    return text.replace("&", "&amp;").replace("<", "&lt;").replace("%{", "% {")


class Style(TypedDict):
    """What tells one line from others."""

    colour: str
    dash: str


def nth(place: int) -> Style:
    """Colour and dash of one of several lines."""
    return {"colour": SERIES[place % len(SERIES)], "dash": _DASHES[place // len(SERIES) % len(_DASHES)]}


def layer(x: Sequence[Any], y: Sequence[Any], name: str, colour: str, unit: str = "") -> Trace:
    """One layer of an area chart whose layers lie on each other."""
    return {
        "type": "scatter", "mode": "lines", "stackgroup": "all", "x": x, "y": y, "name": name, "fillcolor": colour,
        "line": {"color": colour, "width": 0}, "hovertemplate": f"%{{y:.3g}} {unit}",
    }  # fmt: skip


def bars(names: Sequence[str], values: Sequence[Any], texts: Sequence[str], colour: str) -> Trace:
    """Bars that lie, each with a text at its end."""
    return {
        "type": "bar", "orientation": "h", "y": names, "x": values, "text": texts, "textposition": "outside",
        "cliponaxis": False, "marker": {"color": colour}, "hoverinfo": "y+text", "showlegend": False,
    }  # fmt: skip


def gpu_time(rows: Mapping[str, Mapping[str, float | None]]) -> list[Trace]:
    """One bar per row, of all GPU time; what is empty in all of them is left out."""
    traces = []
    for bucket, colour in GPU_TIME.items():
        shares = [shares.get(bucket) or 0.0 for shares in rows.values()]
        if any(shares):
            traces.append(
                {
                    "type": "bar",
                    "orientation": "h",
                    "y": list(rows),
                    "x": numbers(shares),
                    "name": bucket,
                    "marker": {"color": colour},
                    "hovertemplate": f"{bucket} %{{x:.1%}}<extra>%{{y}}</extra>",
                }
            )
    return traces


def figure(label: str, traces: Sequence[Trace], x: str = "", y: str = "", **layout: Any) -> dict[str, Any]:
    """One figure: its label, traces and layout; `x` and `y` are the axes' titles, `layout` what is said besides."""
    axes = {name: {"title": {"text": text}} if text else {} for name, text in (("xaxis", x), ("yaxis", y))}
    for name, axis in axes.items():
        axis.update(layout.pop(name, {}))
    return {"label": label, "data": list(traces), "layout": axes | layout}


def chart(title: str, *figures: Mapping[str, Any], link: str = "", height: int = 270, note: str = "") -> str:
    """A chart with a title; of several figures one is shown, and the reader chooses. Without a figure it is nothing.

    Charts with the same `link` zoom together along x. Who cannot see it is told the range of every line and the value
    of every bar.
    """
    if not figures:
        return ""
    told = "; ".join(_told(one, alone=len(figures) == 1) for one in figures)
    return _block(title, {"figures": list(figures), "link": link}, height, note, told)


def explorer(
    title: str,
    columns: Mapping[str, Sequence[Any]],
    *,
    x: Sequence[str],
    y: Sequence[str],
    groups: Mapping[str, tuple[str, Sequence[int]]],
    texts: Sequence[str],
    linear: Sequence[str] = (),
    note: str = "",
) -> str:
    """Points whose axes the reader chooses among `columns`, by their labels, at first the first of `x` and of `y`.

    Axes that span much are logarithmic, but for those in `linear`.
    `groups` are the colour and the points of each name in the legend, `texts` what each point says.
    """
    told = {name: {"colour": colour, "points": list(points)} for name, (colour, points) in groups.items()}
    spec = {"columns": columns, "x": x, "y": y, "groups": told, "texts": texts, "linear": linear}
    words = f"{len(texts)} points; to choose from: {', '.join(columns)}"
    return _block(title, {"explore": spec}, 380, note, words)


def _told(made: Mapping[str, Any], alone: bool) -> str:
    """A figure in words."""
    traces = [_trace_told(trace) for trace in made["data"][:_TOLD_TRACES]]
    more = len(made["data"]) - _TOLD_TRACES
    told = ", ".join(filter(None, traces)) + (f", and {more} more" if more > 0 else "")
    return told if alone else f"{made['label']}: {told}"


def _trace_told(trace: Trace) -> str:
    if trace["type"] == "bar":
        texts = trace.get("text") or [number(value) for value in trace["x"]]
        named = zip(trace["y"], texts, strict=True)
        told = ", ".join(f"{name} {text}" for name, text in list(named)[:_TOLD_TRACES])
        return f"{trace['name']}: {told}" if trace.get("name") else told
    if trace["type"] == "heatmap":
        values = [value for row in trace["z"] for value in row if value is not None]
        return f"{len(trace['y'])} rows from {number(min(values))} to {number(max(values))}" if values else "empty"
    values = [value for value in trace["y"] if isinstance(value, int | float)]
    return f"{trace['name']} {number(min(values))} to {number(max(values))}" if values and trace.get("name") else ""


def _block(title: str, spec: Mapping[str, Any], height: int, note: str, told: str) -> str:
    data = json.dumps(spec, ensure_ascii=False, allow_nan=False, separators=(",", ":")).replace("</", "<\\/")
    below = f'<p class="faint note">{escape(note)}</p>' if note else ""
    return (
        f'<figure><figcaption>{escape(title)}<span class="choices"></span></figcaption>'
        f'<div class="chart" role="img" aria-label="{escape(f"{title}. {told}")}" style="height:{height}px"></div>'
        f'<script type="application/json">{data}</script>{below}</figure>'
    )
