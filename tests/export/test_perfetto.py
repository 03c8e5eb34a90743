"""The timeline for Perfetto: the trace event format's rules, and a run worked out by hand."""

import gzip
import json
import math
from collections import Counter, defaultdict
from itertools import pairwise
from pathlib import Path

import pytest

import sim
from sim.errors import ServecastError
from sim.export.perfetto import timeline_events, write_timeline
from sim.export.saved import SavedRun, saved_run
from tests.commands import servecast
from tests.export import results

_REQUIRED = {
    "M": {"pid", "name", "args"},
    "X": {"pid", "tid", "ts", "dur", "name", "cat", "args"},
    "C": {"pid", "ts", "name", "args"},
    "b": {"pid", "ts", "id2", "cat", "name"},
    "e": {"pid", "ts", "id2", "cat", "name"},
    **{phase: {"pid", "tid", "ts", "id", "cat", "name"} for phase in "stf"},
}
"""Fields that each phase needs, by the Trace Event Format."""

_NEVER = {"M": {"ts", "dur"}, **{phase: {"dur"} for phase in "Cbestf"}}


@pytest.fixture(scope="module")
def run() -> SavedRun:
    return saved_run(results.run())


def check_format(events: list[dict]) -> None:
    """Fields, nesting, matching ends, and flows that start and end inside slices."""
    slices = defaultdict(list)
    open_parts: dict[tuple, list[str]] = defaultdict(list)
    last = defaultdict(lambda: -1.0)
    flows = defaultdict(list)
    for event in events:
        assert set(event) >= _REQUIRED[event["ph"]] and not set(event) & _NEVER.get(event["ph"], set()), event
        assert event["pid"] > 0 and event["tid"] == event["pid"]  # to Perfetto: no idle process, and the main thread
        assert event.get("ts", 0.0) >= 0
        if event["ph"] == "X":
            assert event["dur"] >= 0
            slices[event["pid"], event["tid"]].append((event["ts"], event["ts"] + event["dur"]))
        if event["ph"] in "be":
            assert set(event["id2"]) == {"local"}  # or Perfetto draws it beside all processes
            key = (event["cat"], event["pid"], event["id2"]["local"])
            assert event["ts"] >= last[key]
            last[key] = event["ts"]
            if event["ph"] == "b":
                open_parts[key].append(event["name"])
            else:
                assert open_parts[key].pop() == event["name"]
        if event["ph"] == "C":
            (value,) = event["args"].values()
            assert isinstance(value, int | float)
        if event["ph"] in "stf":
            flows[event["id"]].append(event)
    assert not any(open_parts.values())
    for mine in slices.values():
        mine.sort()
        assert all(a[1] <= b[0] + 0.002 for a, b in pairwise(mine))  # times are rounded to 1 ns
    for path in flows.values():
        assert [path[0]["ph"], path[-1]["ph"]] == ["s", "f"]
        assert [event["ts"] for event in path] == sorted(event["ts"] for event in path)
        for event in path:
            assert any(begin <= event["ts"] <= end for begin, end in slices[event["pid"], event["tid"]])


def test_the_events_follow_the_format(run: SavedRun) -> None:
    events, notes = timeline_events(run)
    check_format(events)
    assert notes == []
    assert json.loads(json.dumps(events, allow_nan=False)) == events


def test_nothing_is_lost_or_told_twice(run: SavedRun) -> None:
    for most in (200_000, 500):
        events, _ = timeline_events(run, most_events=most)
        steps = [event["args"] for event in events if event["ph"] == "X"]
        assert sum(step["steps"] for step in steps) == run.summary["engine_steps"]
        assert sum(step["rows"] for step in steps) == len(run.steps)
        prompts = run.requests["prompt_tokens"].sum() - run.requests["cached_tokens"].sum()
        assert sum(step["prefill_tokens"] for step in steps) == prompts
        decoded = run.requests["generated_tokens"].sum() - len(run.requests)
        assert sum(step["decode_tokens"] for step in steps) == decoded


