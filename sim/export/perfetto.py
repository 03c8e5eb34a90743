"""A run as a timeline for Perfetto (https://ui.perfetto.dev): the Chrome trace event format, in JSON.

Replicas are processes, runs of like steps slices with their composition as arguments; requests are asynchronous
slices of the replicas that served them, and flows through the steps where each began, got its first token, and ended.
Format: "Trace Event Format", Google, 2016; times are microseconds. Perfetto takes process 0 for the idle one, a thread
with its process's number for the main one, and draws asynchronous slices below their process if `id2` says local.
"""

import gzip
import json
import math
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from sim.errors import ServecastError
from sim.export.saved import SavedRun, began_on
from sim.report.folder import write_whole

Event = dict[str, Any]

MOST_EVENTS = 200_000
_PER_SLICE, _PER_REQUEST = 4, 11
_CLUSTER, _FIRST = 1, 1000  # processes: the cluster, and the first replica
_SUMMED = (
    "steps", "prefills", "prefill_tokens", "decode_tokens", "recomputed_tokens", "padding_tokens", "preempted", "rows",
)  # fmt: skip
_SECONDS = ("host_s", "comm_s", "transfer_s")
_LAST = ("running", "kv_used_blocks", "decodes")


def timeline_events(
    run: SavedRun, *, start_s: float = 0.0, duration_s: float = math.inf, most_events: int = MOST_EVENTS
) -> tuple[list[Event], list[str]]:
    """The events of a part of a run, and what to say of what was thinned out so that there are about `most_events`.

    Neighbouring steps of a replica are drawn as one slice, with sums as arguments, and every n-th request is kept.
    Raises ServecastError where nothing happens in that part.
    """
    end_s = start_s + duration_s
    steps = run.steps[(run.steps["end_s"] > start_s) & (run.steps["start_s"] < end_s)]
    leave = run.requests["finish_s"].fillna(np.inf)
    requests = run.requests[(leave > start_s) & (run.requests["arrival_s"] < end_s) & (run.requests["replica"] >= 0)]
    if steps.empty:
        raise ServecastError(f"no step runs in that part: the run lasts {run.summary['makespan_s']:.4g} s")
    together = max(1, math.ceil(len(steps) * _PER_SLICE / (most_events / 2)))
    slices = _slices(steps, together)
    each = max(1, math.ceil(len(requests) * _PER_REQUEST / (most_events / 2)))
    kept = requests.iloc[::each]
    notes = []
    if together > 1:
        notes.append(f"{len(steps):,} rows of steps are drawn as {len(slices):,} slices, up to {together} in one")
    if each > 1:
        notes.append(f"one request in {each} is drawn, {len(kept):,} of {len(requests):,}")
    if notes:
        notes.append("a shorter part (--start, --duration) or more --events shows more")
    shown = run.timeline[
        (run.timeline["time_s"] + run.timeline["width_s"] > start_s) & (run.timeline["time_s"] < end_s)
    ]
    events = [
        *_names(slices, kept),
        *_cluster_counters(shown),
        *(event for _, mine in slices.groupby("replica") for event in _replica(mine, run.requests)),
        *_requests(kept),
        *_flows(kept, slices),
    ]
    return events, notes


def write_timeline(
    run: SavedRun, path: Path, *, start_s: float = 0.0, duration_s: float = math.inf, most_events: int = MOST_EVENTS
) -> list[str]:
    """Write the timeline, compressed if the name ends in .gz; returns what to say of it."""
    events, notes = timeline_events(run, start_s=start_s, duration_s=duration_s, most_events=most_events)
    told = {
        "run": run.name,
        "servecast": run.summary["made_with"]["versions"]["servecast"],
        "thinned": "; ".join(notes),
    }
    trace = {"displayTimeUnit": "ms", "otherData": told, "traceEvents": events}
    text = json.dumps(trace, ensure_ascii=False, allow_nan=False, separators=(",", ":")).encode()
    write_whole(path, gzip.compress(text, 6, mtime=0) if path.suffix == ".gz" else text)
    return notes


