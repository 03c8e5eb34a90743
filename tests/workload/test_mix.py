"""Several workloads at once."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest

import sim
from sim.errors import ScenarioError
from sim.workload.spec import Workload

CHAT: dict[str, Any] = {
    "arrivals": {"poisson": {"rate_per_s": 4}}, "requests": 60,
    "prompt_tokens": {"fixed": {"tokens": 100}}, "output_tokens": {"fixed": {"tokens": 20}},
    "prefix": {"shared_prefix": {"groups": 1, "shared_tokens": 64}},
}  # fmt: skip
TALKS: dict[str, Any] = {
    "arrivals": {"poisson": {"rate_per_s": 1}}, "sessions": 10,
    "prompt_tokens": {"fixed": {"tokens": 50}}, "output_tokens": {"fixed": {"tokens": 10}},
    "multi_turn": {"chat": {"turns": {"fixed": {"tokens": 3}}, "think_time": {"fixed": {"time": "1s"}}}},
}  # fmt: skip
BATCH: dict[str, Any] = {
    "arrivals": {"constant": {"rate_per_s": 2}}, "requests": 20, "tenants": {"x": 1, "y": 1},
    "prompt_tokens": {"fixed": {"tokens": 900}}, "output_tokens": {"fixed": {"tokens": 5}},
}  # fmt: skip


def table(**mix: dict[str, Any]) -> Any:
    return Workload.model_validate({"mix": mix}).table(3, Path())


def test_every_request_of_each_is_there_and_is_its_tenants() -> None:
    whole = table(chat=CHAT, batch=BATCH)
    whole.check()
    assert len(whole) == 80
    assert whole.tenants == ("chat", "batch/x", "batch/y")
    assert (np.diff(whole.arrival_s) >= 0).all()
    chat = whole.tenant == 0
    assert set(whole.prompt_tokens[chat].tolist()) == {164}
    assert set(whole.prompt_tokens[~chat].tolist()) == {900}
    alone = table(chat=CHAT)
    assert alone.arrival_s.tolist() == whole.arrival_s[chat].tolist()  # a neighbour shifts nobody


def test_equal_content_of_two_workloads_is_not_shared() -> None:
    whole = table(one=CHAT, two=CHAT)
    names = {(tenant, piece[0]) for tenant, parts in zip(whole.tenant.tolist(), whole.segments, strict=True) if parts
             for piece in parts[:1]}  # fmt: skip
    assert len(names) == 2
    assert len({name for _, name in names}) == 2


def test_sessions_stay_together_beside_single_requests() -> None:
    whole = table(talks=TALKS, chat=CHAT, more=TALKS)
    whole.check()
    assert whole.waits
    numbers = whole.sessions[whole.sessions >= 0]
    assert len(np.unique(numbers)) == 20
    assert (np.diff(np.flatnonzero(np.diff(whole.sessions) != 0)) >= 1).all()
    result = sim.run({"model": "llama-3.1-8b", "workload": {"mix": {"talks": TALKS, "chat": CHAT, "more": TALKS}},
                      "cluster": {"gpu": "h100-sxm"}, "engine": {"max_model_len": 4096}})  # fmt: skip
    assert result.summary["requests"]["finished"] == len(whole)
    assert set(result.requests["tenant"]) == {"talks", "chat", "more"}


def test_load_speeds_all_of_them_up() -> None:
    plain = Workload.model_validate({"mix": {"a": CHAT, "b": BATCH}}).table(1, Path())
    fast = Workload.model_validate({"mix": {"a": CHAT, "b": BATCH}, "load": 2}).table(1, Path())
    assert fast.arrival_s == pytest.approx(plain.arrival_s / 2, abs=1e-8)


@pytest.mark.parametrize(
    ("workload", "words"),
    [
        ({"mix": {"a": CHAT}, "requests": 3}, "requests beside mix"),
        ({"mix": {"a": {**CHAT, "requets": 3}}}, r"workload\.mix\.a\.requets is not a known key.*'requests'"),
        ({"mix": {}}, "at least 1"),
        ({"mix": {"a": {**CHAT, "retries": {}}}}, r"mix\.a\.retries: .* give retries: beside mix"),
        ({"mix": {"a": {**CHAT, "arrivals": {"closed_loop": {"users": 2}}}}}, "closed loop cannot be mixed"),
    ],
)
def test_mistakes(workload: dict, words: str) -> None:
    scenario = {"model": "llama-3.1-8b", "workload": workload, "cluster": {"gpu": "h100-sxm"}}
    with pytest.raises(ScenarioError, match=words):
        sim.run(scenario)
