"""Single requests: all of them as points, and the slowest as lives and rows."""

from collections.abc import Iterator

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from sim.export.page import charts
from sim.report import markup
from sim.report.colours import AMBER, BLUE, FAINT, GREEN, ORANGE, PURPLE, SKY
from sim.report.words import count, duration

MOST_POINTS = 3000
"""Requests that are drawn when there are more, beside the slowest."""
_SLOWEST_KEPT = 300
_LIVES = 30
_ROWS = 15
_COLOURS = (BLUE, ORANGE, GREEN, PURPLE, AMBER, SKY, FAINT)
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
        name: (_COLOURS[i % len(_COLOURS)], np.flatnonzero(names == name).tolist())
        for i, name in enumerate(dict.fromkeys(names.tolist()))
    }
    texts = [
        f"request {one}: {prompt} + {output} tokens, replica {replica}"
        for one, prompt, output, replica in zip(
            rows["id"], rows["prompt_tokens"], rows["generated_tokens"], rows["replica"], strict=True
        )
    ]
    columns = {label: charts.numbers(rows[name]) for label, name in _COLUMNS.items()}
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
    """A table of the requests with the longest TTFT."""
    rows = requests[requests["ttft_s"].notna()].nlargest(_ROWS, "ttft_s")
    headers = (
        "longest TTFT",
        "arrival",
        "prompt",
        "cached",
        "output",
        "queue wait",
        "TTFT",
        "TPOT",
        "E2E",
        "preempted",
    )
    names = ("queue_wait_s", "ttft_s", "tpot_s", "e2e_s")
    return markup.table(
        (*headers, "replica"),
        (
            [
                f"request {row['id']}", duration(row["arrival_s"]), count(row["prompt_tokens"]),
                count(row["cached_tokens"]), count(row["generated_tokens"]), *(duration(row[name]) for name in names),
                count(row["preemptions"]), str(row["replica"]),
            ]
            for row in rows.to_dict("records")
        ),
    )  # fmt: skip
