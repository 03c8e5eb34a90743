"""The options with which a trace can be read as it is, and why it needs them."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from sim.choice import build
from sim.errors import OptionError
from sim.workload.grid import coarse_grid_s
from sim.workload.guess import FORMATS, guess_format
from sim.workload.plain import PlainOptions, usual_columns
from sim.workload.rows import require_file
from sim.workload.sessions import SessionFile
from sim.workload.waiting import starts_s


@dataclass(frozen=True)
class Readable:
    """A trace's format, its `options` (YAML by name), and `why` each is needed; `requests` is how many it then holds.

    `grid_s` is the spacing of the coarse grid that its times sit on, if they do.
    """

    format: str
    options: Mapping[str, str]
    why: Mapping[str, str]
    requests: int
    timed: bool
    grid_s: float | None


def readable(path: Path, said: Mapping[str, Any] | None = None) -> Readable:
    """Read a trace with the options that are `said`, and those that its rows turn out to need.

    Raises OptionError where its columns have to be named, TraceError for what no option mends.
    """
    require_file(path)
    said = dict(said or {})
    name = guess_format(path, said.get("columns"))
    options = {key: _yaml(value) for key, value in said.items()}
    why: dict[str, str] = {}
    while True:
        given = {key: yaml.safe_load(value) for key, value in options.items()}
        trace = build(FORMATS, {name: {"path": str(path), **given}})
        timed = not isinstance(trace, SessionFile)
        try:
            table = trace.read() if timed else trace.read_sessions()
        except OptionError as error:
            new = {key: value for key, value in error.mend.items() if key not in (*options, "columns")}
            if not new:
                raise
            options |= new
            why |= {key: f"left out: {error.why.get(key, error.told)}" for key in new}
            continue
        if isinstance(trace, PlainOptions) and (usual := usual_columns(trace)):
            options = {**options, "columns": _yaml({**usual, **trace.columns})}
            why["columns"] = "found by their usual names"
        grid_s = coarse_grid_s(starts_s(table)) if timed else None
        return Readable(name, options, why, len(table.prompt_tokens), timed, grid_s)


def _yaml(value: Any) -> str:
    """A value on one line."""
    return (
        yaml.safe_dump(value, default_flow_style=True, sort_keys=False, width=10_000)
        .removesuffix("\n")
        .removesuffix("\n...")
    )
