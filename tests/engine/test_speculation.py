"""Speculative decoding, against Leviathan, Kalman, Matias (ICML 2023) and counting by hand."""

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sim import run
from sim.batching.vllm_v1 import VllmV1
from sim.choice import name_of, options
from sim.cluster.pool import Pool
from sim.cluster.simulate import simulate
from sim.engine import EngineLimits
from sim.engine.speculating import Speculation, SpeculativeEngine
from sim.errors import ServecastError
from sim.kvcache.paged import Paged
from sim.latency.drafting import DraftingTimer, FlatDrafter, ModelDrafter
from sim.latency.linear import Linear
from sim.metrics import gpu_time
from sim.metrics.context import context_of
from sim.models.shape import BatchShape
from sim.ordering.fcfs import Fcfs
from sim.record import Record
from sim.request import Request
from sim.routing.round_robin import RoundRobin
from tests.serving import serve, steps_of, table


def engine(drafts: int, rate: float, kv_cache: Any = None, **limits: Any) -> SpeculativeEngine:
    limits = {"num_gpu_blocks": 10_001, "max_model_len": 4096, **limits}
    return SpeculativeEngine(
        EngineLimits(**limits), VllmV1(), Fcfs(), kv_cache=kv_cache or Paged(), speculation=Speculation(drafts, rate)
    )


@pytest.mark.parametrize(("rate", "drafts", "mean"), [(0.8, 5, 3.68928), (0.6, 3, 2.176), (0.5, 1, 1.5), (0.0, 4, 1.0)])
def test_tokens_per_step(rate: float, drafts: int, mean: float) -> None:
    """Equation 1 of the paper, worked by hand, and the mean of many draws."""
    speculation = Speculation(drafts, rate, seed=5)
    assert speculation.mean_tokens == pytest.approx(mean)
    drawn = []
    for id in range(200):
        for place in range(100):
            request = Request(id, 0.0, 10, 1000)
            request.generated_tokens = place
            drawn.append(1 + speculation.accepted(request, drafts))
    error = np.std(drawn) / np.sqrt(len(drawn))
    assert abs(np.mean(drawn) - mean) <= 4 * error
    for accepted in range(1, drafts + 1):  # the chance of so many or more is rate ** accepted
        share, expected = np.mean(np.array(drawn) > accepted), rate**accepted
        assert abs(share - expected) <= 4 * np.sqrt(expected * (1 - expected) / len(drawn))


def test_all_accepted() -> None:
    assert Speculation(3, 1.0).mean_tokens == 4.0
    request = Request(0, 0.0, 5, 10)
    plans = steps_of(engine(3, 1.0), [request])
    # 1 token with the prompt, then 4, 4, and 1 of the last 4
    assert [sum(chunk.new_tokens for chunk in plan.chunks) for plan in plans] == [5, 4, 4, 4]
    assert [plan.gained.get(request) for plan in plans] == [None, 4, 4, 1]
    assert [plan.padding_tokens for plan in plans] == [0, 0, 0, 3]


def test_none_accepted_is_plain_decoding_at_more_cost() -> None:
    request = Request(0, 0.0, 5, 4)
    plans = steps_of(engine(2, 0.0), [request])
    assert [sum(chunk.new_tokens for chunk in plan.chunks) for plan in plans] == [5, 3, 3, 3]
    assert [plan.padding_tokens for plan in plans] == [0, 2, 2, 2]


def test_drafts_take_blocks_only_while_they_are_checked() -> None:
    """Blocks of 4: with 4 prompt tokens and 1 known, three drafts need tokens 5 to 8; refused, token 5 stays."""
    replica = engine(3, 0.0, block_size=4, num_gpu_blocks=11)
    replica.add(Request(0, 0.0, 7, 9))
    replica.complete(replica.schedule())
    plan = replica.schedule()
    assert plan.chunks[0].new_tokens == 4
    assert replica.kv.used_blocks == 3  # 11 tokens
    replica.complete(plan)
    replica.check()
    assert replica.kv.used_blocks == 2  # 8 tokens


