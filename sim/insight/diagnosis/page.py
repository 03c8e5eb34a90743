"""A diagnosis on one page of the terminal."""

from collections.abc import Iterator

from rich import box
from rich.console import Console, Group, RenderableType
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

from sim.insight.diagnosis.change import Score
from sim.insight.diagnosis.diagnose import MET, Diagnosis, Fix
from sim.report.words import milliseconds, number, percent

_MOST = 12


def print_diagnosis(found: Diagnosis, console: Console) -> None:
    """What binds and the evidence, the fixes by gain, the best together, and what remains."""
    console.print(page(found))


def page(found: Diagnosis) -> RenderableType:
    """The whole page."""
    return Group(*_parts(found))


def _parts(found: Diagnosis) -> Iterator[RenderableType]:
    today = found.today
    head = Text(found.name, style="bold")
    head.append(
        f"   {number(today.goodput)} good requests/s: {percent(today.attainment)} of the "
        f"{number(found.offered_per_s)} that arrive{_money(today)}",
        style="not bold",
    )
    yield head
    yield Text(f"step times: {found.provenance}", style="dim")
    if not found.binding:
        yield Text("\nNothing holds it back: no bottleneck, taken away, gains 2% of the requests.", style="bold green")
    else:
        yield Text("\nwhat holds it back", style="bold")
    for binding in found.binding:
        line = Text("  ■ ", style="red").append(binding.bottleneck, style="bold")
        if binding.goodput_without is not None:
            gain = binding.goodput_without - today.goodput
            line.append(f": {number(gain)} more good requests/s with {binding.without}", style="not bold")
        yield line
        yield Padding(Text(binding.evidence, style="dim"), (0, 0, 0, 4))
    others = [binding for binding in found.bindings if not binding.binds]
    if others:
        yield Text("  not: " + ", ".join(binding.bottleneck for binding in others), style="dim")
    if found.fixes:
        yield Text("\nwhat would help, each by itself", style="bold")
        yield _table(found, found.fixes[:_MOST])
        if len(found.fixes) > _MOST:
            yield Text(f"  and {len(found.fixes) - _MOST} more (--format json)", style="dim")
    if found.together:
        yield Text("\nbest together; paste these lines", style="bold")
        yield Text("\n".join(f"  {fix.change.yaml()}" for fix in found.together), style="green")
        yield _table(found, found.together)
    yield _remains(found)
    for warning in found.warnings:
        yield Text(f"note: {warning}", style="yellow")
    yield Text(f"{found.runs} runs of {found.seeds} seed{'s' * (found.seeds > 1)} each", style="dim")


def _table(found: Diagnosis, fixes: list[Fix]) -> Table:
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False, padding=(0, 1, 0, 0))
    table.add_column("line to write", no_wrap=True)
    for name in ("good/s", "good", "TTFT p99", "TPOT p99", "$/h", "good per $"):
        table.add_column(name, justify="right")
    table.add_row(Text("today", style="dim"), *_cells(found.today))
    for fix in fixes:
        table.add_row(Text(fix.change.yaml()), *_cells(fix.score))
    return table


def _cells(one: Score) -> list[str]:
    return [
        number(one.goodput),
        percent(one.attainment),
        milliseconds(one.p99_ttft_ms),
        milliseconds(one.p99_tpot_ms),
        "-" if one.usd_per_hour is None else f"{one.usd_per_hour:.2f}",
        "-" if one.per_usd is None else number(one.per_usd),
    ]


def _remains(found: Diagnosis) -> Text:
    after, today = found.after, found.today
    if not found.together:
        told = "\nNothing that was tried helps: the targets may be out of reach of this model and GPU."
        return Text(told if found.binding else "", style="red")
    told = f"\ntogether: {number(today.goodput)} to {number(after.goodput)} good requests/s"
    if after.per_usd is not None and today.per_usd:
        told += f", {number(after.per_usd / today.per_usd)} times as many for a dollar"
    if after.attainment >= MET:
        return Text(told + f"; {percent(after.attainment)} meet the targets")
    worst = [f"{percent(share)} miss {name}" for name, share in found.after_missed.items() if name != "all" and share]
    return Text(told + f"; {percent(after.attainment)} meet the targets, {', '.join(worst)}: diagnose the result again")


def _money(one: Score) -> str:
    return "" if one.per_usd is None else f", {number(one.per_usd)} for a dollar"
