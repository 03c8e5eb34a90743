"""Results for the page: what folders hold, and scenarios that are run now."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from sim.errors import ServecastError
from sim.export.page.kinds import Kind, kinds, run
from sim.export.saved import SavedRun, open_run, refuse_overrides
from sim.report.folder import COMMAND, MARKS, SCENARIO, keeps_runs


@dataclass(frozen=True)
class Opened:
    """A result of some kind: its name, what the kind's `read` gave, and how it was asked for, where that is known."""

    kind: Kind
    name: str
    saved: Any
    command: str = ""
    scenario: str = ""


def open_results(
    source: str, overrides: Iterable[str] = (), progress: Callable[[int, int], None] | None = None
) -> list[Opened]:
    """What a folder of results holds; anything else is a scenario, which is run with the overrides.

    Raises ServecastError for a folder or a file without results, and whatever `run` raises.
    """
    folder = Path(source)
    if folder.is_file() and folder.suffix in (".json", ".csv", ".parquet", ".png", ".html"):
        raise ServecastError(f"{folder} is a single file of a result, or none; give the folder that --out wrote")
    if not folder.is_dir():
        return [opened_run(open_run(source, overrides, progress))]
    refuse_overrides(folder, overrides)
    found = [kind for kind in kinds() if (folder / MARKS[kind.VERB]).is_file()]
    if not found and keeps_runs(folder):
        raise ServecastError(
            f"the sweep in {folder} is not finished; the same `servecast sweep ... --out {folder}` goes on from there"
        )
    if not found:
        verbs = ", ".join(f"`{verb}`" for verb in MARKS)
        raise ServecastError(f"{folder} holds no results; give a folder written with --out by one of {verbs}")
    command, scenario = (_text(folder / name) for name in (COMMAND, SCENARIO))
    return [Opened(kind, *kind.read(folder), command, scenario) for kind in found]


def opened_run(saved: SavedRun) -> Opened:
    """A run that has just been made."""
    return Opened(run, saved.name, saved)


def _text(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8").strip()
    except (OSError, UnicodeDecodeError):
        return ""
