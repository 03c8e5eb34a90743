"""device.yaml of a measured device: the datasheet's facts where it has one, and what was measured in their place."""

import json
from collections.abc import Iterable, Sequence
from typing import Any, NamedTuple

import numpy as np

from calibrate.fit.chosen import Chosen
from calibrate.fit.circumstances import Circumstances
from sim.errors import ServecastError
from sim.hardware import Derates, Profile
from sim.latency.points import ELEMENTWISE
from sim.latency.shapes import ATTENTION, PRODUCTS, operation_at

_CLEARLY = 3.0
"""A product is bound by computing (or moving) where that takes so many times longer than the other."""
_OVER_LATENCY = 10.0
_LEAST_POINTS = 3
_SMALLEST = 3
_TYPICAL = 75
"""Percentile of the sustained rates that stands for a device: large shapes count, flukes do not."""


class Fact(NamedTuple):
    """A value and where it is from."""

    value: float
    source: str


class Work(NamedTuple):
    """Points with what they did: seconds, FLOPs and bytes of one run."""

    op: str
    dtype: str
    time_s: float
    flops: float
    bytes: float


def facts(points: Sequence[Chosen], machine: Circumstances, sheet: Profile | None) -> dict[str, Fact]:
    """Every fact of a device.yaml, by its dotted name.

    With a datasheet, measured are memory, latency and the shares of the peaks that are sustained, and all else
    is taken over. Without one, the peaks are the best that was measured.
    """
    work = [work for point in points if (work := _work(point)) is not None]
    found = _taken_over(sheet) if sheet is not None else _assumed(points, work, machine)
    total = "torch reports so much in total" if machine.on_gpu else "the system's memory"
    found["memory_bytes"] = Fact(machine.memory_bytes, f"measured: {total}; {machine.words()}")
    found |= _measured(work, points, found, machine)
    return found


def _work(point: Chosen) -> Work | None:
    op = point.key[0]
    if op not in (*PRODUCTS, *ATTENTION, *ELEMENTWISE):
        return None
    operation = operation_at(point.key, np.array([point.place]))
    flops: Any = np.broadcast_to(np.asarray(operation.flops, dtype=np.float64), 1)
    moved: Any = np.asarray(operation.bytes, dtype=np.float64)
    return Work(op, operation.compute, point.time_s, float(flops[0]), float(moved[0]))


def _taken_over(sheet: Profile) -> dict[str, Fact]:
    """What the shipped profile says, but for the error of its step times: a fit has its own, on held-out points."""
    values: dict[str, Any] = {name: getattr(sheet, name, None) for name in sheet.sources if "." not in name}
    values |= {f"peak_flops.{dtype}": peak for dtype, peak in sheet.peak_flops.items()}
    values |= {f"derates.{name}": getattr(sheet.derates, name) for name in Derates.__dataclass_fields__}
    return {
        name: Fact(values[name], source) for name, source in sheet.sources.items() if not name.startswith("step_error.")
    }


def _assumed(points: Sequence[Chosen], work: list[Work], machine: Circumstances) -> dict[str, Fact]:
    """Facts of a device that has no datasheet here: peaks as measured, links and the like assumed."""
    by = machine.words()
    found: dict[str, Fact] = {}
    for dtype in ("bf16", *sorted({one.dtype for one in work} - {"bf16"})):
        rates = [one.flops / one.time_s for one in work if one.dtype == dtype and one.op in PRODUCTS]
        if rates:
            found[f"peak_flops.{dtype}"] = Fact(max(rates), f"measured: the fastest matrix product; {by}")
    if "peak_flops.bf16" not in found:
        raise ServecastError("no bf16 matrix product was measured, and this device has no datasheet; measure longer")
    memory = max(_rates(points, "copy_d2d", 2.0) or [one.bytes / one.time_s for one in work])
    found["memory_bandwidth_bytes_per_s"] = Fact(memory, f"measured: the fastest copy, read and written; {by}")
    host = max((*_rates(points, "copy_h2d"), *_rates(points, "copy_d2h")), default=0.0)
    there = f"measured: the fastest copy between host and device; {by}"
    found["pcie_bandwidth_bytes_per_s"] = Fact(host or memory / 2, there if host else "assumed: half the memory's")
    link = max(_rates(points, "send_recv"), default=0.0)
    told = f"measured: the fastest send; {by}" if link else "assumed: as between host and device"
    slow = found["pcie_bandwidth_bytes_per_s"].value
    found["intra_node_bandwidth_bytes_per_s"] = Fact(link or slow, told)
    found["intra_node_latency_s"] = Fact(2e-6, "assumed: one hop of a small message inside a machine")
    found["inter_node_bandwidth_bytes_per_s"] = Fact(min(1.25e10, slow), "assumed: a network of 100 Gbit/s")
    found["inter_node_latency_s"] = Fact(5e-6, "assumed: one RDMA write over a switch")
    found["gpus_per_node"] = Fact(max(1, int(machine.facts.get("gpus") or 1)), f"measured: GPUs that torch sees; {by}")
    limit = ((machine.facts.get("runs") or [{}])[0].get("before") or {}).get("power_limit_w")
    found["power_w"] = Fact(limit, f"measured: the driver's power limit; {by}") if limit else Fact(100, "assumed")
    for name in Derates.__dataclass_fields__:
        found[f"derates.{name}"] = Fact(0.8, "assumed: a common share of a peak")
    return found


