"""A baseline: what every metric was, seed by seed, in a JSON file that is kept beside the scenario."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from sim.errors import ServecastError

_FORMAT = 1

Values = Mapping[str, Mapping[str, list[float | None]]]
"""variant -> metric -> one value for each seed; None where the metric is undefined."""


@dataclass(frozen=True)
class Baseline:
    """The metrics of a scenario and its variants under each of some seeds."""

    scenario: str
    seeds: tuple[int, ...]
    made_with: Mapping[str, Any]
    """Versions and the profile's digest: they explain a difference, and are not compared."""
    values: Values

    def write(self, path: str | Path) -> None:
        """Write it as JSON that a person can read the difference of; the file is whole or unchanged."""
        from sim.report.folder import write_whole

        told = {
            "format": _FORMAT,
            "scenario": self.scenario,
            "seeds": list(self.seeds),
            "made_with": dict(self.made_with),
            "values": self.values,
        }
        write_whole(Path(path), json.dumps(told, indent=1) + "\n")


def read(path: str | Path) -> Baseline:
    """The baseline in a file. Raises ServecastError, with the mend, if there is none that can be read."""
    mend = "write it with --update"
    try:
        found = json.loads(Path(path).read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise ServecastError(f"there is no baseline {path}; {mend}") from None
    except (OSError, ValueError) as error:
        raise ServecastError(f"the baseline {path} cannot be read ({error}); {mend}") from None
    if not isinstance(found, dict) or found.get("format") != _FORMAT:
        raise ServecastError(f"{path} is not a baseline of this version of servecast; {mend}")
    try:
        return Baseline(found["scenario"], tuple(found["seeds"]), found["made_with"], found["values"])
    except (KeyError, TypeError) as error:
        raise ServecastError(f"the baseline {path} lacks {error}; {mend}") from None
