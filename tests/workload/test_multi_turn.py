"""Synthetic sessions: what each turn's prompt holds, where sessions end, and what the prefix cache makes of them."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from sim.errors import ScenarioError
from sim.insight.search import own_rate
from sim.latency.linear import Linear
from sim.run import run
from sim.scenario import Scenario
from sim.workload.reuse import measure_reuse
from sim.workload.spec import Workload
from sim.workload.table import RequestTable
from tests.serving import serve

CHAT = {"turns": {"fixed": {"tokens": 3}}, "think_time": {"fixed": {"time": "2s"}}}
AGENT = {"turns": {"fixed": {"tokens": 4}}, "tool_time": {"fixed": {"time": "1s"}}}
BASE: dict[str, Any] = {
    "arrivals": {"constant": {"rate_per_s": 1}},
    "prompt_tokens": {"uniform": {"low": 5, "high": 80}},
    "output_tokens": {"uniform": {"low": 1, "high": 60}},
    "sessions": 20,
    "multi_turn": {"chat": CHAT},
}
STEP = Linear(base_s=0.01, per_prefill_token_s=0, per_decode_s=0).build()


def workload(**changes: Any) -> Workload:
    """BASE with keys replaced, or removed by None."""
    return Workload.model_validate({k: v for k, v in {**BASE, **changes}.items() if v is not None})


def table(seed: int = 1, **changes: Any) -> RequestTable:
    return workload(**changes).table(seed, Path())


def chat(**changes: Any) -> dict[str, Any]:
    return {"chat": {**CHAT, **changes}}


def agent(**changes: Any) -> dict[str, Any]:
    return {"agent": {**AGENT, **changes}}


def fixed(tokens: int) -> dict[str, Any]:
    return {"fixed": {"tokens": tokens}}


def test_a_chat_by_hand() -> None:
    """10 tokens asked, 4 answered: prompts of 10, 24, 38; a document of 100 before the first and a system's 7."""
    drawn = table(
        sessions=2, prompt_tokens=fixed(10), output_tokens=fixed(4), multi_turn=chat(opening_tokens=fixed(100)),
        prefix={"shared_prefix": {"groups": 1, "shared_tokens": 7}},
    )  # fmt: skip
    assert drawn.prompt_tokens.tolist() == 2 * [117, 131, 145]
    assert drawn.sessions is not None and drawn.turns is not None and drawn.pause_s is not None
    assert drawn.sessions.tolist() == [0, 0, 0, 1, 1, 1]
    assert drawn.turns.tolist() == 2 * [1, 2, 3]
    assert drawn.pause_s.tolist() == 2 * [0, 2, 2]
    assert drawn.arrival_s.tolist() == [0, 0, 0, 1, 1, 1]
    reuse = measure_reuse(drawn)
    assert reuse is not None  # all but what is new, and for the second session what the system says
    assert reuse.hit_tokens.tolist() == [0, 121, 135, 7, 121, 135]


def test_an_agent_by_hand() -> None:
    """Four calls of which the two in the middle fan out to three; the context goes on with all that was said."""
    drawn = table(
        sessions=1, prompt_tokens=fixed(10), output_tokens=fixed(4), multi_turn=agent(fan_out=fixed(3)),
    )  # fmt: skip
    assert drawn.turns is not None and drawn.turns.tolist() == [1, 2, 2, 2, 3, 3, 3, 4]
    assert drawn.prompt_tokens.tolist() == [10, 24, 24, 24, 66, 66, 66, 108]
    reuse = measure_reuse(drawn)
    assert reuse is not None  # side by side they share the context; the first of them goes on in the turn after
    assert reuse.hit_tokens.tolist() == [0, 14, 14, 14, 28, 56, 56, 70]


def test_fan_out_share() -> None:
    turns = {"turns": fixed(12), "fan_out": fixed(2)}
    drawn = table(sessions=2000, multi_turn=agent(**turns, fan_out_share=0.25)).turns
    assert drawn is not None
    counts = np.bincount(drawn)[1:]
    assert counts[0] == counts[-1] == 2000
    assert counts[1:-1].sum() / 20_000 == pytest.approx(1.25, abs=0.02)
    assert len(table(multi_turn=agent(**turns, fan_out_share=0)).arrival_s) == 20 * 12


def test_sessions_end_before_their_context_is_too_long() -> None:
    drawn = table(prompt_tokens=fixed(10), output_tokens=fixed(4), multi_turn=chat(max_context_tokens=30))
    assert drawn.prompt_tokens.tolist() == 20 * [10, 24]  # 38 + 4 exceed it, 24 + 4 do not
    with pytest.raises(ScenarioError, match="max_context_tokens leaves no session a first turn"):
        table(prompt_tokens=fixed(10), output_tokens=fixed(4), multi_turn=chat(max_context_tokens=13))


def test_ends() -> None:
    assert len(table()) == 60
    assert len(table(requests=7)) == 7
    assert len(table(sessions=None, duration="5s")) == 15
    longer, shorter = table(sessions=40), table()
    assert longer.prompt_tokens[:60].tolist() == shorter.prompt_tokens.tolist()
    users = table(arrivals={"closed_loop": {"users": 3, "think_s": 4}})
    assert users.closed_loop is not None and len(users) == len(users.closed_loop.think_s) == 60


