"""From a folder with raw points to a profile folder: `fit`."""

import csv
import gzip
import io
import os
import shutil
import tempfile
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from calibrate.fit.chosen import Chosen, choose
from calibrate.fit.circumstances import datasheet_of, read_circumstances
from calibrate.fit.facts import device_yaml, facts
from calibrate.fit.held_out import by_op, predict, predict_unseen
from calibrate.fit.monotone import monotone
from calibrate.fit.pictures import picture
from calibrate.fit.report import markdown, summarise, summary_json
from calibrate.fit.screen import Limits, screen
from calibrate.rawpoints import RawPoint, RawPointsError, read, table_in
from sim import hardware
from sim.errors import ServecastError
from sim.hardware import Profile
from sim.latency.points import COLUMNS, Key

POINTS, REPORT, SUMMARY, PICTURES = "points.csv.gz", "fit_report.md", "fit_report.json", "fit"
_CELLS = ("op", "dtype", "n", "k", "m", "experts", "experts_per_token", "heads", "kv_heads", "head_dim", "batch",
          "new_tokens", "context_tokens", "bytes", "ranks", "time_s", "spread_s", "kernel")  # fmt: skip


@dataclass(frozen=True)
class Fitted:
    """A profile that was written, and what the report says of it."""

    profile: Profile
    summary: dict[str, Any]


@dataclass(frozen=True)
class _Point:
    chosen: Chosen
    time_s: float


def fit(folder: Path, like: str | None = None) -> Fitted:
    """Write points.csv.gz, device.yaml, fit_report.md, fit_report.json and pictures into a measured folder.

    like: the shipped profile whose datasheet facts are taken over; by default that of the GPU's name. Raises
    ServecastError naming the file and the mend for a folder or table that cannot be used; nothing is written
    then.
    """
    machine = read_circumstances(folder)
    sheet = datasheet_of(machine, like)
    rows = _rows(folder)
    points = screen(choose(rows), Limits(sheet if machine.on_gpu else None, machine.l2_bytes))
    fitted = _risen([point for point in points if not point.row.held_out and not point.dropped])
    if not fitted:
        raise ServecastError(f"{folder}: no point was measured that a fit could use; measure again")
    known = facts([point.chosen for point in fitted], machine, sheet)
    name = folder.resolve().name
    with tempfile.TemporaryDirectory(prefix=".fit-", dir=folder) as temporary:
        made = Path(temporary)
        (made / POINTS).write_bytes(gzip.compress(_table(fitted).encode(), mtime=0))
        (made / "device.yaml").write_text(device_yaml(name, known, machine), encoding="utf-8")
        profile = hardware.load(made)
        judged = predict([point for point in points if point.row.held_out and not point.dropped], profile)
        unseen = predict_unseen([point.chosen for point in fitted], profile)
        moved = [abs(point.time_s / point.chosen.time_s - 1.0) for point in fitted]
        summary = summarise(machine, sheet, rows, points, moved, judged, unseen, known)
        (made / PICTURES).mkdir()
        pictures = {}
        for op, own in by_op(judged).items():
            pictures[op] = f"{PICTURES}/{op}.png"
            picture(op, own, machine.words()).savefig(made / pictures[op])
        (made / SUMMARY).write_text(summary_json(summary), encoding="utf-8")
        (made / REPORT).write_text(markdown(name, summary, pictures), encoding="utf-8")
        shutil.rmtree(folder / PICTURES, ignore_errors=True)
        (folder / "points.csv").unlink(missing_ok=True)
        for file in (PICTURES, REPORT, SUMMARY, POINTS, "device.yaml"):
            os.replace(made / file, folder / file)
    return Fitted(hardware.load(folder), summary)


def _rows(folder: Path) -> list[RawPoint]:
    file = table_in(folder)
    if file is None:
        raise ServecastError(f"{folder}: holds no raw.csv.gz; measure with `servecast calibrate gpu --out {folder}`")
    try:
        return read(file)
    except RawPointsError as error:
        raise ServecastError(str(error)) from error


def _risen(points: Sequence[Chosen]) -> list[_Point]:
    """The points of every curve with times that rise with size."""
    curves: dict[Key, list[Chosen]] = defaultdict(list)
    for point in points:
        curves[point.key].append(point)
    found: list[_Point] = []
    for own in curves.values():
        times = monotone([p.place for p in own], [p.time_s for p in own], [p.spread for p in own])
        found += [_Point(point, time_s) for point, time_s in zip(own, times, strict=True)]
    return found


def _table(points: Sequence[_Point]) -> str:
    """points.csv."""
    stream = io.StringIO()
    writer = csv.DictWriter(stream, _CELLS, lineterminator="\n")
    writer.writeheader()
    for point in points:
        columns = COLUMNS[point.chosen.key[0]]
        row: dict[str, Any] = dict(zip(("op", *columns.key), point.chosen.key, strict=True))
        row |= {name: f"{value:g}" if value < 1e6 else str(int(value)) for name, value in
                zip(columns.axes, point.chosen.place, strict=True)}  # fmt: skip
        row |= {"time_s": f"{point.time_s:.6g}", "kernel": point.chosen.row.kernel}
        if point.chosen.row.spread_s is not None:
            row["spread_s"] = f"{point.chosen.row.spread_s:.2g}"
        writer.writerow(row)
    return stream.getvalue()
