"""Results on disk: all of them, whole, or none."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sim.report.folder import whole

if TYPE_CHECKING:  # heavy
    import pandas as pd
    from matplotlib.figure import Figure

TABLES = ("requests", "steps", "pauses", "timeline")
"""The frames of a result, one Parquet file each."""

FILES = (
    *(f"{name}.parquet" for name in TABLES),
    "summary.json",
    "scenario.resolved.yaml",
    "overview.png",
)


def save(
    folder: str | Path,
    *,
    summary: dict[str, Any],
    tables: Mapping[str, pd.DataFrame],
    resolved_yaml: str,
    figure: Figure,
) -> Path:
    """Write a run's results into `folder`, which is made if need be; returns it.

    `tables` holds the frames that TABLES names, one Parquet file each. All files are written or
    none; the bytes are the same for the same run. Raises ServecastError when the folder cannot be written.
    """
    folder = Path(folder).absolute()
    with whole(folder, "run") as draft:
        _write_all(draft, summary, tables, resolved_yaml, figure)
    return folder


def summary_json(summary: dict[str, Any]) -> str:
    """The summary as JSON text, strict (no NaN) and always in the same order."""
    return json.dumps(summary, indent=2, ensure_ascii=False, allow_nan=False) + "\n"


def save_png(figure: Figure, path: str | Path) -> None:
    """Write the figure as PNG without the metadata that would differ between installations."""
    figure.savefig(path, format="png", dpi=figure.dpi, metadata={"Software": None})


def drawn(figure: Figure, path: str | Path | None) -> Figure:
    """The figure; with a path it is also written there as PNG."""
    if path is not None:
        save_png(figure, path)
    return figure


def _write_all(
    draft: Path,
    summary: dict[str, Any],
    tables: Mapping[str, pd.DataFrame],
    resolved_yaml: str,
    figure: Figure,
) -> None:
    import pyarrow as pa
    import pyarrow.parquet as pq

    for name in TABLES:
        table = pa.Table.from_pandas(tables[name], preserve_index=False).replace_schema_metadata(None)
        pq.write_table(table, draft / f"{name}.parquet", compression="zstd")
    (draft / "summary.json").write_text(summary_json(summary), encoding="utf-8")
    (draft / "scenario.resolved.yaml").write_text(resolved_yaml, encoding="utf-8")
    save_png(figure, draft / "overview.png")