def test_a_session_is_of_one_tenant() -> None:
    drawn = table(tenants={"a": 1, "b": 1}, priorities={0: 1, 1: 1})
    assert drawn.tenant is not None
    for column in (drawn.tenant, drawn.priority):
        assert (column.reshape(20, 3) == column[::3, None]).all() and 0 < column.sum() < 60


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"multi_turn": None}, "sessions counts those of multi_turn"),
        ({"sessions": None}, "arrivals need an end"),
        ({"arrivals": {"closed_loop": {"users": 2}}, "sessions": None, "duration": 3}, "ends by requests"),
        ({"multi_turn": {"chat": {"turns": fixed(2)}}}, "think_time"),
        ({"multi_turn": {"chat": {**CHAT, "think_time": {"uniform": {"low": 2, "high": 1}}}}}, "at least low"),
        ({"multi_turn": {"chat": {**CHAT, "turn": 1}}}, "did you mean 'turns'"),
    ],
)
def test_wrong_combinations(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(ValidationError, match=message):
        workload(**changes)


def test_several_answers_of_which_the_first_is_carried_on() -> None:
    one, two = table(sessions=1), table(sessions=1, n=2)
    assert two.turns is not None and two.turns.tolist() == [1, 1, 2, 2, 3, 3]
    assert two.prompt_tokens.tolist() == np.repeat(one.prompt_tokens, 2).tolist()
    assert two.output_tokens[::2].tolist() == one.output_tokens.tolist()
    record = serve(two, STEP)
    rows = record.requests
    for turn in (2, 3):  # both answers are waited for
        answered_s = rows["finish_s"][rows["turn"] == turn - 1].max()
        assert set(rows["arrival_s"][rows["turn"] == turn]) == {answered_s + 2}


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 2**31), st.sampled_from([1, 4, 16]), st.booleans())
def test_a_turn_finds_the_full_blocks_of_all_that_was_said(seed: int, block: int, fast_forward: bool) -> None:
    """With memory to spare the cache holds all but the last token of the answer before, whose KV nobody computed."""
    drawn = table(seed, sessions=3, multi_turn=chat(turns={"uniform": {"low": 1, "high": 6}}))
    record = serve(drawn, STEP, fast_forward=fast_forward, limits={"block_size": block, "num_gpu_blocks": 20_001})
    cached = record.requests["cached_tokens"][np.argsort(record.requests["id"])]
    assert drawn.turns is not None
    held = drawn.prompt_tokens + drawn.output_tokens - 1
    expected = np.where(drawn.turns == 1, 0, np.roll(held, 1) // block * block)
    assert cached.tolist() == expected.tolist()


def test_a_fan_out_finds_the_context() -> None:
    """The first of a turn finds what the first of the turn before held: 48 of 32 + 17 - 1, 96 of 81 + 17 - 1 tokens.

    Those beside it find what they share with it, since vLLM names blocks as soon as they are scheduled: 48 of 49, 144
    of 147 tokens.
    """
    drawn = table(sessions=1, prompt_tokens=fixed(32), output_tokens=fixed(17), multi_turn=agent(fan_out=fixed(2)))
    record = serve(drawn, STEP)
    assert drawn.prompt_tokens.tolist() == [32, 81, 81, 179, 179, 277]
    cached = record.requests["cached_tokens"][np.argsort(record.requests["id"])]
    assert cached.tolist() == [0, 48, 48, 96, 144, 192]


def test_load_brings_sessions_faster_and_leaves_users_as_slow() -> None:
    slow, fast = table(), table(load=2.0)
    assert fast.arrival_s.tolist() == (slow.arrival_s / 2).tolist()
    assert fast.pause_s is not None and slow.pause_s is not None and fast.pause_s.tolist() == slow.pause_s.tolist()


def test_the_rate_of_sessions_counts_all_their_requests() -> None:
    """One session a second, of three turns: three requests a second."""
    told = {"name": "t", "model": "llama-3.1-8b", "workload": BASE, "cluster": {"gpu": "h100-sxm"}}
    assert own_rate(Scenario.model_validate(told)) == pytest.approx(3)


def test_variants_that_drop_turns_were_asked_the_same() -> None:
    told = {"name": "t", "model": "llama-3.1-8b", "workload": BASE, "cluster": {"gpu": "h100-sxm"}}
    whole, dropping = (run({**told, "engine": {"max_model_len": longest}}) for longest in (4096, 150))
    assert whole.summary["sessions"]["requests_not_sent"] == 0 < dropping.summary["sessions"]["requests_not_sent"]
    ends = dropping.summary["requests"]
    assert ends["total"] + dropping.summary["sessions"]["requests_not_sent"] == whole.summary["requests"]["total"] == 60
    assert dropping.summary["sessions"]["ended_early"] == ends["rejected"] > 0
    assert whole.summary["made_with"]["requests_sha256"] == dropping.summary["made_with"]["requests_sha256"]
