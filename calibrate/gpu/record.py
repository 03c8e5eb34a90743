"""The folder of a measurement: its raw table and measured_on.json, the circumstances under which it was
made."""

import datetime
import hashlib
import json
import os
from collections import Counter
from pathlib import Path
from typing import Any

from calibrate.gpu.errors import MeasureError
from calibrate.rawpoints import STATUSES, RawPoint, append, open_table, pack

NAME = "measured_on.json"
_SAME = ("device", "name", "torch", "triton", "cuda", "threads")
"""Facts that must not change between runs into one folder: they decide what is measured."""
_NOISY_SHARE = 0.1


class Record:
    """Rows and circumstances in one folder; runs may be added until the plan is done.

    Raises MeasureError, naming the mend, if the folder holds what another machine or software measured.
    """

    def __init__(self, folder: Path, facts: dict[str, Any]) -> None:
        self.folder, self._file = folder, folder / NAME
        self._known = self._read()
        for name in _SAME:
            if self._known and self._known.get(name) != facts.get(name):
                raise MeasureError(
                    f"{self._file}: measured with {name} {self._known.get(name)!r}, and this is "
                    f"{facts.get(name)!r}; choose another --out, or delete the folder to begin anew"
                )
        try:
            folder.mkdir(parents=True, exist_ok=True)
            self._table, self.points = open_table(folder)
        except OSError as error:
            raise MeasureError(f"{folder}: cannot be written ({error}); choose another --out") from error
        self._facts = facts
        self._runs: list[dict[str, Any]] = list(self._known.get("runs", []))
        self._not_measured: dict[str, str] = {}

    def begin(self, budget_s: float, plan: Path, before: dict[str, Any] | None) -> None:
        """A run starts; `before` is the GPU's state."""
        self._runs.append(
            {
                "date": datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
                "budget_s": budget_s,
                "plan": {"file": plan.name, "sha256": hashlib.sha256(plan.read_bytes()).hexdigest()},
                "seconds": None,
                "ended": None,
                "before": before,
                "after": None,
                "slowed_by": {},
                "looks": 0,
                "throttled": None,
            }
        )
        self._write()

    def add(self, points: list[RawPoint]) -> None:
        """Rows that were measured, or say why not."""
        append(self._table, points)
        self.points.extend(points)

    def not_measured(self, op: str, why: str) -> None:
        """An op that this machine cannot measure at all."""
        self._not_measured[op] = why

    def end(self, **what: Any) -> None:
        """The run is over; `what` overwrites the fields that `begin` left open."""
        self._runs[-1].update(what)
        self._write()
        pack(self.folder)

    def counts(self) -> dict[str, int]:
        """Rows per status."""
        found = Counter(point.status for point in self.points)
        return {status: found[status] for status in STATUSES}

    def _write(self) -> None:
        counts = self.counts()
        measured = counts["ok"] + counts["noisy"]
        why = [f"{run['date']}: {run['throttled']}" for run in self._runs if run["throttled"]]
        noisy = measured > 0 and counts["noisy"] > _NOISY_SHARE * measured
        if noisy:
            why.append(f"{counts['noisy']} of {measured} points spread widely from run to run")
        content = {
            **self._facts,
            "driver": next((run["before"]["driver"] for run in self._runs if run["before"]), None),
            "date": self._runs[0]["date"][:10],
            "seconds": round(sum(run["seconds"] or 0.0 for run in self._runs), 1),
            "counts": counts,
            "noisy": noisy,
            "throttled": any(run["throttled"] for run in self._runs),
            "why": why,
            "not_measured": self._not_measured,
            "runs": self._runs,
        }
        temporary = self._file.with_name(NAME + ".part")
        temporary.write_text(json.dumps(content, indent=2) + "\n", encoding="utf-8")
        os.replace(temporary, self._file)

    def _read(self) -> dict[str, Any]:
        if not self._file.is_file():
            return {}
        try:
            content = json.loads(self._file.read_text(encoding="utf-8"))
            return dict(content)
        except (OSError, ValueError, TypeError) as error:
            raise MeasureError(f"{self._file}: not readable ({error}); delete it, or choose another --out") from error
