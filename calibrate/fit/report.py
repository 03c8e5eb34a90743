"""What a fit found, as a summary for machines and as fit_report.md."""

import json
from collections.abc import Sequence
from typing import Any

from calibrate.fit.chosen import Chosen, kernels, others, rule
from calibrate.fit.circumstances import Circumstances
from calibrate.fit.facts import Fact
from calibrate.fit.held_out import GOALS, LEAST_POINTS, Prediction, by_op, summary
from calibrate.rawpoints import RawPoint
from sim.hardware import Derates, Profile

_LISTED = 40


def summarise(
    machine: Circumstances,
    sheet: Profile | None,
    rows: Sequence[RawPoint],
    points: Sequence[Chosen],
    moved: Sequence[float],
    held_out: Sequence[Prediction],
    unseen: Sequence[Prediction],
    facts: dict[str, Fact],
) -> dict[str, Any]:
    """All that the report says. moved: by how much the monotone fit changed each point, as a share."""
    fitted = [point for point in points if not point.row.held_out]
    operations = {op: summary(own) for op, own in by_op(held_out).items()}
    for op, found in operations.items():
        if op in GOALS:
            enough = found["points"] >= LEAST_POINTS
            found |= {"goal": GOALS[op], "reached": found["median"] <= GOALS[op] if enough else None}
    return {
        "device": machine.facts,
        "datasheet": sheet.name if sheet else None,
        "points": {
            "fitted": sum(not point.dropped for point in fitted),
            "dropped": sum(point.dropped for point in fitted),
            "held_out": len(held_out),
            "evened_out": sum(share > 0.02 for share in moved),
        },
        "kernels": kernels(fitted),
        "other_kernels": others(rows, points),
        "held_out": operations,
        "unseen_shapes": {op: summary(own) for op, own in by_op(unseen).items()},
        "flagged": [_flagged(point) for point in points if point.flaw],
        "facts": {name: {"value": fact.value, "source": fact.source} for name, fact in facts.items()},
    }


def summary_json(found: dict[str, Any]) -> str:
    """fit_report.json."""
    return json.dumps(found, indent=2, allow_nan=False) + "\n"


def goals_missed(found: dict[str, Any]) -> list[str]:
    """A sentence for every goal that is not reached, or of which the points say too little."""
    sentences = []
    for op, goal in GOALS.items():
        own = found["held_out"].get(op)
        if own is None or own["reached"] is None:
            count = own["points"] if own else 0
            sentences.append(f"{op}: {count} held-out points say too little about the goal of {goal:.0%}")
        elif not own["reached"]:
            sentences.append(
                f"{op}: the median error is {own['median']:.1%}, and the goal of {goal:.0%} is not reached"
            )
    return sentences


def headlines(found: dict[str, Any]) -> str:
    """The errors, the goals missed and the warnings, for the terminal."""
    lines = [f"{'held-out points':<20} {'points':>6} {'median':>8} {'p95':>8}"]
    for op, own in found["held_out"].items():
        lines.append(f"{op:<20} {own['points']:>6} {own['median']:>8.1%} {own['p95']:>8.1%}")
    for op, own in found["unseen_shapes"].items():
        lines.append(f"{op + ', unseen':<20} {own['points']:>6} {own['median']:>8.1%} {own['p95']:>8.1%}")
    lines += goals_missed(found)
    lines += [f"warning: {why}" for why in found["device"].get("why") or []]
    if found["flagged"]:
        lines.append(f"{len(found['flagged'])} points are flagged, {found['points']['dropped']} of them dropped")
    return "\n".join(lines)


def markdown(name: str, found: dict[str, Any], pictures: dict[str, str]) -> str:
    """fit_report.md; pictures: op -> file beside it."""
    parts = [
        f"# {name}: how well the fit predicts what it has not seen\n",
        _circumstances(found),
        _errors(found),
        _unseen(found["unseen_shapes"]),
        _kernels(found),
        _shares(found),
        _flaws(found),
        "## Measured against predicted\n",
        *(f"![{op}: measured against predicted]({file})\n" for op, file in pictures.items()),
    ]
    return "\n".join(part for part in parts if part)


def _circumstances(found: dict[str, Any]) -> str:
    device, points = found["device"], found["points"]
    machine = Circumstances(device)
    lines = [
        f"Measured on {machine.words()}" + (f"; SM clock {machine.clock}." if machine.clock else "."),
        f"Of the measured shapes, {points['fitted']} are fitted, {points['held_out']} were held out before anything",
        f"was measured and judge the fit, {points['dropped']} were dropped, and {points['evened_out']} were moved by",
        "more than 2% to make times rise with size.",
    ]
    if device.get("seconds"):
        lines.append(f"Measuring took {device['seconds']:.0f} s.")
    lines += [f"\n**Warning:** {why}." for why in device.get("why") or []]
    missing = device.get("not_measured") or {}
    lines += ["", *(f"- {op}: not measured, {why}" for op, why in missing.items())] if missing else []
    return "\n".join(lines) + "\n"


