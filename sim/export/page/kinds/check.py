"""A scenario's metrics against its baseline."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from sim.export.page import charts
from sim.export.page.section import Section, grid
from sim.export.saved import called, read_json
from sim.insight.comparison import METRICS
from sim.insight.comparison_table import written
from sim.report import markup
from sim.report.colours import FAINT, GREEN, ORANGE
from sim.report.folder import MARKS
from sim.report.words import changed

VERB = "check"
NOUN = "check"
_STYLES = {"worse": "bad", "missing": "bad", "better": "good"}
_COLOURS = {"worse": ORANGE, "missing": ORANGE, "better": GREEN}
_MOST_BARS = 24
_LONGEST_BAR = 2.0


def read(folder: Path) -> tuple[str, Mapping[str, Any]]:
    """`check.json`."""
    told = read_json(folder / MARKS[VERB], ("name", "passed", "verdicts", "reasons", "seeds"))
    return called(told["name"], folder), told


def section(told: Mapping[str, Any], key: str) -> Section:
    """A check."""
    verdicts: Sequence[Mapping[str, Any]] = told["verdicts"]
    moved = [one for one in verdicts if one["outcome"] not in ("same", "tie") or one["fails"]]
    others = [one for one in verdicts if one not in moved]
    parts = [
        grid(_changes(verdicts)),
        _table(moved) if moved else markup.paragraph("Nothing has moved by more than is allowed."),
        f"<h3>To know</h3>{markup.bullets(told['reasons'])}" if told["reasons"] else "",
    ]
    if others:
        held = f"{len(others)} metrics that are the same, or within what is allowed"
        parts.append(f"<details><summary>{held}</summary>{_table(others)}</details>")
    failed = sum(one["fails"] for one in verdicts)
    same = sum(one["outcome"] == "same" for one in verdicts)
    headline = (
        f"{'Passed' if told['passed'] else 'FAILED'}: of {len(verdicts)} metrics "
        f"{f'{failed} have become worse' if failed else 'none has become worse'}; {same} are the same to the last bit."
    )
    seeds = f"{len(told['seeds'])} seed{'s' * (len(told['seeds']) > 1)}{', strict' if told.get('strict') else ''}"
    made_with = {**told.get("made_with", {}), "baseline": told.get("baseline_made_with", {})}
    return Section(headline, "".join(parts), made_with=made_with, setting=f"against its baseline, {seeds}")


def _table(verdicts: Sequence[Mapping[str, Any]]) -> str:
    rows: list[list[markup.Cell]] = []
    for one in verdicts:
        before, now = ("-" if one[side] is None else written(one["metric"], one[side]) for side in ("before", "now"))
        change = "-" if one["change"] is None else changed(one["change"])
        allowed = f"{one['allowed'] / abs(one['before']):.1%}" if one["before"] and one["allowed"] is not None else "-"
        verdict = f"{one['outcome']}{', fails' if one['fails'] else ''}"
        label = METRICS[one["metric"]].label if one["metric"] in METRICS else one["metric"]
        style = _STYLES.get(one["outcome"], "")
        rows.append([one["variant"], label, before, now, change, allowed, (verdict, style)])
    return markup.table(("variant", "metric", "baseline", "now", "change", "allowed", "verdict"), rows, words=2)


def _changes(verdicts: Sequence[Mapping[str, Any]]) -> Sequence[str]:
    """The largest changes as bars, those that fail first."""
    known = [one for one in verdicts if one["change"]]
    ranked = sorted(known, key=lambda one: (not one["fails"], -abs(one["change"])))[:_MOST_BARS]
    if not ranked:
        return []
    names = [
        charts.plain(f"{one['variant']}: {METRICS[one['metric']].label if one['metric'] in METRICS else one['metric']}")
        for one in ranked
    ]
    changes = [one["change"] for one in ranked]
    drawn = [min(change, _LONGEST_BAR) for change in changes]
    trace = charts.bars(names, charts.numbers(drawn), [changed(change) for change in changes], "")
    trace["marker"] = {"color": [_COLOURS.get(one["outcome"], FAINT) for one in ranked]}
    reach = 1.4 * max(abs(change) for change in drawn)
    down = {"type": "category", "autorange": "reversed"}
    axis = {"tickformat": "+.2~p", "range": [-reach, reach]}
    made = charts.figure("change", [trace], "change against the baseline", xaxis=axis, yaxis=down)
    note = f"bars end at {_LONGEST_BAR:+.0%}" if max(changes) > _LONGEST_BAR else ""
    return [charts.chart("What has changed", made, height=110 + 24 * len(ranked), note=note)]
