"""WEKA's kv-cache-tester: recorded sessions of coding agents, one JSON file each."""

import json
import tarfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar, Literal

from sim.errors import TraceError
from sim.request import Segments
from sim.workload.content import Namer
from sim.workload.fileoptions import FileOptions, Signs
from sim.workload.rows import open_bytes, text_errors
from sim.workload.sessionfile import SessionBuilder, Turn
from sim.workload.sessions import Sessions

_OPEN = "the calls of an agent's session are sent at their recorded times, not after simulated answers (wait: true)"
_GRID_S = 1.0
"""Calls' times are whole seconds, so one may seem to begin before an answer that it waited for."""


@dataclass(frozen=True)
class Weka(FileOptions):
    """One session's file, a folder of them, or a .tar or .tar.gz; `arrivals:` beside the trace starts sessions.

    Every call is sent at its recorded time after the session's start; those of subagents as well. With `wait` a call
    is sent its recorded think_time (or the time between, where it has none) after the answer before it; calls that
    began while others were under way are sent beside them, as much later as recorded, and the next one waits for them
    all. hash_ids are blocks of the file's block_size, known inside one session only; what exceeds full blocks is the
    call's own. Calls with an output of 0 tokens are left out and counted, unless empty_outputs says otherwise. Source:
    github.com/callanjfox/kv-cache-tester.
    """

    signs: ClassVar[Signs | None] = Signs("json", frozenset({"block_size", "requests", "hash_id_scope"}))

    empty_outputs: Literal["bad", "drop", "one"] = "drop"
    """A request whose output has 0 tokens: left out and counted, a bad row, or given one token."""
    wait: bool = False
    """Send a turn after the answer before, instead of at its recorded time."""

    def read_sessions(self) -> Sessions:
        """The sessions, by file name. Raises TraceError naming file, call and value that cannot be used."""
        building, namer = SessionBuilder(self, () if self.wait else (_OPEN,)), Namer()
        for number, (name, session) in enumerate(_session_files(Path(self.path))):
            if building.full:
                break
            try:
                turns = list(_turns(session, number, namer, self.wait))
            except (KeyError, TypeError, ValueError) as error:
                building.bad(f"{name}: a call without usable t, in, out or hash_ids ({_reason(error)})")
                continue
            building.add(turns, name)
        return building.sessions()


def _reason(error: KeyError | TypeError | ValueError) -> str:
    if isinstance(error, TypeError):
        return "it is no object with block_size and requests, or one of these is of another kind"
    return f"there is no {error}" if isinstance(error, KeyError) else str(error)


def _turns(session: Any, number: int, namer: Namer, wait: bool) -> Iterator[Turn]:
    block_size = int(session["block_size"])
    calls = sorted(_calls(session["requests"], 0.0), key=lambda call: call[0])
    for (start_s, call), (after_s, turn) in zip(calls, _waits(calls) if wait else _times(calls), strict=True):
        prompt, hashes = int(call["in"]), [(number, int(h)) for h in call.get("hash_ids") or ()]
        if len(hashes) * block_size > prompt:
            raise ValueError(f"{len(hashes)} blocks of {block_size} in a prompt of {prompt}")
        own = (number, "own", start_s, prompt)
        yield Turn(prompt, int(call["out"]), _named(namer, hashes, block_size, own, prompt), None, after_s, turn)


def _times(calls: list[tuple[float, Any]]) -> Iterator[tuple[float, int]]:
    return ((start_s, 0) for start_s, _ in calls)


def _waits(calls: list[tuple[float, Any]]) -> Iterator[tuple[float, int]]:
    """(seconds after the answers to the turn before, turn) of calls in the order of their times."""
    turn, begin_s, end_s, pause_s = 0, 0.0, -_GRID_S, 0.0
    for start_s, call in calls:
        answered_s = start_s + float(call.get("api_time") or 0.0)  # some calls do not tell
        if start_s <= end_s - _GRID_S:  # beside those under way
            yield pause_s + start_s - begin_s, turn
            end_s = max(end_s, answered_s)
            continue
        pause_s = float(call.get("think_time", max(start_s - end_s, 0.0))) if turn else 0.0
        turn, begin_s, end_s = turn + 1, start_s, answered_s
        yield pause_s, turn


def _named(namer: Namer, hashes: list[Any], block_size: int, own: Any, prompt: int) -> Segments | None:
    pieces = namer.blocks(hashes, block_size, 0, prompt)
    rest = prompt - len(hashes) * block_size
    return pieces if pieces is None or not rest else (*pieces[:-1], (own, rest))


def _calls(requests: list[Any], start_s: float) -> Iterator[tuple[float, Any]]:
    """(seconds after the session's start, call), those of subagents included."""
    for call in requests:
        at_s = start_s + float(call["t"])
        if call.get("type") == "subagent":
            yield from _calls(call["requests"], at_s)
        else:
            yield at_s, call


def _session_files(path: Path) -> Iterator[tuple[str, Any]]:
    if path.is_dir():
        files = sorted(f for f in path.iterdir() if f.name.removesuffix(".gz").endswith(".json"))
        if not files:
            raise TraceError(f"{path} holds no .json or .json.gz files; name the folder of sessions")
        for file in files:
            with text_errors(file), open_bytes(file) as opened:
                yield str(file), _parsed(file.name, opened.read())
    elif path.name.endswith((".tar", ".tar.gz", ".tgz")):
        try:
            with tarfile.open(path) as archive:
                for member in sorted(archive.getmembers(), key=lambda m: m.name):
                    opened_member = archive.extractfile(member) if member.name.endswith(".json") else None
                    if opened_member is not None:
                        yield f"{path}, {member.name}", _parsed(member.name, opened_member.read())
        except (tarfile.TarError, OSError, EOFError) as error:
            raise TraceError(f"{path} cannot be read as a tar file ({error}); fetch it again") from error
    else:
        with text_errors(path), open_bytes(path) as opened:
            yield str(path), _parsed(path.name, opened.read())


def _parsed(name: str, data: bytes) -> Any:
    try:
        return json.loads(data)
    except ValueError as error:
        raise TraceError(f"{name} is not JSON ({error}); fetch it again") from error
