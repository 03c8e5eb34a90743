"""Results as the exports take them: from a folder that a verb wrote, or from objects in memory."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pandas as pd

from sim.errors import ServecastError
from sim.report.folder import MARKS, keeps_runs
from sim.report.save import TABLES

if TYPE_CHECKING:
    from sim.run import Result


@dataclass(frozen=True)
class SavedRun:
    """One run: its summary, its tables (see sim.run.Result), and the resolved scenario as YAML."""

    name: str
    summary: Mapping[str, Any]
    requests: pd.DataFrame
    steps: pd.DataFrame
    pauses: pd.DataFrame
    timeline: pd.DataFrame
    scenario: str


@dataclass(frozen=True)
class SavedComparison:
    """`comparison.json`."""

    name: str
    summary: Mapping[str, Any]


@dataclass(frozen=True)
class SavedDiagnosis:
    """`diagnosis.json`, and the scenario with the best fixes as YAML."""

    name: str
    summary: Mapping[str, Any]
    fixed: str


@dataclass(frozen=True)
class SavedSweep:
    """`sweep.csv`: one row per point, first the keys that vary, then the metrics."""

    name: str
    table: pd.DataFrame


Saved = SavedRun | SavedComparison | SavedDiagnosis | SavedSweep


def open_result(
    source: str,
    overrides: Iterable[str] = (),
    progress: Callable[[int, int], None] | None = None,
    verbs: Sequence[str] = ("run", "compare", "diagnose", "sweep"),
) -> list[Saved]:
    """What a folder of results of these verbs holds; anything else is a scenario, which is run with the overrides.

    Raises ServecastError for a folder without such results, and whatever `run` raises.
    """
    folder = Path(source)
    if not folder.is_dir():
        from sim.run import run

        return [saved_run(run(source, overrides=overrides, progress=progress))]
    if overrides := list(overrides):
        raise ServecastError(f"{folder} has been run already: --set {overrides[0]} is only for a scenario")
    found = [verb for verb in verbs if (folder / MARKS[verb]).is_file()]
    if not found and "sweep" in verbs and keeps_runs(folder):
        raise ServecastError(
            f"the sweep in {folder} is not finished; the same `servecast sweep ... --out {folder}` goes on from there"
        )
    if not found:
        other = next((verb for verb, mark in MARKS.items() if (folder / mark).is_file()), None)
        held = f"the result of `servecast {other}`" if other else "no results"
        writers = ", ".join(f"`servecast {verb} --out`" for verb in verbs)
        raise ServecastError(f"{folder} holds {held}; give a folder written by {writers}, or a scenario")
    return [_READERS[verb](folder) for verb in found]


def open_run(
    source: str, overrides: Iterable[str] = (), progress: Callable[[int, int], None] | None = None
) -> SavedRun:
    """The one run in a folder, or of a scenario that is run now. Raises ServecastError where there is none."""
    (saved,) = open_result(source, overrides, progress, ("run",))
    assert isinstance(saved, SavedRun)
    return saved


def saved_run(result: Result) -> SavedRun:
    """A run that has just been made."""
    scenario = result.scenario.to_yaml()
    tables = {name: getattr(result, name) for name in TABLES}
    return SavedRun(name=result.scenario.name, summary=result.summary, scenario=scenario, **tables)


def began_on(requests: pd.DataFrame) -> pd.Series[Any]:
    """The replica that computed each request's prompt: another than `replica` where the KV was handed over."""
    if "prefill_replica" not in requests:
        return requests["replica"]
    return requests["prefill_replica"].where(requests["prefill_replica"] >= 0, requests["replica"])


def _run(folder: Path) -> SavedRun:
    summary = _json(folder / "summary.json")
    try:
        tables = {name: pd.read_parquet(folder / f"{name}.parquet") for name in TABLES}
        scenario = (folder / "scenario.resolved.yaml").read_text(encoding="utf-8")
    except (OSError, ValueError) as error:
        raise _unreadable(folder, "run", error) from error
    return SavedRun(name=_called(summary, folder), summary=summary, scenario=scenario, **tables)


def _comparison(folder: Path) -> SavedComparison:
    summary = _json(folder / "comparison.json")
    return SavedComparison(_called(summary, folder), summary)


def _diagnosis(folder: Path) -> SavedDiagnosis:
    summary = _json(folder / "diagnosis.json")
    fixed = folder / "fixed.yaml"
    return SavedDiagnosis(
        _called(summary, folder), summary, fixed.read_text(encoding="utf-8") if fixed.is_file() else ""
    )


def _sweep(folder: Path) -> SavedSweep:
    try:
        return SavedSweep(folder.resolve().name, pd.read_csv(folder / "sweep.csv"))
    except (OSError, ValueError) as error:
        raise _unreadable(folder, "sweep", error) from error


_READERS: dict[str, Callable[[Path], Saved]] = {
    "run": _run,
    "compare": _comparison,
    "diagnose": _diagnosis,
    "sweep": _sweep,
}


def _called(summary: Mapping[str, Any], folder: Path) -> str:
    """The scenario's name, and the folder's where it is another: one scenario may have been run into several."""
    name, place = summary["name"], folder.resolve().name
    return name if name == place else f"{name} [{place}]"


def _json(path: Path) -> dict[str, Any]:
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise ServecastError(f"cannot read {path}: {error}; run again with --out") from error
    if not isinstance(found, dict) or "name" not in found:
        raise ServecastError(f"{path} is not what servecast writes; run again with --out")
    return found


def _unreadable(folder: Path, verb: str, error: Exception) -> ServecastError:
    return ServecastError(f"cannot read the results in {folder}: {error}; run `servecast {verb}` again with --out")