def test_a_lone_request_is_drawn_as_worked_out_by_hand() -> None:
    """1 ms a step and 0.1 ms a token: the prompt of 100 takes 11 ms, then 1.1 ms for each further token."""
    result = sim.run(
        {
            "model": "llama-3.1-8b",
            "cluster": {"gpu": "h100-sxm"},
            "latency": {"linear": {"base_s": 0.001, "per_prefill_token_s": 0.0001, "per_decode_s": 0.0001}},
            "engine": {"async_scheduling": False, "host_request_s": 0, "host_output_s": 0},
            "workload": {
                "arrivals": "all_at_once",
                "prompt_tokens": {"fixed": {"tokens": 100}},
                "output_tokens": {"fixed": {"tokens": 3}},
                "requests": 1,
            },
        }
    )
    events, _ = timeline_events(saved_run(result))
    steps = [(e["name"], e["ts"], e["dur"], e["args"]["steps"]) for e in events if e["ph"] == "X"]
    assert steps == [
        ("prefill", 0.0, pytest.approx(11_000), 1),
        ("decode", pytest.approx(11_000), pytest.approx(2_200), 2),
    ]
    parts = [(e["ph"], e["name"], e["ts"]) for e in events if e["ph"] in "be"]
    ends = pytest.approx(13_200)
    assert parts == [
        ("b", "request", 0.0), ("b", "waiting", 0.0), ("e", "waiting", 0.0), ("b", "prefill", 0.0),
        ("e", "prefill", pytest.approx(11_000)), ("b", "decode", pytest.approx(11_000)), ("e", "decode", ends),
        ("e", "request", ends),
    ]  # fmt: skip
    assert [(e["ph"], e["ts"]) for e in events if e["ph"] in "sf"] == [
        ("s", pytest.approx(5_500)), ("f", pytest.approx(12_100)),
    ]  # fmt: skip
    levels = [(e["ts"], *e["args"].items()) for e in events if e["ph"] == "C" and e["name"] == "KV"]
    blocks = math.ceil(102 / 16)  # the prompt and two tokens, the third is never computed
    assert levels == [
        (0.0, ("blocks", blocks)), (pytest.approx(11_000), ("blocks", blocks)), (ends, ("blocks", 0)),
    ]  # fmt: skip


def test_perfetto_finds_requests_below_the_replicas_that_served_them(run: SavedRun) -> None:
    events, _ = timeline_events(run)
    names = {event["pid"]: event["args"]["name"] for event in events if event["name"] == "process_name"}
    where = {e["args"]["request"]: names[e["pid"]] for e in events if e["ph"] == "b" and e["name"] == "request"}
    assert where == {row.id: f"replica {row.replica}" for row in run.requests.itertuples()}


def test_large_runs_are_thinned_and_say_so(run: SavedRun) -> None:
    events, notes = timeline_events(run, most_events=500)
    check_format(events)
    kinds = Counter(event["ph"] for event in events)
    assert kinds["X"] < len(run.steps)
    assert len(events) - kinds["M"] < 2 * 500
    assert "rows of steps are drawn as" in notes[0]
    assert "one request in 3 is drawn, 20 of 60" in notes[1]


def test_a_part_of_a_run(run: SavedRun) -> None:
    whole, _ = timeline_events(run)
    part, _ = timeline_events(run, start_s=0.5, duration_s=0.25)
    check_format(part)
    steps = [event for event in part if event["ph"] == "X"]
    inside = [
        event for event in whole if event["ph"] == "X" and event["ts"] + event["dur"] > 5e5 and event["ts"] < 7.5e5
    ]
    assert len(steps) == len(inside) > 0
    with pytest.raises(ServecastError, match="no step runs in that part"):
        timeline_events(run, start_s=1e6)


def test_the_verb_writes_a_compressed_file_of_the_same_bytes(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    results.run().save(tmp_path / "out")
    target = tmp_path / "t.json.gz"
    assert servecast(monkeypatch, "timeline", str(tmp_path / "out"), "--out", str(target), "--events", "1000") == 0
    printed, complained = capsys.readouterr()
    assert "ui.perfetto.dev" in printed
    trace = json.loads(gzip.decompress(target.read_bytes()))
    check_format(trace["traceEvents"])
    assert trace["otherData"]["thinned"].split(";")[0] in complained
    before = target.read_bytes()
    write_timeline(saved_run(results.run()), target, most_events=1000)
    again = json.loads(gzip.decompress(target.read_bytes()))
    assert again["traceEvents"] == trace["traceEvents"]
    servecast(monkeypatch, "timeline", str(tmp_path / "out"), "--out", str(target), "--events", "1000", "-q")
    assert target.read_bytes() == before