def _slices(steps: pd.DataFrame, together: int) -> pd.DataFrame:
    """One row per slice: `together` neighbouring rows of a replica, but never over a gap as long as a slice."""
    rows = steps.sort_values(["replica", "start_s"], kind="stable").reset_index(drop=True)
    lasting = (rows["end_s"] - rows["start_s"]).to_numpy()
    new = np.ones(len(rows), dtype=bool)
    replica = rows["replica"].to_numpy()
    gap = rows["start_s"].to_numpy()[1:] - rows["end_s"].to_numpy()[:-1]
    new[1:] = (replica[1:] != replica[:-1]) | (gap > together * lasting.mean())
    first = np.flatnonzero(new)
    since = np.arange(len(rows)) - np.repeat(first, np.diff(np.append(first, len(rows))))
    begins = np.flatnonzero(since % together == 0)
    last = np.append(begins[1:], len(rows)) - 1
    per_step = rows["steps"]
    rows = rows.assign(
        rows=1,
        decode_tokens=rows["decodes"] * per_step,
        prefill_tokens=rows["prefill_tokens"] * per_step,
        padding_tokens=rows["padding_tokens"] * per_step,
        **{name: rows[name] * per_step for name in ("host_s", "comm_s")},
    )
    found: dict[str, NDArray[Any]] = {
        "replica": replica[begins],
        "start_s": rows["start_s"].to_numpy()[begins],
        "end_s": rows["end_s"].to_numpy()[last],
    }
    for name in (*_SUMMED, *_SECONDS):
        found[name] = np.add.reduceat(rows[name].to_numpy(), begins)
    found |= {name: rows[name].to_numpy()[last] for name in _LAST}
    return pd.DataFrame(found)


def _names(slices: pd.DataFrame, requests: pd.DataFrame) -> Iterator[Event]:
    yield _meta(_CLUSTER, "process_name", name="cluster")
    for replica in np.unique(np.concatenate([slices["replica"], requests["replica"], began_on(requests)])).tolist():
        pid = _process(replica)
        yield _meta(pid, "process_name", name=f"replica {int(replica)}")
        yield _meta(pid, "process_sort_index", sort_index=pid)
        yield _meta(pid, "thread_name", name="steps")


def _process(replica: float) -> int:
    return _FIRST + int(replica)


def _meta(pid: int, what: str, **args: Any) -> Event:
    return {"ph": "M", "pid": pid, "tid": pid, "name": what, "args": args}


def _cluster_counters(timeline: pd.DataFrame) -> Iterator[Event]:
    """Queue, batch and KV of all replicas, as means over the timeline's buckets."""
    levels = (
        ("waiting", "requests", timeline["queue_depth"]),
        ("running", "requests", timeline["running"]),
        ("KV in use", "%", timeline["kv_used_fraction"] * 100),
    )
    for name, unit, values in levels:
        for at, value in zip(timeline["time_s"].tolist(), values.tolist(), strict=True):
            yield _counter(_CLUSTER, name, unit, at, round(value, 4))


def _replica(slices: pd.DataFrame, requests: pd.DataFrame) -> Iterator[Event]:
    """Steps and levels of one replica: KV as of a slice's last step, the queue counted over all its requests."""
    replica = slices["replica"].iloc[0]
    pid = _process(replica)
    mine = requests[(began_on(requests) == replica) & requests["scheduled_s"].notna()]
    starts = slices["start_s"].to_numpy()
    queue = np.searchsorted(np.sort(mine.get("sent_s", mine["arrival_s"])), starts, "right")
    queue = queue - np.searchsorted(np.sort(mine["scheduled_s"]), starts, "right")
    then = np.append(starts[1:], np.inf)
    held_on = "prefill_replica" in requests  # a prompt's KV stays until the replica that decodes has it
    for row, waiting, after in zip(slices.to_dict("records"), np.maximum(queue, 0).tolist(), then, strict=True):
        kind = (
            "mixed"
            if row["prefill_tokens"] and row["decode_tokens"]
            else "prefill"
            if row["prefill_tokens"]
            else "decode"
        )
        args = {name: row[name] for name in (*_SUMMED, *_LAST)}
        args |= {f"{name[:-2]}_ms": round(row[name] * 1e3, 6) for name in _SECONDS}
        yield {
            "ph": "X", "pid": pid, "tid": pid, "ts": _us(row["start_s"]), "name": kind, "cat": "step",
            "dur": round(_us(row["end_s"]) - _us(row["start_s"]), 3), "args": args,
        }  # fmt: skip
        yield _counter(pid, "waiting", "requests", row["start_s"], waiting)
        yield _counter(pid, "running", "requests", row["start_s"], row["running"])
        yield _counter(pid, "KV", "blocks", row["start_s"], row["kv_used_blocks"])
        if after > row["end_s"] + 1e-9:
            yield _counter(pid, "running", "requests", row["end_s"], 0)
            if not held_on:
                yield _counter(pid, "KV", "blocks", row["end_s"], 0)


