"""A sweep on the terminal: the frontier, the others where they are few, the failures, and where the rest is."""

from rich import box
from rich.console import Console
from rich.table import Table
from rich.text import Text

from sim.insight.belief import doubts
from sim.insight.comparison import METRICS
from sim.insight.comparison_table import written
from sim.insight.sweeps.axes import read_value
from sim.insight.sweeps.points import Sweep

_MOST = 25
_ALSO = ("slo_attainment", "output_throughput", "p99_tpot_ms")


def print_sweep(found: Sweep, console: Console) -> None:
    """The points that no other beats, best first; below a line the others, if all are few."""
    names = ", ".join(METRICS[name].label for name in found.objectives)
    head = Text(found.name, style="bold")
    head.append(
        f"   {len(found.frontier)} of {len(found.points)} points are beaten by no other in {names}", style="not bold"
    )
    console.print(head)
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False, padding=(0, 1, 0, 0))
    for key in found.keys:
        table.add_column(key.rpartition(".")[2], justify="right")
    shown = [*found.objectives, *(name for name in _ALSO if name not in found.objectives)]
    for name in shown:
        table.add_column(METRICS[name].label, justify="right")
    others = [point for point in found.points if not point.error and point not in found.frontier]
    others = others if len(found.points) <= _MOST else []
    for point in (*found.frontier[:_MOST], *others):
        values = (str(read_value(override)[1]) for override in point.overrides)
        figures = (written(name, point.metrics[name]) for name in shown)
        table.add_row(
            *values, *figures, style="dim" if point in others else None, end_section=point is found.frontier[-1]
        )
    console.print(table)
    if len(found.frontier) > _MOST:
        console.print(Text(f"and {len(found.frontier) - _MOST} more (sweep.csv has all)", style="dim"))
    for point in found.failed[:3]:
        why = point.error.partition("\n")[0]
        console.print(Text(f"failed: {', '.join(point.overrides)}: {why}", style="red"))
    if len(found.failed) > 3:
        console.print(Text(f"and {len(found.failed) - 3} more points failed (sweep.csv says why)", style="red"))
    runs = {", ".join(point.overrides): {"validity": point.validity} for point in found.points if point.validity}
    for note in (*found.notes, *doubts(runs)):
        console.print(Text(f"note: {note}", style="yellow"))
    if found.from_before:
        console.print(Text(f"{found.from_before} runs were there from before", style="dim"))
