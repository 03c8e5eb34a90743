"""Device folders for tests: copies of a shipped one, with points of a device whose true curves are known."""

import csv
import gzip
import io
import shutil
from pathlib import Path
from typing import Any

from sim import hardware
from sim.paths import data_dir


def device(folder: Path, rows: list[dict[str, Any]], *, compress: bool = False) -> hardware.Profile:
    """An H100 with these measured points."""
    target = folder / "measured"
    shutil.copytree(data_dir("hwprofiles") / "h100-sxm", target)
    columns = list(dict.fromkeys(name for row in rows for name in row)) or ["op", "time_s"]
    table = io.StringIO(newline="")
    writer = csv.DictWriter(table, columns)
    writer.writeheader()
    writer.writerows(rows)
    content = table.getvalue().encode()
    name = "points.csv.gz" if compress else "points.csv"
    (target / name).write_bytes(gzip.compress(content, mtime=0) if compress else content)
    return hardware.load(target)


def gemm_s(m: float) -> float:
    """A made-up truth: piecewise linear, a step of the wave at 128 rows."""
    return 1e-5 + 2e-8 * m + (4e-6 if m > 128 else 0.0)


def decode_s(batch: float, context: float) -> float:
    """Seconds of decode attention at `context` tokens per request: bilinear, as the curve should be."""
    return 3e-6 + 1e-8 * batch + 4e-11 * batch * context + 2e-11 * context


def prefill_s(new: float, context: float) -> float:
    """Seconds of prefill attention: pairs and keys, plus a launch."""
    return 3e-6 + 4e-11 * (new * context + new * (new + 1) / 2) + 1e-9 * (new + context)