def _errors(found: dict[str, Any]) -> str:
    head = (
        "## Held-out points\n\n"
        "The simulator's own curves are asked for each held-out point; error: predicted over measured, less one.\n\n"
        "| operation | points | median error | p95 | bias | extrapolated | goal |\n"
        "| --- | ---: | ---: | ---: | ---: | ---: | --- |\n"
    )
    words = {True: "reached", False: "**not reached**", None: "too few points"}
    rows = []
    for op, own in found["held_out"].items():
        goal = f"{own['goal']:.0%}: {words[own['reached']]}" if "goal" in own else ""
        rows.append(f"| {op} {_cells(own)} {own['extrapolated']} | {goal} |\n")
    sentences = "".join(f"\n**{sentence}.**\n" for sentence in goals_missed(found))
    return head + "".join(rows) + sentences


def _unseen(found: dict[str, Any]) -> str:
    if not found:
        return ""
    rows = "".join(f"| {op} {_cells(own)}\n" for op, own in found.items())
    return (
        "## Shapes that were not measured\n\n"
        "Every (n, k) is left out in turn and predicted from the others that are near it, at all of its points.\n\n"
        "| operation | points | median error | p95 | bias |\n| --- | ---: | ---: | ---: | ---: |\n" + rows
    )


def _cells(own: dict[str, Any]) -> str:
    return f"| {own['points']} | {own['median']:.1%} | {own['p95']:.1%} | {own['bias']:+.1%} |"


def _kernels(found: dict[str, Any]) -> str:
    rows = []
    for op, counts in found["kernels"].items():
        told = ", ".join(f"{kernel} ({count})" for kernel, count in counts.items())
        rest = found["other_kernels"].get(op, {})
        beside = ", ".join(f"{kernel} {own['time']:.2f} ({own['points']})" for kernel, own in rest.items())
        rows.append(f"| {op} | {told} | {rule(op)} | {beside} |\n")
    head = (
        "## Kernels\n\n"
        "In brackets the number of points; of a kernel that was not chosen, its median time over that of the one that "
        "was.\n\n| operation | kernel | chosen | others |\n| --- | --- | --- | --- |\n"
    )
    return head + "".join(rows)


def _shares(found: dict[str, Any]) -> str:
    names = [f"derates.{name}" for name in Derates.__dataclass_fields__]
    rows = []
    for name in (name for name in ("kernel_latency_s", *names) if name in found["facts"]):
        fact = found["facts"][name]
        rows.append(f"| {name} | {fact['value']:.3g} | {fact['source']} |\n")
    head = "## Beyond the points\n\nThe roofline's latency and shares of the peaks.\n\n| fact | value | source |\n"
    return head + "| --- | ---: | --- |\n" + "".join(rows)


def _flaws(found: dict[str, Any]) -> str:
    flagged = found["flagged"]
    if not flagged:
        return "## Flagged points\n\nNone.\n"
    # What was left out first.
    ordered = sorted(flagged, key=lambda flaw: not flaw["dropped"])
    rows = [
        f"| {flaw['shape']} | {flaw['kernel']} | {flaw['time_s'] * 1e6:.4g} | {flaw['flaw']} | "
        f"{'dropped' if flaw['dropped'] else 'held out' if flaw['held_out'] else 'kept'} |\n"
        for flaw in ordered[:_LISTED]
    ]
    rest = len(ordered) - len(rows)
    more = f"\nand {rest} more, all in fit_report.json.\n" if rest > 0 else ""
    head = "## Flagged points\n\n| shape | kernel | µs | what | |\n| --- | --- | ---: | --- | --- |\n"
    return head + "".join(rows) + more


def _flagged(point: Chosen) -> dict[str, Any]:
    return {
        "shape": describe(point),
        "kernel": point.row.kernel,
        "time_s": point.time_s,
        "held_out": point.row.held_out,
        "dropped": point.dropped,
        "flaw": point.flaw,
    }


def describe(point: Chosen) -> str:
    """A point's shape in words: gemm bf16 n=4096 k=4096 m=64."""
    names = ("dtype", "n", "k", "m", "experts", "experts_per_token", "heads", "kv_heads", "head_dim", "batch",
             "new_tokens", "context_tokens", "bytes", "ranks")  # fmt: skip
    values = [(name, getattr(point.row, name)) for name in names]
    told = [str(value) if name == "dtype" else f"{name}={value}" for name, value in values if value not in (None, "")]
    return " ".join([point.row.op, *told])