def _requests(requests: pd.DataFrame) -> Iterator[Event]:
    """What each request did, where it did it: waiting, prefill, decode; what never ended ends where its last part does.

    One that is handed over is drawn twice, with its parts on either side.
    """
    for row, began in zip(requests.to_dict("records"), began_on(requests).tolist(), strict=True):
        moments = [row[name] for name in ("arrival_s", "scheduled_s", "first_token_s", "finish_s")]
        args = {name: row[name] for name in ("prompt_tokens", "generated_tokens", "cached_tokens", "preemptions")}
        args |= {"request": row["id"], "status": str(row["status"]), "tenant": str(row["tenant"])}
        parts = [("waiting", *moments[:2]), ("prefill", *moments[1:3])]
        after = [("decode", *moments[2:])]
        if (taken := row.get("decode_scheduled_s", math.nan)) == taken:
            after = [("KV transfer and wait", moments[2], taken), ("decode", taken, moments[3])]
        if began == row["replica"]:
            yield from _request(began, args, moments, parts + after)
        else:
            yield from _request(began, args, moments[:3], parts)
            yield from _request(row["replica"], args, moments[2:], after)


def _request(
    replica: float, args: Event, moments: Sequence[float], parts: Sequence[tuple[str, float, float]]
) -> Iterator[Event]:
    """A request's time at one replica, and in it its parts there."""
    pid = _process(replica)
    known = [at for at in moments if at == at]
    both = {"cat": "request", "id2": {"local": str(args["request"])}, "pid": pid, "tid": pid}
    yield both | {"ph": "b", "name": "request", "ts": _us(known[0]), "args": args}
    for name, begin, end in parts:
        if begin == begin and end == end:
            yield both | {"ph": "b", "name": name, "ts": _us(begin)}
            yield both | {"ph": "e", "name": name, "ts": _us(end)}
    yield both | {"ph": "e", "name": "request", "ts": _us(known[-1])}


def _flows(requests: pd.DataFrame, slices: pd.DataFrame) -> Iterator[Event]:
    """Arrows from the slice where a request began through that of its first token to that of its last."""
    served = requests[requests["finish_s"].notna() & requests["first_token_s"].notna()]
    columns = [
        began_on(served),
        served["replica"],
        *(served[name] for name in ("scheduled_s", "first_token_s", "finish_s")),
    ]
    known = {one: slices[slices["replica"] == one] for one in slices["replica"].unique().tolist()}
    spans = {one: (rows["start_s"].to_numpy(), rows["end_s"].to_numpy()) for one, rows in known.items()}
    for number, *facts in zip(served["id"].tolist(), *(column.tolist() for column in columns), strict=True):
        began, ended, scheduled, first, last = facts
        if began not in spans or ended not in spans:
            continue
        places = [
            (began, int(np.searchsorted(spans[began][0], scheduled, "right")) - 1),
            # a token is there when its step has ended, or a little later, when the client has it
            (began, int(np.searchsorted(spans[began][1], first + 1e-9, "right")) - 1),
            (ended, int(np.searchsorted(spans[ended][1], last + 1e-9, "right")) - 1),
        ]
        path = [(one, max(place, 0)) for one, place in places]
        path = sorted(dict.fromkeys(path), key=lambda at: sum(float(times[at[1]]) for times in spans[at[0]]))
        for index, (one, place) in enumerate(path if len(path) > 1 else ()):
            phase = "s" if index == 0 else "f" if index == len(path) - 1 else "t"
            pid = _process(one)
            flow = {"ph": phase, "cat": "request", "name": "request", "id": number, "pid": pid, "tid": pid}
            middle = (spans[one][0][place] + spans[one][1][place]) / 2
            yield flow | {"ts": _us(middle)} | ({"bp": "e"} if phase == "f" else {})


def _counter(pid: int, name: str, unit: str, at_s: float, value: float) -> Event:
    """A level; Perfetto's name of it is both names together."""
    return {"ph": "C", "pid": pid, "tid": pid, "name": name, "ts": _us(at_s), "args": {unit: value}}


def _us(seconds: float) -> float:
    return round(float(seconds) * 1e6, 3)
