"""What a profile holds: where its numbers are from, its points and their ranges, and the error of its fit."""

import json
from pathlib import Path
from typing import Any

from sim import hardware
from sim.errors import ProfileError
from sim.hardware import Profile
from sim.latency.points import COLUMNS, Key, Point, read_points

FIT_REPORT = "fit_report.json"


def inventory(profile: Profile) -> dict[str, Any]:
    """Facts, provenance and, for each operation that has points, how many, over which range, and the fit's error.

    Errors are shares (0.03 is 3%): median and p95 of |predicted / measured - 1| over the points that the fit never
    saw. Raises ProfileError for points or a fit report that cannot be read.
    """
    file = profile.points_file
    errors = _fit_errors(profile.folder / FIT_REPORT)
    return {
        "name": profile.name,
        "provenance": profile.provenance,
        "date": profile.date,
        "sha256": profile.digest,
        "memory_bytes": profile.memory_bytes,
        "memory_bandwidth_bytes_per_s": profile.memory_bandwidth_bytes_per_s,
        "peak_flops": dict(profile.peak_flops),
        "price_usd_per_hour": profile.price_usd_per_hour,
        "operations": _operations(read_points(file), errors) if file else [],
    }


def all_inventories() -> list[dict[str, Any]]:
    """Those of the profiles that ship, by name."""
    return [inventory(hardware.load(name)) for name in hardware.names()]


def _operations(measured: dict[Key, list[Point]], errors: dict[str, Any]) -> list[dict[str, Any]]:
    found = []
    for op, columns in COLUMNS.items():
        curves = [points for key, points in measured.items() if key[0] == op]
        places = [place for points in curves for place, _ in points]
        if not places:
            continue
        ranges = {
            axis: [min(place[i] for place in places), max(place[i] for place in places)]
            for i, axis in enumerate(columns.axes)
        }
        one = {"op": op, "curves": len(curves), "points": len(places), "range": ranges}
        found.append({**one, "fit_error": errors.get(op)})
    return found


def _fit_errors(file: Path) -> dict[str, Any]:
    """Op -> held-out points, median and p95, from a fit's report, if there is one."""
    if not file.is_file():
        return {}
    try:
        held_out = json.loads(file.read_text(encoding="utf-8"))["held_out"]
        return {op: {name: own[name] for name in ("points", "median", "p95")} for op, own in held_out.items()}
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        raise ProfileError(f"{file}: not the report of a fit; make it again with `servecast calibrate fit`") from None