def test_drafts_end_with_the_budget_and_the_model_length() -> None:
    first, second = Request(0, 0.0, 4, 20), Request(1, 0.0, 4, 20)
    plans = steps_of(engine(3, 1.0, max_num_batched_tokens=6, max_num_seqs=2), [first, second])
    assert [chunk.new_tokens for chunk in plans[1].chunks] == [4, 2]
    alone = Request(0, 0.0, 4, 6)
    plans = steps_of(engine(9, 1.0, max_model_len=10), [alone])
    assert [sum(chunk.new_tokens for chunk in plan.chunks) for plan in plans] == [4, 5]


STEP_S, COST = 0.01, 0.1


def simulated(answers: int, drafts: int, rate: float, count: int = 40, **limits: Any) -> Record:
    """Requests of one prompt token, one after another, each with the same answer."""
    step = Linear(base_s=STEP_S, per_prefill_token_s=0, per_decode_s=0).build()
    timer = DraftingTimer(step, FlatDrafter(COST * STEP_S, drafts))
    return simulate(
        table(np.zeros(count), 1, answers),
        [Pool(lambda: engine(drafts, rate, **({"max_num_seqs": 1} | limits)), timer)],
        router=RoundRobin(),
        seed=0,
    )


@pytest.mark.parametrize(("rate", "drafts"), [(0.8, 4), (0.6, 2), (0.9, 8)])
def test_speed_up(rate: float, drafts: int) -> None:
    """Theorem 3.8 of the paper: (1 - a^(k + 1)) / ((1 - a) (k c + 1)), with drafts at c times a step's time."""
    answers, count = 3000, 20
    record = simulated(answers, drafts, rate, count)
    plain = serve(table(np.zeros(count), 1, answers), Linear(STEP_S, 0, 0).build(), limits={"max_num_seqs": 1})
    expected = (1 - rate ** (drafts + 1)) / ((1 - rate) * (drafts * COST + 1))
    assert plain.makespan_s / record.makespan_s == pytest.approx(expected, rel=0.02)


def test_books_balance() -> None:
    """Every token that was computed is owed or refused, and every second of the GPU is in one bucket."""
    record = simulated(200, 3, 0.7)
    steps, rows = record.steps, record.requests
    assert (steps["sampled"] * steps["steps"]).sum() == rows["generated_tokens"].sum() == 40 * 200
    computed = (steps["prefill_tokens"] + steps["decodes"]).sum()
    assert computed == (rows["prompt_tokens"] + rows["generated_tokens"] - 1).sum()
    refused = steps["padding_tokens"].sum()
    checked = computed - 40 + refused  # the prompt's token aside
    assert checked == 4 * (len(steps["steps"]) - 40)
    context = context_of(record)
    assert gpu_time(steps, context)["padding"] == pytest.approx(
        refused / (computed + refused) * record.makespan_s, rel=0.05
    )  # fmt: skip
    assert record.itl_counts.sum() == len(steps["steps"]) - 40  # the tokens of a step come together


