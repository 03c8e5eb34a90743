"""The engine against a plain second implementation of the scheduler's rules, on random traces."""

import io
import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from sim.lockstep import lockstep
from tests.lockstep.naive import Scheduler, StuckError

LONGEST = 120


@st.composite
def traces(draw: st.DrawFn) -> tuple[list[dict[str, Any]], dict[str, Any]]:
    """Few requests and little memory; prompts share groups, repeat each other and quote earlier answers."""
    block = draw(st.sampled_from([1, 4, 8, 16]))
    chunked = draw(st.sampled_from([True, True, True, False]))
    config = {
        "block_size": block,
        "max_model_len": LONGEST,
        "num_gpu_blocks": 1 + -(-LONGEST // block) + draw(st.sampled_from([0, 1, 30 // block, 1000])),
        "max_num_seqs": draw(st.sampled_from([1, 3, 16])),
        "max_num_batched_tokens": draw(st.sampled_from([1, 8, 33, 256])) if chunked else LONGEST,
        "policy": draw(st.sampled_from(["fcfs", "priority"])),
        "enable_chunked_prefill": chunked,
        "enable_prefix_caching": draw(st.sampled_from([True, True, True, False])),
        "long_prefill_token_threshold": draw(st.sampled_from([0, 0, 1, 16])),
        "long_prefill_token_threshold_adaptive": draw(st.booleans()),
        "max_num_scheduled_tokens": draw(st.sampled_from([None, None, 7])) if chunked else None,
        "watermark": draw(st.sampled_from([0.0, 0.0, 0.1, 0.5])),
        "scheduler_reserve_full_isl": draw(st.booleans()),
    }
    rows: list[dict[str, Any]] = []
    now = 0
    gap = draw(st.sampled_from([0, 5_000, 60_000]))
    for index in range(draw(st.integers(1, 12))):
        now += draw(st.integers(0, gap))
        own = [f"u{draw(st.sampled_from([index, index % 3]))}", draw(st.integers(1, 60))]
        prompt = [own]
        kind = draw(st.sampled_from(["own", "shared", "turn"]))
        if kind == "shared":
            prompt = [[f"s{draw(st.integers(0, 1))}", draw(st.sampled_from([5, 32, 60]))], own]
        elif kind == "turn" and rows:
            last = rows[draw(st.integers(0, len(rows) - 1))]
            prompt = [*last["prompt"], [f"o:{last['id']}", draw(st.integers(1, last["output_len"]))], own]
        rows.append(
            {
                "id": f"r{99 - index}",
                "arrival_us": now,
                "prompt": _cut(prompt, LONGEST - 1),
                "output_len": draw(st.integers(1, 60)),
                "priority": draw(st.integers(0, 1)),
            }
        )
    return rows, config


def _cut(prompt: list[list[Any]], most: int) -> list[list[Any]]:
    kept = []
    for name, length in prompt:
        taken = min(length, most)
        if taken:
            kept.append([name, taken])
            most -= taken
    return kept


def ours(folder: Path, rows: list[dict[str, Any]], config: dict[str, Any], grouped: bool) -> list[dict[str, Any]]:
    (folder / "t.jsonl").write_text("\n".join(map(json.dumps, rows)))
    (folder / "c.json").write_text(json.dumps(config))
    out = io.StringIO()
    lockstep(folder / "t.jsonl", folder / "c.json", out, grouped)
    return [json.loads(line) for line in out.getvalue().splitlines()][1:]


# Two requests fill blocks of one content in one step; the earlier seated copy must be found first.
SAME_CONTENT = (
    [
        {"id": "z87", "arrival_us": 0, "prompt": [["s0", 3], ["u12", 4]], "output_len": 28},
        {"id": "z85", "arrival_us": 0, "prompt": [["s0", 3], ["u12", 4], ["o:z87", 26]], "output_len": 1},
    ],
    {"block_size": 4, "num_gpu_blocks": 18, "policy": "priority", "long_prefill_token_threshold": 1},
)
# Preempted before its first token, then served from the other's blocks: that was no hit at first admission.
LATE_HIT = (
    [{"id": f"r{k}", "arrival_us": 0, "prompt": [["s0", 184], ["u0", 1]], "output_len": 1} for k in (0, 1)],
    {"block_size": 8, "num_gpu_blocks": 26, "long_prefill_token_threshold": 1},
)


@settings(max_examples=250, deadline=None)
@given(traces())
@example(SAME_CONTENT)
@example(LATE_HIT)
def test_every_decision_is_the_same(
    tmp_path_factory: pytest.TempPathFactory, trace: tuple[list[dict[str, Any]], dict[str, Any]]
) -> None:
    rows, config = trace
    try:
        expected = list(Scheduler(rows, config).step_log(most_steps=3000))
    except StuckError:  # equal requests can preempt each other in turn for ever, in vLLM as here
        return
    folder = tmp_path_factory.mktemp("trace")
    for grouped in (True, False):
        got = ours(folder, rows, config, grouped)
        for wanted, line in zip(expected, got, strict=True):
            assert line == wanted
            assert list(line.get("n", ())) == list(wanted.get("n", ()))
