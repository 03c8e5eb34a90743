"""The timelines in the docstrings of sim/batching are what the policies do, cell by cell.

A drawing begins with a line `requests: A prompt 4, answer 3; B ...`, in which `comes during step N` is an arrival, and
rows under `step`; p is padding. Words before the row's letter name a variant of the policy.
"""

import importlib
import re
from typing import Any, NamedTuple

import pytest

from sim.choice import options
from sim.request import Request
from tests.engine.test_batching import replica, run

SETTINGS: dict[str, list[dict[str, tuple[dict[str, Any], dict[str, Any]]]]] = {
    "dynamic_window": [{"": ({"preferred_batch_sizes": (2,), "max_queue_delay": 1.0}, {})}],
    "one_at_a_time": [{"": ({}, {})}],
    "orca": [{"": ({}, {"max_num_seqs": 2})}],
    "prefill_first": [{"": ({}, {})}],
    "sarathi": [{
        "": ({"chunk_tokens": 4}, {}),
        "hybrid: false": ({"chunk_tokens": 4, "hybrid": False}, {}),
        "chunked: false": ({"chunk_tokens": 4, "chunked": False}, {}),
    }],
    "sglang": [
        {"": ({"chunked_prefill_size": 8}, {})},
        {"": ({"schedule_conservativeness": 0.0}, {"block_size": 1, "num_gpu_blocks": 14})},
    ],
    "static": [{"": ({"batch_size": 2}, {})}],
    "tensorrt_llm": [{
        policy: ({"capacity_scheduler_policy": policy}, {"block_size": 1, "num_gpu_blocks": 10})
        for policy in ("guaranteed_no_evict", "max_utilization")
    }],
    "tgi": [{"": ({"waiting_served_ratio": 2}, {})}],
    "vllm_v1": [{"": ({}, {"max_num_batched_tokens": 8})}, {"": ({}, {"num_gpu_blocks": 5})}],
}  # fmt: skip
"""What each drawing's words say in parameters of the policy and limits of the engine, by drawing and variant."""


def _settings(name: str) -> list[dict[str, tuple[dict[str, Any], dict[str, Any]]]]:
    return SETTINGS.get(name, [{"": ({}, {})}])


class Drawing(NamedTuple):
    requests: list[tuple[int, int]]
    arrivals: dict[int, int]
    rows: dict[str, list[str]]  # by variant, one per request: tokens by step


def drawings(name: str) -> list[Drawing]:
    """The timelines in a policy's docstring."""
    text = importlib.import_module(f"sim.batching.{name}").__doc__ or ""
    return [_drawing(part) for part in text.split("    requests: ")[1:]]


def _drawing(text: str) -> Drawing:
    head, table = re.split(r"^ *step ", text, maxsplit=1, flags=re.MULTILINE)
    requests, arrivals = [], {}
    for index, found in enumerate(re.finditer(r"prompt (\d+), answer (\d+)(?:, comes during step (\d+))?", head)):
        requests.append((int(found[1]), int(found[2])))
        if found[3]:
            arrivals[index] = int(found[3]) + 1
    header, *lines = table.splitlines()
    columns = [found.end() for found in re.finditer(r"\d+", " " * len("    step ") + header)]
    rows: dict[str, list[str]] = {}
    variant = ""
    for line in lines:
        row = re.match(r" *(?P<variant>[a-z_]+(?:: false)?)? +(?P<letter>[A-Z])(?= )", line[: columns[0]])
        if row is None:
            continue
        variant = row["variant"] or variant
        cells = [line[column - 2 : column].strip() or "." for column in columns]
        rows.setdefault(variant, []).append(" ".join("." if cell == "p" else cell for cell in cells))
    return Drawing(requests, arrivals, rows)


@pytest.mark.parametrize("name", options("sim.batching"))
def test_every_policy_does_what_is_drawn(name: str) -> None:
    drawn = drawings(name)
    assert len(drawn) == len(_settings(name)) > 0
    for drawing, settings in zip(drawn, _settings(name), strict=True):
        assert set(drawing.rows) == set(settings)
        for variant, (parameters, limits) in settings.items():
            for group_decodes in (True, False):
                requests = [Request(id, 0.0, *lengths) for id, lengths in enumerate(drawing.requests)]
                engine = replica(options("sim.batching")[name](**parameters), group_decodes, **limits)
                done = [row.rstrip(" .") for row in run(engine, requests, drawing.arrivals)[0]]
                assert done == [row.rstrip(" .") for row in drawing.rows[variant]], variant