def _measured(
    work: list[Work], points: Sequence[Chosen], known: dict[str, Fact], machine: Circumstances
) -> dict[str, Fact]:
    """Latency and sustained shares, where enough points tell them."""
    by = machine.words()
    memory = known["memory_bandwidth_bytes_per_s"].value
    found: dict[str, Fact] = {}
    latency_s = _latency_s(points, memory)
    if latency_s is not None:
        what = "the smallest element-wise kernels, less their bytes over the bandwidth"
        found["kernel_latency_s"] = Fact(latency_s, f"measured: {what}; {by}")
    else:
        found["kernel_latency_s"] = known.get("kernel_latency_s", Fact(2e-6, "assumed: a few microseconds"))
    latency_s = found["kernel_latency_s"].value

    def share(name: str, rates: list[float], what: str) -> None:
        """rates: shares of the peak at single points."""
        if len(rates) >= _LEAST_POINTS:
            value = min(1.0, float(np.percentile(rates, _TYPICAL)))
            found[f"derates.{name}"] = Fact(value, f"measured: {what}, {len(rates)} points; {by}")

    computing, moving = _bound(work, known, memory, latency_s)
    share("gemm_flops", computing["gemm"], "matrix products bound by computing")
    share("gemm_bandwidth", moving["gemm"], "matrix products bound by their weights")
    share("attention_flops", computing["attention_prefill"], "prefill attention bound by computing")
    share("decode_attention_bandwidth", moving["attention_decode"], "decode attention bound by the KV cache")
    element = [rate for op in ELEMENTWISE for rate in moving.get(op, [])]
    share("elementwise_bandwidth", element, "element-wise kernels over many bytes")
    return found


def _bound(
    work: list[Work], known: dict[str, Fact], memory: float, latency_s: float
) -> tuple[dict[str, list[float]], dict[str, list[float]]]:
    """Op -> shares of the peak FLOP/s (of the bandwidth) at the points that are clearly bound by them."""
    computing: dict[str, list[float]] = {op: [] for op in (*PRODUCTS, *ATTENTION, *ELEMENTWISE)}
    moving: dict[str, list[float]] = {op: [] for op in computing}
    for one in work:
        peak = known.get(f"peak_flops.{one.dtype}", known["peak_flops.bf16"]).value
        compute_s, move_s, busy_s = one.flops / peak, one.bytes / memory, one.time_s - latency_s
        if max(compute_s, move_s) < _OVER_LATENCY * latency_s or busy_s <= 0:
            continue
        if compute_s > _CLEARLY * move_s:
            computing[one.op].append(compute_s / busy_s)
        elif move_s > _CLEARLY * compute_s:
            moving[one.op].append(move_s / busy_s)
    return computing, moving


def _latency_s(points: Iterable[Chosen], memory: float) -> float | None:
    """Median over the element-wise ops of what their smallest points take beyond moving their bytes."""
    smallest: dict[str, list[float]] = {}
    for point in points:  # ascending
        if point.key[0] in ELEMENTWISE and len(smallest.setdefault(point.key[0], [])) < _SMALLEST:
            smallest[point.key[0]].append(max(point.time_s - point.place[0] / memory, 0.0))
    found = [min(times) for op, times in smallest.items() if op != "sampling"]
    return float(np.median(found)) if found else None


def _rates(points: Iterable[Chosen], op: str, passes: float = 1.0) -> list[float]:
    """Bytes per second of a copy, at each of its points."""
    return [passes * point.place[0] / point.time_s for point in points if point.key[0] == op]


_ORDER = (
    "memory_bytes", "memory_bandwidth_bytes_per_s", "peak_flops", "intra_node_bandwidth_bytes_per_s",
    "intra_node_latency_s", "all_reduce_one_shot_s", "all_reduce_two_shot_s",
    "all_reduce_shot_bandwidth_bytes_per_s", "inter_node_bandwidth_bytes_per_s", "inter_node_latency_s",
    "pcie_bandwidth_bytes_per_s", "gpus_per_node", "gpus_per_island", "nics_per_node", "power_w",
    "price_usd_per_hour", "kernel_latency_s", "derates",
)  # fmt: skip


def device_yaml(name: str, facts: dict[str, Fact], machine: Circumstances) -> str:
    """The text of a device.yaml."""
    clock = f"; SM clock {machine.clock}" if machine.clock else ""
    lines = [
        f"# Measured by `servecast calibrate` on {machine.words()}{clock}.",
        "# The circumstances are in measured_on.json, the error in fit_report.md.",
        f"name: {json.dumps(name)}",
        "provenance: measured",
        f"date: {machine.date}",
    ]
    groups: dict[str, list[str]] = {}
    for fact in facts:
        groups.setdefault(fact.split(".")[0], []).append(fact)
    for group in sorted(groups, key=lambda group: _ORDER.index(group) if group in _ORDER else len(_ORDER)):
        if "." in groups[group][0]:
            lines.append(f"{group}:")
        for fact in groups[group]:
            own = fact.partition(".")[2]
            entry = f"{{value: {_number(facts[fact].value)}, source: {json.dumps(facts[fact].source)}}}"
            lines.append(f"  {own}: {entry}" if own else f"{fact}: {entry}")
    return "\n".join(lines) + "\n"


def _number(value: float) -> str:
    """A number that YAML reads as one, with enough digits for a measurement."""
    if float(value).is_integer() and abs(value) < 1e18:
        return str(int(value))
    return f"{value:.6f}" if 1e-2 < abs(value) < 1e6 else f"{value:.6e}"
