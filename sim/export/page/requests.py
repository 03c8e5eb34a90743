"""Single requests: all of them as points, and the slowest as lives and rows."""

import math
from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from sim.export.page import charts
from sim.report import markup
from sim.report.colours import BLUE, ORANGE, SKY
from sim.report.words import count, duration

MOST_POINTS = 3000
"""Requests that are drawn when there are more, beside the slowest."""
_SLOWEST_KEPT = 300
_LIVES = 30
_ROWS = 12
_WORTH = 0.05
"""A part of a request's time that is worth a word, as a share of it."""
_COLUMNS = {
    "arrival [s]": "arrival_s",
    "prompt tokens": "prompt_tokens",
    "output tokens": "generated_tokens",
    "cached tokens": "cached_tokens",
    "TTFT [s]": "ttft_s",
    "TPOT [s]": "tpot_s",
    "E2E [s]": "e2e_s",
    "queue wait [s]": "queue_wait_s",
}
_X, _Y = list(_COLUMNS)[:4], list(_COLUMNS)[4:]


def thinned(requests: pd.DataFrame) -> tuple[pd.DataFrame, str]:
    """The requests to draw, and what to say of those left out: evenly picked, and the slowest, which one looks for."""
    if len(requests) <= MOST_POINTS + _SLOWEST_KEPT:
        return requests, ""
    even = np.linspace(0, len(requests) - 1, MOST_POINTS).astype(int)
    ranked: NDArray[np.int64] = np.argsort(-requests["ttft_s"].fillna(-1.0).to_numpy(), kind="stable")
    rows = requests.iloc[np.union1d(even, ranked[:_SLOWEST_KEPT])]
    return rows, (
        f"{count(len(rows))} of {count(len(requests))} requests are drawn: every "
        f"{len(requests) / MOST_POINTS:.3g}th by arrival, and the {_SLOWEST_KEPT} with the longest TTFT"
    )


def explore_requests(requests: pd.DataFrame) -> str:
    """All requests as points, coloured by tenant where there are several, else by how they ended."""
    rows, note = thinned(requests)
    if rows.empty:
        return ""
    by = "tenant" if rows["tenant"].nunique() > 1 else "status"
    names = rows[by].astype(str).to_numpy()
    groups = {
        name: (charts.nth(i)["colour"], np.flatnonzero(names == name).tolist())
        for i, name in enumerate(dict.fromkeys(names.tolist()))
    }
    texts = [f"#{one}, replica {replica}" for one, replica in zip(rows["id"], rows["replica"], strict=True)]
    columns = {label: charts.numbers(rows[name], digits=4) for label, name in _COLUMNS.items()}
    return charts.explorer("Every request", columns, x=_X, y=_Y, groups=groups, texts=texts, linear=_X[:1], note=note)


def slowest_lives(requests: pd.DataFrame) -> Iterator[str]:
    """What the requests with the longest E2E did with their time: wait, prefill, decode."""
    done = requests[requests["e2e_s"].notna() & requests["scheduled_s"].notna()]
    rows = done.nlargest(_LIVES, "e2e_s").sort_values("arrival_s")
    if rows.empty:
        return
    names = [f"#{one}" for one in rows["id"]]
    parts = {
        "waiting": (ORANGE, rows["arrival_s"], rows["scheduled_s"]),
        "prefill": (BLUE, rows["scheduled_s"], rows["first_token_s"]),
        "decode": (SKY, rows["first_token_s"], rows["finish_s"]),
    }
    traces = [
        {
            "type": "bar", "orientation": "h", "name": name, "y": names, "base": charts.numbers(begin),
            "x": charts.numbers(end - begin), "marker": {"color": colour},
            "hovertemplate": f"{name} %{{x:.3g}} s<extra>%{{y}}</extra>",
        }
        for name, (colour, begin, end) in parts.items()
    ]  # fmt: skip
    made = charts.figure("lives", traces, "time [s]", barmode="overlay", yaxis={"type": "category", "dtick": 5})
    yield charts.chart("The slowest requests", made)


def slowest(requests: pd.DataFrame) -> str:
    """Tables of the requests with the longest TTFT and with the longest E2E, and what took so long."""
    return _table(requests, "ttft_s", "longest TTFT") + _table(requests, "e2e_s", "longest E2E")


def _table(requests: pd.DataFrame, column: str, caption: str) -> str:
    rows = requests[requests[column].notna() & requests["scheduled_s"].notna()].nlargest(_ROWS, column)
    if rows.empty:
        return ""
    headers = ("request", "why", "arrival", "prompt", "cached", "output", "TTFT", "TPOT", "E2E", "preempted", "replica")
    told = (
        [
            f"{row['id']}", why(row, until=column), duration(row["arrival_s"]), count(row["prompt_tokens"]),
            count(row["cached_tokens"]), count(row["generated_tokens"]),
            *(duration(row[name]) for name in ("ttft_s", "tpot_s", "e2e_s")), count(row["preemptions"]),
            str(row["replica"]),
        ]
        for row in rows.to_dict("records")
    )  # fmt: skip
    return markup.table(headers, told, words=2, caption=f"The {len(rows)} requests with the {caption}")


def why(row: Mapping[Any, Any], until: str = "ttft_s") -> str:
    """What a request's time until its first token (or its end, `e2e_s`) went to, the most first, and what befell it."""
    sent_s = row.get("sent_s", row["arrival_s"])
    parts = {
        "sent again": sent_s - row["arrival_s"],
        "queued": row["scheduled_s"] - sent_s,
        f"prefill of {count(row['prompt_tokens'] - row['cached_tokens'])} tokens": row["first_token_s"]
        - row["scheduled_s"],
    }
    if until == "e2e_s":
        moved = row.get("decode_scheduled_s", math.nan) - row["first_token_s"]
        moved = moved if moved > 0 else 0.0
        parts["handed over"] = moved
        parts[f"decode of {count(row['generated_tokens'])} tokens"] = row["finish_s"] - row["first_token_s"] - moved
    whole = row[until] or math.inf
    shares = sorted(((took / whole, name) for name, took in parts.items() if took >= _WORTH * whole), reverse=True)
    told = [f"{share:.0%} {name}" for share, name in shares]
    befell = {
        "preempted": row["preemptions"], "tokens computed again": row["recomputed_tokens"], "sent on": row["requeues"],
    }  # fmt: skip
    for name, times in befell.items():
        if times:
            told.append(f"{name} {times}x" if name != "tokens computed again" else f"{count(times)} {name}")
    return ", ".join(told)
