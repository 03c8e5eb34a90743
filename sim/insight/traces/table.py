"""A trace's description on the terminal."""

from collections.abc import Iterator
from typing import Any

from rich import box
from rich.console import Group
from rich.table import Table
from rich.text import Text

from sim.report.words import count, duration, number, percent


def description_table(told: dict[str, Any]) -> Group:
    """What `describe` found, as a small table with warnings below."""
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False, show_header=False)
    for label, value in _rows(told):
        table.add_row(label, value)
    return Group(table, _lengths(told), *(Text(f"note: {note}", "yellow") for note in told["notes"]), *_warnings(told))


def _rows(told: dict[str, Any]) -> Iterator[tuple[str, str]]:
    yield "trace", f"{told['file']} ({told['format']})"
    skipped = f", {count(told['skipped_rows'])} unusable rows skipped" if told["skipped_rows"] else ""
    yield "requests", count(told["requests"]) + skipped
    arrivals = told["arrivals"]
    if arrivals is None:
        yield "arrivals", "the file has no times"
    else:
        yield "duration", duration(arrivals["duration_s"])
        most = f", at most {count(arrivals['most_in_1_s'])} in one" if arrivals["most_in_1_s"] else ""
        yield "rate", f"{number(arrivals['rate_per_s'])} requests/s{most}"
        grid = arrivals["gap_cv_spread_in_grid"]
        spread = "" if grid is None else f"; {number(grid)} when spread within the grid"
        yield "CV of gaps", f"{number(arrivals['gap_cv'])} (Poisson: 1){spread}"
        windows = arrivals["index_of_dispersion"]
        told_windows = " · ".join(f"{number(value)} in {name}" for name, value in windows.items())
        yield "index of dispersion", f"{told_windows} (Poisson: 1)"
    prefix = told["prefix"]
    if prefix is None:
        yield "prefix reuse", "the file does not tell what prompts share"
    else:
        yield (
            "prefix reuse",
            (
                f"{percent(prefix['token_hit_rate'])} of prompt tokens in "
                f"{percent(prefix['request_hit_rate'])} of requests "
                f"({count(prefix['unique_blocks'])} of {count(prefix['blocks'])} blocks are new; infinite cache)"
            ),
        )
    if (sessions := told["sessions"]) is not None:
        yield (
            "sessions",
            (
                f"{count(sessions['sessions'])} with {number(sessions['mean_turns'])} requests on average, "
                f"at most {count(sessions['max_turns'])}"
            ),
        )
    yield "prompt and output", f"rank correlation {number(told['length_correlation'])}"


def _lengths(told: dict[str, Any]) -> Table:
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    table.add_column("tokens")
    names = ("mean", "p50", "p90", "p99", "max")
    for name in names:
        table.add_column(name, justify="right")
    for label in ("prompt_tokens", "output_tokens"):
        table.add_row(label.removesuffix("_tokens"), *(count(round(told[label][name])) for name in names))
    return table


def _warnings(told: dict[str, Any]) -> Iterator[Text]:
    grid_s = (told["arrivals"] or {}).get("coarse_grid_s")
    if grid_s is not None:
        yield Text(
            f"warning: the times sit on a grid of {duration(grid_s)}; bursts and CV are the grid's, not the traffic's. "
            "Replay with jitter: grid",
            "yellow",
        )
