"""From a folder of another tool to a profile folder: `import_profile`."""

import csv
import datetime
import gzip
import importlib
import io
import json
import os
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import yaml

from calibrate.importers import sources
from calibrate.importers.bases import base_for
from calibrate.importers.checks import Operations, drop_impossible, operations
from calibrate.importers.collection import Collection
from calibrate.importers.options import ImportOptions
from calibrate.importers.report import markdown
from sim import hardware
from sim.choice import nearest
from sim.errors import ProfileError, ServecastError
from sim.hardware import Profile
from sim.latency.points import COLUMNS, read_points

POINTS, REPORT = "points.csv.gz", "import_report.md"
_NOTHING_S = 1e-9
"""Seconds that stand for a kernel whose time another operation's points already hold; the table takes no zero."""
_ALL_BYTES = (1.0, float(1 << 40))
_CELLS = ("op", "dtype", "n", "k", "m", "experts", "experts_per_token", "heads", "kv_heads", "head_dim", "batch",
          "new_tokens", "context_tokens", "bytes", "ranks", "time_s", "source")  # fmt: skip


class Source(Protocol):
    """A module of calibrate.importers.sources."""

    def read(self, options: ImportOptions) -> Collection:
        """All points under options.folder; raises ProfileError for what is not this tool's, or ambiguous."""
        ...


@dataclass(frozen=True)
class Imported:
    """A profile that was written, and what it holds."""

    profile: Profile
    collection: Collection
    operations: list[Operations]


def import_profile(
    tool: str,
    options: ImportOptions,
    out: Path,
    *,
    base: str | None = None,
    today: datetime.date | None = None,
    say: Callable[[str], None] = lambda text: None,
) -> Imported:
    """Write device.yaml, points.csv.gz and import_report.md into a new folder; all of them, or nothing.

    base: the profile whose facts are taken over; None: the shipped one of the source's GPU. say: is told what is being
    done. Raises ServecastError naming the file and the mend for an unknown tool, tables that cannot be used, and a
    folder that is taken.
    """
    _check(tool, options, out)
    source: Source = importlib.import_module(f"{sources.__name__}.{tool}")
    say(f"reading {options.folder}")
    collection = source.read(options)
    facts = base_for(collection.gpu, base)
    drop_impossible(collection, facts)
    if not collection.curves:
        raise ProfileError(f"{options.folder}: none of its rows could be used ({_reasons(collection)})")
    found = operations(collection, facts)
    say(f"writing {sum(one.points for one in found):,} points")
    date = (today or datetime.date.today()).isoformat()
    out = out.absolute()
    draft = out.with_name(f".{out.name}.partial-{os.getpid()}")
    try:
        draft.mkdir(parents=True)
        (draft / POINTS).write_bytes(gzip.compress(_table(collection).encode(), compresslevel=6, mtime=0))
        (draft / "device.yaml").write_text(_device(out.name, collection, facts, date), encoding="utf-8")
        report = markdown(out.name, collection, found, facts, options.folder, date)
        (draft / REPORT).write_text(report, encoding="utf-8")
        read_points(draft / POINTS)  # what the simulator would not accept is not handed over
        hardware.load(draft)
        if out.is_dir():
            out.rmdir()  # empty, as _check saw
        draft.rename(out)
    except OSError as error:
        raise ServecastError(f"cannot write the profile to {out}: {error.strerror or error}") from error
    finally:
        shutil.rmtree(draft, ignore_errors=True)
    return Imported(hardware.load(out), collection, found)


def _check(tool: str, options: ImportOptions, out: Path) -> None:
    if tool not in sources.names():
        known = sources.names()
        raise ServecastError(f"--from {tool}: known are {', '.join(known)}{nearest(tool, known)}")
    if not options.folder.is_dir():
        raise ServecastError(f"{options.folder}: no such folder; give the one that holds the tables of {tool}")
    if not out.name:
        raise ServecastError("--out needs the name of a folder")
    if out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise ServecastError(f"--out {out}: is there already; choose another folder, or remove it")


def _reasons(collection: Collection) -> str:
    return "; ".join(f"{label}: {reason}" for label, reason in collection.skipped) or "they hold no times"


def _table(collection: Collection) -> str:
    """points.csv."""
    stream = io.StringIO()
    writer = csv.writer(stream, lineterminator="\n")
    writer.writerow(_CELLS)
    for key, points in collection.ordered():
        columns = COLUMNS[key[0]]
        curve = dict(zip(("op", *columns.key), key, strict=True))
        cells = [curve.get(name, "") for name in _CELLS]
        at = [_CELLS.index(name) for name in (*columns.axes, "time_s", "source")]
        places, times = points.medians()
        for place, time_s in zip(places.tolist(), times.tolist(), strict=True):
            for i, cell in zip(at, (*map(_plain, place), f"{time_s:.9g}", points.source), strict=True):
                cells[i] = cell
            writer.writerow(cells)
    for op, where in sorted(collection.included.items()):
        if (op,) not in collection.curves:
            for size in _ALL_BYTES:
                row = {"op": op, "bytes": _plain(size), "time_s": f"{_NOTHING_S}", "source": f"counted in {where}"}
                writer.writerow([row.get(name, "") for name in _CELLS])
    return stream.getvalue()


def _plain(value: float) -> str:
    return repr(value).removesuffix(".0") if value < 1e15 else str(int(value))


def _device(name: str, collection: Collection, base: Profile, date: str) -> str:
    """device.yaml: the base's facts with their sources, under a new name."""
    engine = f", {collection.engine}" if collection.engine else ""
    head = [
        f"# Times imported from {collection.tool}: GPU {collection.gpu or 'unknown'}{engine}; see {REPORT}.",
        f"# Facts are those of {base.name}. SHA-256 of the files that were read:",
        *(f"#   {digest}  {file.name}" for file, digest in sorted(collection.files.items())),
        f"name: {json.dumps(name)}",
        "provenance: imported",
        f"date: {date}",
    ]
    facts = yaml.safe_load((base.folder / "device.yaml").read_text(encoding="utf-8"))
    kept = {key: value for key, value in facts.items() if key not in ("name", "provenance", "date")}
    text = yaml.safe_dump(kept, sort_keys=False, width=1000, allow_unicode=True, default_flow_style=None)
    return "\n".join(head) + "\n" + text
