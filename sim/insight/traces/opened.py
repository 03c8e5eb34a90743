"""A trace file as the verbs open it: its format guessed or named, its options given as text."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import yaml

from sim.choice import build
from sim.choice import options as known_options
from sim.errors import OptionError, ScenarioError, TraceError
from sim.streams import stream
from sim.workload.grid import coarse_grid_s, spread
from sim.workload.guess import FORMATS, UnknownFormatError, guess_format
from sim.workload.measured.columns import tells_latencies
from sim.workload.plain import PlainOptions
from sim.workload.rows import require_file
from sim.workload.sessions import SessionFile
from sim.workload.table import RequestTable
from sim.workload.waiting import starts_s

_MEASURED = (
    "the file tells latencies, too: `servecast validate SCENARIO --measured FILE` compares them with simulated ones"
)


@dataclass(frozen=True, eq=False)
class Opened:
    """A file's requests; `timed` is False where the file tells no arrival times (and none were given)."""

    path: Path
    format: str
    table: RequestTable
    timed: bool
    grid_s: float | None
    """Spacing of the coarse grid that the recorded times sit on, if they do."""

    def spread(self, seed: int) -> RequestTable:
        """The requests with arrivals spread within their grid, where there is one."""
        if self.grid_s is None:
            return self.table
        return spread(self.table, self.grid_s, stream(seed, "workload.jitter"))


def open_trace(
    path: Path, format_name: str | None = None, settings: Sequence[str] = (), arrivals: str | None = None, seed: int = 0
) -> Opened:
    """Read a trace; `settings` are KEY=VALUE options of its format, `arrivals` a process for a file without times.

    Raises TraceError for rows that cannot be used, ScenarioError for options that the format has not.
    """
    require_file(path)
    options = parsed(settings)
    try:
        name = format_name or _guessed(path, options)
        return _opened(path, name, options, arrivals, seed)
    except OptionError as error:
        raise error.for_command() from error


def _guessed(path: Path, options: dict[str, Any]) -> str:
    other = f"name a format with --format-name: {', '.join(known_options(FORMATS))}"
    try:
        return guess_format(path, options.get("columns"))
    except OptionError as error:
        raise TraceError(f"{error.for_command()}; or {other}") from error
    except UnknownFormatError as error:
        raise TraceError(f"{error}; {other}") from error


def _opened(path: Path, name: str, options: dict[str, Any], arrivals: str | None, seed: int) -> Opened:
    trace = build(FORMATS, {name: {"path": str(path), **options}})
    if isinstance(trace, SessionFile):
        return _opened_sessions(path, name, trace, arrivals, seed)
    if arrivals is not None:
        raise ScenarioError(f"{path} brings its own arrival times, so --arrivals cannot be given with it; leave it out")
    table: RequestTable = trace.read()
    if isinstance(trace, PlainOptions) and tells_latencies(trace.rows().header()):
        table = replace(table, notes=(*table.notes, _MEASURED))
    if (jitter := getattr(trace, "jitter", None)) is not None:
        return Opened(path, name, spread(table, jitter, stream(seed, "workload.jitter")), True, None)
    return Opened(path, name, table, True, coarse_grid_s(starts_s(table)))


def _opened_sessions(path: Path, name: str, trace: SessionFile, arrivals: str | None, seed: int) -> Opened:
    sessions = trace.read_sessions()
    if arrivals is None:
        return Opened(path, name, sessions.table(np.zeros(sessions.count)), False, None)
    process: Any = build("sim.workload.arrivals", _yaml(arrivals, "--arrivals"))
    if not hasattr(process, "times"):
        raise ScenarioError("--arrivals: a closed loop cannot start sessions; give an open process, such as poisson")
    starts_s = process.times(stream(seed, "workload.arrivals"), sessions.count, None)
    return Opened(path, name, sessions.table(starts_s), True, None)


def parsed(settings: Sequence[str], option: str = "--set") -> dict[str, Any]:
    """Options of a format, given as KEY=VALUE on the command line. Raises ScenarioError for what is none."""
    values = {}
    for setting in settings:
        key, equals, text = setting.partition("=")
        if not equals or not key.strip():
            raise ScenarioError(f"{option} {setting!r}: write KEY=VALUE, such as {option} limit=1000")
        values[key.strip()] = _yaml(text, f"{option} {key.strip()}")
    return values


def named_columns(said: Sequence[str], option: str = "--column") -> dict[str, str]:
    """Names of columns by role, given as ROLE=NAME and taken as they stand. Raises ScenarioError for what is none."""
    columns = {}
    for text in said:
        role, equals, name = text.partition("=")
        if not equals or not role.strip() or not name:
            raise ScenarioError(f"{option} {text!r}: write ROLE=NAME, such as {option} arrival=ts")
        columns[role.strip()] = name
    return columns


def _yaml(text: str, where: str) -> Any:
    try:
        return yaml.safe_load(text)
    except yaml.YAMLError as error:
        raise ScenarioError(f"{where}: {text!r} is not YAML; quote it for the shell") from error


def require_times(opened: Opened, verb: str) -> None:
    """Raise TraceError, with the mend, for a file without arrival times."""
    if not opened.timed:
        raise TraceError(
            f"{opened.path} has no arrival times, which {verb} needs; give --arrivals '{{poisson: {{rate_per_s: 5}}}}'"
        )
