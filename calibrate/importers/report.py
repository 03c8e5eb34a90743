"""import_report.md: what was taken, what was left out and why, and from which files."""

from collections.abc import Sequence
from pathlib import Path

from calibrate.importers.checks import Operations
from calibrate.importers.collection import Collection
from sim.hardware import Profile
from sim.latency.points import ELEMENTWISE

_NEEDED = ("gemm", "attention_prefill", "attention_decode", "all_reduce", "all_gather", *ELEMENTWISE)


def markdown(name: str, out: Collection, found: Sequence[Operations], base: Profile, folder: Path, date: str) -> str:
    """The whole report."""
    engine = f", {out.engine}" if out.engine else ""
    parts = [
        f"# {name}: imported from {out.tool}",
        f"GPU {out.gpu or 'unknown'}{engine}; imported on {date}. Facts and rooflines are those of {base.name} "
        f"({base.provenance}); times are {out.tool}'s, and nobody here has measured them.",
        "## Taken",
        _table(
            ("operation", "curves", "points", "range", "time over roofline: median (p10 to p90)"),
            [(one.op, f"{one.curves:,}", f"{one.points:,}", ranges(one), _over(one)) for one in found],
        ),
        f"The last column compares with {base.name}'s derated roofline. Far from 1 at the median means another kernel, "
        "another GPU than said, or another unit.",
    ]
    absent = [op for op in _NEEDED if op not in {one.op for one in found} | set(out.included)]
    if absent:
        parts.append(f"Not in the source, so {base.name}'s roofline stands for it: {', '.join(absent)}.")
    if out.included:
        parts.append("Counted in another operation's time, so as nothing here: " + _included(out) + ".")
    if out.notes:
        parts += ["## To know", "\n".join(f"- {note}" for note in out.notes)]
    if out.skipped:
        rows = sorted((label, reason, f"{count:,}") for (label, reason), count in out.skipped.items())
        parts += ["## Left out", _table(("where", "why", "rows or files"), rows)]
    files = [(_shown(file, folder), f"`{digest}`") for file, digest in sorted(out.files.items())]
    parts += ["## Files", _table(("file", "SHA-256"), files)]
    return "\n\n".join(parts) + "\n"


def headlines(name: str, out: Collection, found: Sequence[Operations]) -> str:
    """What was taken, in a few lines."""
    engine = f", {out.engine}" if out.engine else ""
    width = max(len(one.op) for one in found)
    lines = [f"{name}: {out.tool}, GPU {out.gpu or 'unknown'}{engine}"]
    lines += [f"  {one.op:{width}}  {one.points:7,} points  {ranges(one)}" for one in found]
    skipped = sum(out.skipped.values())
    return "\n".join([*lines, f"{skipped:,} rows or files left out"] if skipped else lines)


def ranges(one: Operations) -> str:
    """The range of each axis, in words."""
    return ", ".join(f"{axis} {_number(low)} to {_number(high)}" for axis, (low, high) in one.ranges.items())


def _over(one: Operations) -> str:
    if one.over_roofline is None:
        return "-"
    median, low, high = one.over_roofline
    return f"{median:.2f} ({low:.2f} to {high:.2f})"


def _included(out: Collection) -> str:
    return "; ".join(f"{op} in {where}" for op, where in sorted(out.included.items()))


def _shown(file: Path, folder: Path) -> str:
    return file.relative_to(folder).as_posix() if file.is_relative_to(folder) else file.name


def _number(value: float) -> str:
    return f"{value:,.0f}" if value == int(value) else f"{value:,.1f}"


def _table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join("| " + " | ".join(cell.replace("|", "\\|") for cell in line) + " |" for line in lines)
