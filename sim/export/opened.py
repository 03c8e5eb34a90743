"""Results that were saved, opened again in Python."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd

from sim.errors import ServecastError
from sim.export.page.opening import open_results
from sim.export.saved import SavedRun


@dataclass(frozen=True, repr=False)
class SavedAnswer:
    """What a verb other than `run` wrote with --out: its JSON as `summary`, and its table, if it has one."""

    verb: str
    name: str
    summary: Mapping[str, Any]
    table: pd.DataFrame | None = None
    command: str = ""
    """The command that wrote it, where it was one."""

    def __repr__(self) -> str:
        return f"<SavedAnswer of `servecast {self.verb}`: {self.name!r}>"


def open(folder: str | Path) -> SavedRun | SavedAnswer:
    """The result in a folder that `Result.save`, `Comparison.save` or a verb's --out wrote.

    A run has its summary and tables again, and draws the same pictures. Raises ServecastError for a folder without a
    result, or whose files are not whole.
    """
    if not Path(folder).is_dir():
        raise ServecastError(f"{folder} is no folder; give one that a verb's --out, or .save(), wrote")
    first, *_ = open_results(str(folder))
    if isinstance(first.saved, SavedRun):
        return first.saved
    parts = first.saved if isinstance(first.saved, tuple) else (first.saved,)
    summary: Mapping[str, Any] = next((part for part in parts if isinstance(part, Mapping)), {})
    table = next((part for part in parts if isinstance(part, pd.DataFrame)), None)
    return SavedAnswer(first.kind.VERB, first.name, summary, table, first.command)
