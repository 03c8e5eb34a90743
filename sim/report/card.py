"""A run as notebooks show it: the finding, whether to believe it, its latencies, and where GPU time went."""

from collections.abc import Iterator, Mapping
from html import escape
from typing import Any

from sim.report import markup
from sim.report.overview import finding
from sim.report.targets import verdict
from sim.report.terminal import STATISTICS, latency_rows


def run_card(summary: Mapping[str, Any]) -> str:
    """A run's summary (see sim.metrics.summarize) as a piece of HTML that stands by itself."""
    found = verdict(summary)
    targets = markup.paragraph(f"targets: {found[1]}") if found else ""
    return markup.card(headline(summary), markup.validity_box(summary["validity"]), targets, *figures(summary))


def headline(summary: Mapping[str, Any]) -> str:
    """The name, what was run on what, and the finding in one line."""
    gpus = f"{summary['gpus']} x {summary['gpu'] or 'GPU'}"
    setting = " · ".join(part for part in (summary["model_id"], gpus) if part)
    badge = '<span class="badge">SATURATED</span> ' if summary["saturated"] else ""
    told = escape(finding(dict(summary)))
    name = escape(summary["name"] or "run")
    return f'<p><b>{name}</b> <span class="faint">{escape(setting)}</span><br>{badge}{told}</p>'


def figures(summary: Mapping[str, Any]) -> Iterator[str]:
    """The table of latencies and the bar of GPU time."""
    slo = ("SLO", "met by") if summary["slo"] else ()
    rows = list(latency_rows(dict(summary)))
    yield markup.table(("latency", *STATISTICS, *slo), [[*row, *[""] * (6 + len(slo) - len(row))] for row in rows])
    yield markup.gpu_time_bar(summary["gpu_time"]["fraction"])
