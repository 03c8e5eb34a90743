"""Profiles on the terminal: the list, one profile's points, and two profiles side by side."""

from collections.abc import Iterable
from typing import Any

from rich import box
from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text


def profile_list(found: Iterable[dict[str, Any]]) -> RenderableType:
    """One line per profile, then the points of those that have any."""
    profiles = list(found)
    table = _table("gpu", "memory", "bandwidth", "bf16 dense", "price", "step times from", "as of", "points")
    for one in profiles:
        price = one["price_usd_per_hour"]
        table.add_row(
            one["name"],
            f"{one['memory_bytes'] / 2**30:.1f} GiB",
            f"{one['memory_bandwidth_bytes_per_s'] / 1e12:.2f} TB/s",
            f"{one['peak_flops']['bf16'] / 1e12:.0f} TFLOP/s",
            "-" if price is None else f"${price:.2f}/h",
            one["provenance"],
            one["date"],
            f"{sum(op['points'] for op in one['operations']):,}" if one["operations"] else "-",
        )
    details = [part for one in profiles if one["operations"] for part in (Text(f"\n{one['name']}"), _points(one))]
    return Group(table, *details)


def _points(one: dict[str, Any]) -> Table:
    table = _table("operation", "shapes", "points", "range", "fit error: median (p95)")
    for op in one["operations"]:
        ranges = ", ".join(f"{axis} {low:,.0f} to {high:,.0f}" for axis, (low, high) in op["range"].items())
        error = op["fit_error"]
        told = "-" if error is None else f"{error['median']:.1%} ({error['p95']:.1%}) of {error['points']}"
        table.add_row(op["op"], f"{op['curves']:,}", f"{op['points']:,}", ranges, told)
    return table


def profile_comparison(found: dict[str, Any]) -> RenderableType:
    """Ratios per operation, and times per step."""
    first, second = found["first"]["name"], found["second"]["name"]
    shared = f" over {found['tensor_parallel']} GPUs" if found["tensor_parallel"] > 1 else ""
    whose = (f"{who['name']}: {who['provenance']}, {who['date']}" for who in (found["first"], found["second"]))
    head = Text(
        f"{found['model']}{shared}, weights {found['weight_dtype']}, KV cache {found['kv_dtype']}: "
        f"times of {second} over times of {first}; above 1, {second} is slower.\n{'; '.join(whose)}"
    )
    operations = _table("operation", "shapes", "median", "p10", "p90", f"in {first}'s points", f"in {second}'s")
    for one in found["operations"]:
        ratios = [f"{one[name]:.2f}" for name in ("median", "p10", "p90")]
        inside = [_share(one[name]) for name in ("inside_first", "inside_second")]
        operations.add_row(one["operation"], str(one["shapes"]), *ratios, *inside)
    steps = _table("step, the GPU alone", first, second, "ratio")
    for one in found["steps"]:
        steps.add_row(
            one["step"],
            _ms(one["first_s"], one["extrapolated_first"]),
            _ms(one["second_s"], one["extrapolated_second"]),
            f"{one['ratio']:.2f}",
        )
    marked = any(one["extrapolated_first"] or one["extrapolated_second"] for one in found["steps"])
    notes = [
        "* outside what was measured: extrapolated" if marked else "",
        "0.00: counted in another operation's time"
        if any(one["median"] < 0.005 for one in found["operations"])
        else "",
    ]
    return Group(head, operations, steps, *(Text(note) for note in notes if note))


def _share(value: float | None) -> str:
    return "roofline" if value is None else f"{value:.0%}"


def _ms(seconds: float, extrapolated: bool) -> str:
    return f"{seconds * 1e3:.3g} ms" + ("*" if extrapolated else "")


def _table(*headers: str) -> Table:
    return Table(*headers, box=box.SIMPLE_HEAD, pad_edge=False)
