"""Runs as the exports take them: from a folder that `servecast run` wrote, or from an object in memory."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pandas as pd

from sim.errors import ServecastError
from sim.report.folder import MARKS
from sim.report.save import TABLES
from sim.report.views import RunViews

if TYPE_CHECKING:
    from sim.run import Result


@dataclass(frozen=True, repr=False)
class SavedRun(RunViews):
    """One run: its summary, its tables (see sim.run.Result), and the resolved scenario as YAML."""

    name: str
    summary: dict[str, Any]
    requests: pd.DataFrame
    steps: pd.DataFrame
    pauses: pd.DataFrame
    timeline: pd.DataFrame
    scenario: str

    def __repr__(self) -> str:
        counts = self.summary["requests"]
        return f"<SavedRun of {self.name!r}: {counts['finished']} of {counts['total']} requests finished>"


def open_run(
    source: str, overrides: Iterable[str] = (), progress: Callable[[int, int], None] | None = None
) -> SavedRun:
    """The run in a folder; anything else is a scenario, which is run with the overrides.

    Raises ServecastError for a folder without a run, and whatever `run` raises.
    """
    folder = Path(source)
    if not folder.is_dir():
        from sim.run import run

        return saved_run(run(source, overrides=overrides, progress=progress))
    refuse_overrides(folder, overrides)
    if not (folder / MARKS["run"]).is_file():
        raise ServecastError(
            f"{folder} holds {what_is_held(folder)}; give a folder written by `servecast run --out`, or a scenario"
        )
    return read_run(folder)


def what_is_held(folder: Path) -> str:
    """Whose result a folder holds, in words."""
    verb = next((verb for verb, mark in MARKS.items() if (folder / mark).is_file()), None)
    return f"the result of `servecast {verb}`" if verb else "no results"


def saved_run(result: Result) -> SavedRun:
    """A run that has just been made."""
    scenario = result.scenario.to_yaml()
    tables = {name: getattr(result, name) for name in TABLES}
    return SavedRun(name=result.scenario.name, summary=result.summary, scenario=scenario, **tables)


def read_run(folder: Path) -> SavedRun:
    """The run in a folder. Raises ServecastError if it is not whole."""
    summary = read_json(folder / MARKS["run"], ("name", "requests", "gpu_time", "validity", "made_with"))
    try:
        tables = {name: pd.read_parquet(folder / f"{name}.parquet") for name in TABLES}
        scenario = (folder / "scenario.resolved.yaml").read_text(encoding="utf-8")
    except (OSError, ValueError) as error:
        raise unreadable(folder, "run", error) from error
    return SavedRun(name=called(summary["name"], folder), summary=summary, scenario=scenario, **tables)


def began_on(requests: pd.DataFrame) -> pd.Series[Any]:
    """The replica that computed each request's prompt: another than `replica` where the KV was handed over."""
    if "prefill_replica" not in requests:
        return requests["replica"]
    return requests["prefill_replica"].where(requests["prefill_replica"] >= 0, requests["replica"])


def called(name: str, folder: Path) -> str:
    """The scenario's name, and the folder's where it is another: one scenario may have been run into several."""
    place = folder.resolve().name
    return name if name == place else f"{name} [{place}]"


def read_json(path: Path, fields: Iterable[str] = ("name",)) -> dict[str, Any]:
    """An object in a file that must have these fields. Raises ServecastError, with the mend, if it cannot be read."""
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise ServecastError(f"cannot read {path}: {error}; run again with --out") from error
    if not isinstance(found, dict):
        raise ServecastError(f"{path} is not what servecast writes; run again with --out")
    if missing := [name for name in fields if name not in found]:
        raise ServecastError(
            f"{path} has no {missing[0]!r}: it is not what this version of servecast writes; run again with --out"
        )
    return found


def refuse_overrides(folder: Path, overrides: Iterable[str]) -> None:
    """Raise ServecastError if there are changes to what has been run already."""
    if overrides := list(overrides):
        raise ServecastError(f"{folder} has been run already: --set {overrides[0]} is only for a scenario")


def unreadable(folder: Path, verb: str, error: Exception) -> ServecastError:
    """What to say of a folder whose files are broken or not all there."""
    told = str(error)
    if isinstance(error, FileNotFoundError):
        lacking = error.filename or told
        told = f"{Path(lacking).name} is missing, which this version of servecast writes"
    return ServecastError(f"cannot read the results in {folder}: {told}; run `servecast {verb}` again with --out")