@pytest.mark.parametrize("kv_cache", [cls() for cls in options("sim.kvcache").values()], ids=name_of)
@settings(max_examples=60, deadline=None)
@given(
    drafts=st.integers(1, 6), rate=st.sampled_from([0.0, 0.3, 0.9, 1.0]), seed=st.integers(0, 2**32),
    block=st.sampled_from([1, 4, 16]),
)  # fmt: skip
def test_every_block_and_token_is_accounted_for(kv_cache: Any, drafts: int, rate: float, seed: int, block: int) -> None:
    """Under memory pressure, with preemptions and shared prompts."""
    rng = np.random.default_rng(seed)
    replica = engine(
        drafts, rate, kv_cache, block_size=block, num_gpu_blocks=-(-200 // block) + 3, max_model_len=200,
        max_num_seqs=8,
        max_num_batched_tokens=int(rng.choice([8, 64, 512])), enable_prefix_caching=bool(rng.integers(2)),
    )  # fmt: skip
    requests = []
    for id in range(12):
        prompt = int(rng.integers(1, 60))
        segments = ((("p", int(rng.integers(2))), prompt),) if rng.integers(2) else None
        requests.append(Request(id, float(id), prompt, int(rng.integers(1, 100)), segments=segments))
    plans = steps_of(replica, requests)
    assert replica.is_idle
    assert replica.kv.used_blocks == 0
    computed = sum(chunk.new_tokens for plan in plans for chunk in plan.chunks)
    refused = sum(plan.padding_tokens for plan in plans)
    owed = sum(r.prompt_tokens + r.output_tokens - 1 + r.recomputed_tokens - r.cached_tokens for r in requests)
    assert computed - refused == owed
    assert all(r.generated_tokens == r.output_tokens for r in requests)


def test_a_draft_model_computes_the_same_tokens_and_then_decodes() -> None:
    target = Linear(base_s=1.0, per_prefill_token_s=0.1, per_decode_s=0.01, per_context_token_s=0).build()
    draft = Linear(base_s=0.1, per_prefill_token_s=0.001, per_decode_s=0.0001, per_context_token_s=0).build()
    timer = DraftingTimer(target, ModelDrafter(draft, 3))
    checking = BatchShape([(4, 10), (4, 20)], 0, 0, 8, 2, 38)
    assert timer.step(checking).total_s == pytest.approx(1.8 + 0.108 + 2 * 0.1002)
    half_a_prompt = BatchShape([(100, 0)], 0, 0, 0)
    assert timer.step(half_a_prompt).total_s == pytest.approx(11.0 + 0.2)


SCENARIO: dict[str, Any] = {
    "model": "llama-3.1-70b",
    "workload": {
        "arrivals": {"poisson": {"rate_per_s": 1}},
        "prompt_tokens": {"fixed": {"tokens": 500}},
        "output_tokens": {"fixed": {"tokens": 200}},
        "requests": 30,
    },
    "cluster": {"gpu": "h100-sxm", "tensor_parallel": 4},
}
DRAFTS = {"num_speculative_tokens": 4, "acceptance_rate": 0.8, "draft_model": "llama-3.1-8b"}


def test_a_scenario_with_a_draft_model() -> None:
    plain = run(SCENARIO)
    fast = run(SCENARIO | {"engine": {"speculative": DRAFTS}})
    assert fast.summary["median_tpot_ms"] < 0.75 * plain.summary["median_tpot_ms"]
    assert fast.summary["kv_blocks_per_replica"] < plain.summary["kv_blocks_per_replica"]
    assert fast.scenario.engine.async_scheduling is False
    again = run(fast.scenario)
    assert again.summary["mean_tpot_ms"] == fast.summary["mean_tpot_ms"]
    assert fast.summary["mean_itl_ms"] > 2 * fast.summary["mean_tpot_ms"]  # tokens come several at a time


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"speculative": DRAFTS | {"draft_token": "1ms"}}, "give draft_model: .* or draft_token:"),
        ({"speculative": DRAFTS | {"acceptance_rate": 1.5}}, "acceptance_rate must be less than or equal to 1"),
        ({"speculative": DRAFTS, "batching": "orca"}, "orca does not schedule drafts to check; use vllm_v1"),
        ({"speculative": DRAFTS, "async_scheduling": True}, "set async_scheduling to false"),
        ({"speculative": DRAFTS | {"draft_model": "llama"}}, "engine.speculative.draft_model: "),
    ],
)
def test_what_cannot_be_is_refused(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(ServecastError, match=message):
        run(SCENARIO | {"engine": changes})


def test_variants_change_or_remove_speculation() -> None:
    from sim import load

    variants = {
        "none": {"engine": {"speculative": None}},
        "more": {"engine": {"speculative": {"acceptance_rate": 0.9}}},
    }
    scenario = load(SCENARIO | {"engine": {"speculative": DRAFTS}, "variants": variants})
    assert scenario.variant("none").engine.speculative is None
    more = scenario.variant("more").engine.speculative
    assert more is not None
    assert (more.acceptance_rate, more.num_speculative_tokens) == (0.9, 4)


def test_what_is_not_modelled_is_refused_by_name() -> None:
    with pytest.raises(ServecastError, match=r"workload.best_of is not a known key: .* is not modelled"):
        run(SCENARIO, overrides=["workload.best_of=2"])
