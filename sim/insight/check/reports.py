"""A check for people and for machines: the terminal, Markdown for a pull request, JUnit XML for a CI server."""

from collections.abc import Iterator
from dataclasses import asdict
from typing import Any
from xml.etree import ElementTree

from rich import box
from rich.console import Console
from rich.table import Table
from rich.text import Text

from sim.insight.check.check import Check, Verdict
from sim.insight.comparison import METRICS
from sim.insight.comparison_table import written
from sim.metrics.numbers import json_ready

_STYLE = {"worse": "bold red", "missing": "bold red", "better": "green", "changed": "yellow", "new": "yellow"}


def print_check(found: Check, console: Console) -> None:
    """What is not the same, and the verdict."""
    for part in check_report(found):
        console.print(part)


def check_report(found: Check) -> Iterator[Table | Text]:
    """A table of what is not the same, if anything is; the verdict; what to know."""
    told = [verdict for verdict in found.verdicts if verdict.outcome not in ("same", "tie") or found.fails(verdict)]
    if told:
        table = Table(box=box.SIMPLE_HEAD, pad_edge=False, padding=(0, 1, 0, 0))
        for name in ("variant", "metric"):
            table.add_column(name)
        for name in ("baseline", "now", "change", "allowed", "verdict"):
            table.add_column(name, justify="right")
        for verdict in told:
            style = "bold red" if found.fails(verdict) else _STYLE.get(verdict.outcome, "")
            table.add_row(*cells(verdict), Text(verdict.outcome, style=style))
        yield table
    yield Text(headline(found), style="bold green" if found.passed else "bold red")
    for line in reasons(found):
        yield Text(line, style="yellow")


def headline(found: Check) -> str:
    """The verdict in one line."""
    judged, failed = len(found.verdicts), len(found.failures)
    unchanged = sum(verdict.outcome == "same" for verdict in found.verdicts)
    told = f"{found.scenario}: {judged} metrics, {unchanged} the same to the last bit"
    return f"{told}; passed" if found.passed else f"{told}; {failed} FAILED"


def reasons(found: Check) -> Iterator[str]:
    """Why variants failed, and what else differs from the baseline's making."""
    for why in dict.fromkeys(verdict.why for verdict in found.verdicts if verdict.why):
        yield f"failed: {why}"
    before, now = found.baseline.made_with, found.now.made_with
    for name in before:
        if before[name] != now.get(name):
            yield f"note: the baseline was made with {name} {before[name]}, this with {now.get(name)}"


def markdown(found: Check) -> str:
    """A summary for a pull request."""
    lines = [f"### servecast check: {'passed' if found.passed else 'failed'}", "", headline(found), ""]
    told = [verdict for verdict in found.verdicts if verdict.outcome not in ("same", "tie") or found.fails(verdict)]
    if told:
        lines += [
            "| variant | metric | baseline | now | change | allowed | verdict |",
            "| --- | --- | ---: | ---: | ---: | ---: | --- |",
        ]
        for verdict in told:
            mark = f"**{verdict.outcome}**" if found.fails(verdict) else verdict.outcome
            lines.append("| " + " | ".join((*cells(verdict), mark)).replace("\n", " ") + " |")
        lines.append("")
    lines += [f"- {line}" for line in reasons(found)]
    return "\n".join(lines).rstrip() + "\n"


def junit(found: Check) -> str:
    """JUnit XML: one test case for each metric of each variant."""
    failed = len(found.failures)
    suites = ElementTree.Element("testsuites", tests=str(len(found.verdicts)), failures=str(failed))
    suite = ElementTree.SubElement(
        suites, "testsuite", name=f"servecast.{found.scenario}", tests=str(len(found.verdicts)), failures=str(failed)
    )
    for verdict in found.verdicts:
        case = ElementTree.SubElement(
            suite, "testcase", classname=f"{found.scenario}.{verdict.variant}", name=verdict.metric
        )
        if found.fails(verdict):
            ElementTree.SubElement(case, "failure", type=verdict.outcome, message=sentence(verdict))
    ElementTree.indent(suites)
    return ElementTree.tostring(suites, encoding="unicode", xml_declaration=True) + "\n"


def check_json(found: Check) -> dict[str, Any]:
    """Every verdict, and what the two sides were made with, JSON-ready."""
    told = {
        "name": found.scenario,
        "passed": found.passed,
        "strict": found.strict,
        "headline": headline(found),
        "seeds": list(found.now.seeds),
        "reasons": list(reasons(found)),
        "verdicts": [
            {**asdict(verdict), "change": verdict.change, "fails": found.fails(verdict)} for verdict in found.verdicts
        ],
        "baseline_made_with": dict(found.baseline.made_with),
        "made_with": dict(found.now.made_with),
    }
    ready: dict[str, Any] = json_ready(told)
    return ready


def sentence(verdict: Verdict) -> str:
    """One verdict in words."""
    _, label, before, now, change, allowed = cells(verdict)
    told = f"{before} in the baseline, {now} now ({change}; {allowed} is allowed)"
    return f"{verdict.variant}: {label} {verdict.outcome}: {told}"


def cells(verdict: Verdict) -> tuple[str, str, str, str, str, str]:
    """Variant, metric, baseline, now, change and what is allowed, as people read them."""
    before, now = ("-" if value is None else written(verdict.metric, value) for value in (verdict.before, verdict.now))
    change = "-" if verdict.change is None else f"{verdict.change:+.2%}"
    allowed = f"{verdict.allowed / abs(verdict.before):.1%}" if verdict.before else "-"
    return verdict.variant, METRICS[verdict.metric].label, before, now, change, allowed
