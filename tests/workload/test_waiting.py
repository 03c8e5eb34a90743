"""Traces whose turns wait for the answers before them, format by format, and as the user wishes."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from pydantic import ValidationError

from sim.errors import ScenarioError, TraceError
from sim.insight.traces.convert import convert
from sim.insight.traces.opened import open_trace
from sim.latency.linear import Linear
from sim.workload.spec import Workload
from sim.workload.table import RequestTable
from tests.serving import serve

STARTS = {"constant": {"rate_per_s": 1}}


def written(tmp_path: Path, rows: list[Any], name: str = "t.jsonl") -> Path:
    path = tmp_path / name
    path.write_text("\n".join(json.dumps(row) for row in rows))
    return path


def load(kind: str, path: Path, workload: dict[str, Any] | None = None, **options: Any) -> RequestTable:
    trace = {kind: {"path": str(path), **options}}
    return Workload.model_validate({"trace": trace, **(workload or {})}).table(1, Path())


def told(table: RequestTable) -> list[tuple[Any, ...]]:
    """(session's start, session, turn, pause, prompt) of every row."""
    assert table.sessions is not None and table.turns is not None and table.pause_s is not None
    columns = (table.arrival_s, table.sessions, table.turns, table.pause_s, table.prompt_tokens)
    return list(zip(*(column.tolist() for column in columns), strict=True))


def mooncake(prompt: int, **more: Any) -> dict[str, Any]:
    return {"input_length": prompt, "output_length": 1, **more}


MOONCAKE = [
    mooncake(1, session_id="a", timestamp=0),
    mooncake(2, session_id="b", timestamp=250),
    mooncake(3, session_id="a", delay=500),
    mooncake(4, timestamp=400),
    mooncake(5, session_id="b", delay=0),
    mooncake(6, session_id="c", timestamp=600),
    mooncake(7, session_id="c", timestamp=900, delay=40),
]


def test_mooncake_delays(tmp_path: Path) -> None:
    """Session c has times, so it keeps them: one turn, whose requests are sent so long after its start."""
    table = load("mooncake", written(tmp_path, MOONCAKE))
    assert told(table) == [
        (0, 0, 1, 0, 1), (0, 0, 2, 0.5, 3), (0.25, 1, 1, 0, 2), (0.25, 1, 2, 0, 5), (0.4, -1, 1, 0, 4),
        (0.6, 2, 1, 0, 6), (0.6, 2, 1, pytest.approx(0.3), 7),
    ]  # fmt: skip
    waiting = load("mooncake", written(tmp_path, MOONCAKE), wait=True)
    assert told(waiting)[-1] == (0.6, 2, 2, 0.04, 7)


def test_aiperf_delays_beside_texts(tmp_path: Path) -> None:
    rows = [
        {"timestamp": 0, "text_input": "abcd", "session_id": 1},
        {"delay": 3, "text_input": "abcdefgh", "session_id": 1},
    ]
    table = load("aiperf", written(tmp_path, [{**row, "output_length": 2} for row in rows]))
    assert told(table) == [(0, 0, 1, 0, 1), (0, 0, 2, 0.003, 2)]


def test_a_session_that_waits_waits_throughout(tmp_path: Path) -> None:
    rows = [*MOONCAKE[:3], mooncake(9, session_id="a", timestamp=700)]
    with pytest.raises(TraceError, match=r"request 3 .* brings no pause, as others of its session do"):
        load("mooncake", written(tmp_path, rows))


def test_llmservingsim_sessions(tmp_path: Path) -> None:
    calls = [
        {"input_toks": 10, "output_toks": 2, "tool_duration_ns": 2_500_000_000},
        {"input_toks": 20, "output_toks": 3},
    ]
    rows = [
        {"session_id": "s", "arrival_time_ns": 0, "sub_requests": calls},
        {"input_toks": 5, "output_toks": 1, "arrival_time_ns": 1_000_000_000},
        {"arrival_time_ns": 2_000_000_000, "sub_requests": calls},
    ]
    table = load("llmservingsim", written(tmp_path, rows))
    assert told(table) == [
        (0, 0, 1, 0, 10), (0, 0, 2, 2.5, 20), (1, -1, 1, 0, 5), (2, 1, 1, 0, 10), (2, 1, 2, 2.5, 20),
    ]  # fmt: skip
    rows[2]["sub_requests"] = [calls[0], {"input_toks": -1, "output_toks": 1}]
    with pytest.raises(TraceError, match="line 3: input_toks"):
        load("llmservingsim", written(tmp_path, rows))


def weka(*calls: dict[str, Any]) -> dict[str, Any]:
    return {"block_size": 64, "hash_id_scope": "local", "requests": list(calls)}


def call(t: float, prompt: int, **more: Any) -> dict[str, Any]:
    return {"t": t, "type": "n", "in": prompt, "out": 5, "hash_ids": [], **more}


def test_weka_waits_with_recorded_think_times(tmp_path: Path) -> None:
    """Two subagents run side by side (7 to 9 and 8 to 12); the parent goes on when both are done."""
    session = weka(
        call(0, 10, api_time=2.4, think_time=0),
        call(6, 20, api_time=1.0, think_time=4.0),
        {"t": 7, "type": "subagent", "requests": [call(0, 30, api_time=2.0)]},
        {"t": 8, "type": "subagent", "requests": [call(0, 40, api_time=4.0, think_time=9)]},
        call(15, 50, api_time=1.0),
    )
    path = tmp_path / "w.json"
    path.write_text(json.dumps(session))
    table = load("weka", path, {"arrivals": STARTS}, wait=True)
    assert told(table) == [(0, 0, 1, 0, 10), (0, 0, 2, 4, 20), (0, 0, 3, 0, 30), (0, 0, 3, 1, 40), (0, 0, 4, 3, 50)]
    assert load("weka", path, {"arrivals": STARTS}).arrival_s.tolist() == [0, 6, 7, 8, 15]


def test_sharegpt_waits(tmp_path: Path) -> None:
    said = [
        ("human", "a" * 40),
        ("gpt", "b" * 80),
        ("human", "c" * 20),
        ("gpt", "d" * 120),
        ("human", "e" * 4),
        ("gpt", "f" * 8),
    ]
    talk = {"id": "c", "conversations": [{"from": role, "value": value} for role, value in said]}
    path = tmp_path / "s.json"
    path.write_text(json.dumps([talk]))
    table = load("sharegpt", path, {"arrivals": STARTS}, turns="all", turn_gap=3, wait=True)
    assert told(table) == [(0, 0, 1, 0, 10), (0, 0, 2, 3, 35), (0, 0, 3, 3, 66)]
    # A turn that is too long is left out, and the one after it waits for the one before.
    cut = load("sharegpt", path, {"arrivals": STARTS}, turns="all", turn_gap=3, wait=True, max_prompt_tokens=40)
    assert told(cut) == [(0, 0, 1, 0, 10), (0, 0, 2, 3, 35)]


def test_think_times_where_the_file_tells_none(tmp_path: Path) -> None:
    rows = [
        {"arrival_s": at, "prompt_tokens": 10 + at, "output_tokens": 1, "session_id": name}
        for at, name in enumerate("abab")
    ]
    path = written(tmp_path, rows)
    fixed = {"fixed": {"time": "2s"}}
    table = load("jsonl", path, wait=True, think_time=fixed)
    assert told(table) == [(0, 0, 1, 0, 10), (0, 0, 2, 2, 12), (1, 1, 1, 0, 11), (1, 1, 2, 2, 13)]
    assert any("drawn think time" in note for note in table.notes)
    with pytest.raises(ScenarioError, match=r"does not tell how long after an answer.* give think_time"):
        load("jsonl", path, wait=True)
    with pytest.raises(ValidationError, match="it needs wait: true"):
        load("jsonl", path, think_time=fixed)
    alone = written(tmp_path, [{k: v for k, v in row.items() if k != "session_id"} for row in rows], "alone.jsonl")
    with pytest.raises(TraceError, match="tells no sessions"):
        load("jsonl", alone, wait=True, think_time=fixed)


@pytest.mark.parametrize("to", ["jsonl", "csv"])
def test_converted_and_read_again(tmp_path: Path, to: Any) -> None:
    """Turns, pauses and requests side by side survive, with all that prompts share where the format can hold it."""
    said = [{"arrival_s": 0, "session_id": 1, "turn": turn, "pause_s": pause, "prompt_tokens": 9, "output_tokens": 2}
            for turn, pause in ((1, 0), (2, 1.5), (2, 2), (3, 0))]  # fmt: skip
    first = open_trace(written(tmp_path, said), "jsonl").table
    assert [(turn, pause) for _, _, turn, pause, _ in told(first)] == [(1, 0), (2, 1.5), (2, 2), (3, 0)]
    out = tmp_path / f"again.{to}"
    convert(first, to, out)
    assert told(open_trace(out, to).table) == told(first)


def test_wrong_pauses(tmp_path: Path) -> None:
    row = {"arrival_s": 0, "prompt_tokens": 9, "output_tokens": 2}
    for more, message in (
        ({"session_id": 1, "pause_s": -1}, "line 1: pause_s is -1, not a time of at least 0"),
        ({"session_id": 1, "pause_s": 0, "turn": 0.5}, "line 1: turn is 0.5, not 1, 2"),
        ({"pause_s": 3}, "waits for an answer names no session"),
    ):
        with pytest.raises(TraceError, match=message):
            load("jsonl", written(tmp_path, [{**row, **more}]))


def test_a_waiting_trace_is_jittered_by_session(tmp_path: Path) -> None:
    table = load("mooncake", written(tmp_path, MOONCAKE), jitter="1s")
    table.check()
    starts = table.arrival_s[table.session_begins()]
    assert len(set(starts.tolist())) == 4 and (np.diff(starts) > 0).all()


def test_a_waiting_trace_runs(tmp_path: Path) -> None:
    """Steps of a second: a's first answer is there at 1, so its second turn is sent at 1.5."""
    table = load("mooncake", written(tmp_path, MOONCAKE[:3]))
    record = serve(table, Linear(1.0, 0, 0).build())
    assert record.requests["arrival_s"].tolist() == [0, 0.25, 1.5]
    assert record.requests["session"].tolist() == [0, 1, 0]
