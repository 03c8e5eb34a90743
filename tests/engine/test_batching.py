"""Schedules of every batching policy worked by hand: blocks of 4 tokens, steps numbered from 0."""

from typing import Any

import pytest

from sim.batching.dynamic_window import DynamicWindow
from sim.batching.one_at_a_time import OneAtATime
from sim.batching.orca import Orca
from sim.batching.prefill_first import PrefillFirst
from sim.batching.sarathi import Sarathi
from sim.batching.sglang import Sglang
from sim.batching.static import Static
from sim.batching.tensorrt_llm import TensorrtLlm
from sim.batching.tgi import Tgi
from sim.engine import Batching, Engine
from sim.engine.plan import StepPlan
from sim.request import Request
from tests.serving import engine

BOTH_WAYS = pytest.mark.parametrize("group_decodes", [True, False])


def replica(batching: Batching, group_decodes: bool, **limits: Any) -> Engine:
    limits = {"block_size": 4, "enable_prefix_caching": False, **limits}
    return engine(group_decodes=group_decodes, batching=batching, **limits)


def run(
    engine: Engine, requests: list[Request], arrivals: dict[int, int] | None = None
) -> tuple[list[str], list[StepPlan]]:
    """One row of tokens per request, a column per step; request i is added before step `arrivals[i]`."""
    left = sorted(requests, key=lambda request: (arrivals or {}).get(request.id, 0))
    rows: dict[Request, list[str]] = {request: [] for request in requests}
    plans = []
    while left or not engine.is_idle:
        while left and (arrivals or {}).get(left[0].id, 0) <= len(plans):
            engine.add(left.pop(0))
        plan = engine.schedule()
        if plan.hold is not None:
            plan = engine.schedule(window_over=True)
        chunks = {chunk.request: chunk.new_tokens for chunk in plan.chunks}
        for request, row in rows.items():
            decodes = plan.decodes and request in engine.running and request not in engine.prefilling
            alive = request.generated_tokens < request.output_tokens and request not in engine.kept
            row.append(str(chunks.get(request, 1 if decodes and alive else ".")))
        plans.append(plan)
        engine.complete(plan)
        engine.check()
        assert len(plans) < 200
    return [" ".join(row) for row in rows.values()], plans


@BOTH_WAYS
def test_one_at_a_time(group_decodes: bool) -> None:
    requests = [Request(0, 0.0, 4, 3), Request(1, 0.0, 2, 2)]
    assert run(replica(OneAtATime(), group_decodes), requests)[0] == [
        "4 1 1 . .",
        ". . . 2 1",
    ]


@BOTH_WAYS
def test_static_runs_to_the_longest(group_decodes: bool) -> None:
    requests = [Request(0, 0.0, 4, 3), Request(1, 0.0, 2, 1), Request(2, 0.0, 3, 1)]
    server = replica(Static(batch_size=2), group_decodes)
    rows, plans = run(server, requests)
    assert rows == [
        "4 1 1 .",
        "2 . . .",  # done after step 0, computed for nobody in steps 1 and 2
        ". . . 3",
    ]
    assert [plan.padding_tokens for plan in plans] == [2, 1, 1, 0]
    # Padded: both rows attend to 4 prompt tokens and what has been added since, their own token included.
    assert plans[0].shape().prefills == [(4, 0), (4, 0)]
    assert [(s.decodes, s.decode_context_tokens) for s in (plans[1].shape(), plans[2].shape())] == [(2, 10), (2, 12)]


@BOTH_WAYS
def test_static_without_prompt_padding(group_decodes: bool) -> None:
    requests = [Request(0, 0.0, 4, 3), Request(1, 0.0, 2, 1)]
    _, plans = run(replica(Static(batch_size=2, pad_prompts=False), group_decodes), requests)
    assert [plan.padding_tokens for plan in plans] == [0, 1, 1]
    assert plans[0].shape().prefills == [(4, 0), (2, 0)]
    assert [plan.shape().decode_context_tokens for plan in plans[1:]] == [5 + 3, 6 + 4]


def test_static_keeps_blocks_and_seats_of_the_finished() -> None:
    server = replica(Static(batch_size=2), True)
    first, second = Request(0, 0.0, 4, 3), Request(1, 0.0, 9, 1)
    server.add(first)
    server.add(second)
    server.complete(server.schedule())
    assert server.kept == [second]
    assert server.kv.used_blocks == 1 + 3
    assert len(server.running) == 2
    server.complete(server.schedule())
    server.complete(server.schedule())
    assert server.is_idle
    assert server.kv.used_blocks == 0


def test_static_takes_no_more_than_fits_to_its_end() -> None:
    """Seven blocks: two requests of 3 blocks at their ends, not three, although their prompts take one each."""
    server = replica(Static(batch_size=3), True, num_gpu_blocks=8)
    _, plans = run(server, [Request(id, 0.0, 4, 8) for id in range(3)])
    assert [len(plan.admitted) for plan in plans if plan.admitted] == [2, 1]
    assert not any(plan.preempted for plan in plans)


def test_static_is_cut_at_the_tokens_of_a_step() -> None:
    """Padded to 6 tokens, two rows fill a step of 12; the third would make it 18."""
    server = replica(Static(batch_size=3), True, max_num_batched_tokens=12)
    _, plans = run(server, [Request(id, 0.0, prompt, 1) for id, prompt in enumerate([2, 6, 2])])
    assert [len(plan.admitted) for plan in plans] == [2, 1]


def test_static_holds_until_the_batch_is_full() -> None:
    server = replica(Static(batch_size=2, timeout=0.5), True)
    first, second = Request(0, 0.0, 4, 1), Request(1, 0.1, 4, 1)
    server.add(first)
    plan = server.schedule()
    assert (plan.is_empty, plan.hold) == (True, (first, 0.5))
    server.add(second)
    assert server.schedule().admitted == [first, second]


def test_dynamic_window_takes_the_largest_preferred_size_at_once() -> None:
    """Seven wait: a batch of 5; two are left, and 2 is preferred, too; then one alone has to wait."""
    server = replica(DynamicWindow(preferred_batch_sizes=(2, 5), max_queue_delay=0.1), True)
    for id in range(8):
        server.add(Request(id, 0.0, 4, 1))
    assert [len(_step(server).admitted) for _ in range(2)] == [5, 2]
    plan = server.schedule()
    assert plan.hold is not None
    assert (plan.hold[0].id, plan.hold[1]) == (7, 0.1)
    assert len(server.schedule(window_over=True).admitted) == 1


def test_dynamic_window_sends_what_has_come_when_the_delay_is_over() -> None:
    """Three wait and 5 is preferred: all three go, in one batch, when the first has waited enough."""
    server = replica(DynamicWindow(preferred_batch_sizes=(5,), max_queue_delay=0.1), True)
    for id in range(3):
        server.add(Request(id, 0.0, 4, 1))
    assert server.schedule().hold is not None
    assert len(server.schedule(window_over=True).admitted) == 3


@BOTH_WAYS
def test_orca_mixes_whole_prompts_with_decodes(group_decodes: bool) -> None:
    requests = [Request(0, 0.0, 4, 3), Request(1, 0.0, 5, 2), Request(2, 0.0, 2, 1)]
    assert run(replica(Orca(), group_decodes, max_num_seqs=2), requests)[0] == [
        "4 1 1",
        "5 1 .",
        ". . 2",  # takes the seat that is free after step 1
    ]


@BOTH_WAYS
def test_orca_on_paged_blocks_preempts_the_latest(group_decodes: bool) -> None:
    """Two prompts of 7 fill 4 blocks; in step 2 the first needs a third, and gets it from the second."""
    requests = [Request(0, 0.0, 7, 4), Request(1, 0.0, 7, 3)]
    rows, plans = run(replica(Orca(), group_decodes, num_gpu_blocks=5), requests)
    assert rows == [
        "7 1 1 1 .",
        "7 1 . . 9",  # with 2 tokens of its answer, which the recomputation includes
    ]
    assert [len(plan.preempted) for plan in plans] == [0, 0, 1, 0, 0]
    assert requests[1].recomputed_tokens == 8


@BOTH_WAYS
def test_prefill_first_stalls_decodes(group_decodes: bool) -> None:
    requests = [Request(0, 0.0, 4, 4), Request(1, 0.0, 5, 2)]
    assert run(replica(PrefillFirst(), group_decodes), requests, {1: 1})[0] == [
        "4 . 1 1 1",
        ". 5 1 . .",
    ]


@BOTH_WAYS
def test_prefill_first_asks_for_a_free_block_that_nobody_needs(group_decodes: bool) -> None:
    """Prompts of 5 and 6 tokens fill all 4 blocks, and none has to grow for two steps.

    Yet in step 1 the first sees no free block, so the second gives up its two. These let it in again in step 2,
    with the one token of its answer, before the first may decode; and the same once more.
    """
    requests = [Request(0, 0.0, 5, 4), Request(1, 0.0, 6, 3)]
    rows, plans = run(replica(PrefillFirst(), group_decodes, num_gpu_blocks=5), requests)
    assert rows == [
        "5 1 . 1 . 1",
        "6 . 7 . 8 .",
    ]
    assert [len(plan.preempted) for plan in plans] == [0, 1, 0, 1, 0, 0]
    assert requests[1].recomputed_tokens == 6 + 7


@BOTH_WAYS
def test_prefill_first_leaves_the_watermark_free(group_decodes: bool) -> None:
    """Ten blocks, of which a tenth is kept: after 4 the next prompt of 6 has to wait until the first is done."""
    requests = [Request(0, 0.0, 13, 2), Request(1, 0.0, 24, 1)]
    limits = {"num_gpu_blocks": 11, "watermark": 0.1}
    assert run(replica(PrefillFirst(), group_decodes, **limits), requests)[0] == [
        "13 1 .",
        ". . 24",
    ]
    requests = [Request(0, 0.0, 13, 2), Request(1, 0.0, 20, 1)]
    assert run(replica(PrefillFirst(), group_decodes, **limits), requests)[0] == ["13 1", "20 ."]


@BOTH_WAYS
def test_sarathi_fills_steps_with_chunks(group_decodes: bool) -> None:
    requests = [Request(0, 0.0, 6, 3), Request(1, 0.0, 4, 2)]
    assert run(replica(Sarathi(chunk_tokens=4), group_decodes), requests)[0] == [
        "4 2 1 1",
        ". 2 2 1",
    ]


@BOTH_WAYS
def test_sarathi_ablations(group_decodes: bool) -> None:
    def rows(**options: Any) -> list[str]:
        requests = [Request(0, 0.0, 6, 3), Request(1, 0.0, 4, 2)]
        return run(replica(Sarathi(chunk_tokens=4, **options), group_decodes), requests, {1: 1})[0]

    assert rows(hybrid=False) == [
        "4 2 1 . 1",
        ". . . 4 1",
    ]
    assert rows(chunked=False) == [
        "6 1 1",
        ". 4 1",
    ]
    assert rows(hybrid=False, chunked=False) == [
        "6 1 . 1",
        ". . 4 1",
    ]


@BOTH_WAYS
def test_sarathi_keeps_the_blocks_of_a_prompt_under_way(group_decodes: bool) -> None:
    """The blocks that a prompt under way has not reached are not free for others, so it is it that has to go.

    Five blocks: two for the first prompt, three for the second, of which one is taken in step 0. In step 1 the first
    sees no free block. The second waits for three until the first is done.
    """
    requests = [Request(0, 0.0, 7, 4), Request(1, 0.0, 12, 1)]
    rows, plans = run(replica(Sarathi(chunk_tokens=8), group_decodes, num_gpu_blocks=6), requests)
    assert rows == [
        "7 1 1 1 . .",
        "1 . . . 8 4",
    ]
    assert [len(plan.preempted) for plan in plans] == [0, 1, 0, 0, 0, 0]
    assert requests[1].recomputed_tokens == 1


@BOTH_WAYS
def test_sglang_cuts_the_last_prompt_of_a_step(group_decodes: bool) -> None:
    requests = [Request(0, 0.0, 6, 3), Request(1, 0.0, 4, 2)]
    assert run(replica(Sglang(chunked_prefill_size=8), group_decodes), requests)[0] == [
        "6 . 1 1",
        "2 2 1 .",
    ]


@BOTH_WAYS
@pytest.mark.parametrize(
    ("conservativeness", "second"),
    [(1.0, ". 3 1 . . . . . . . ."), (1.5, ". . . . . . . . . . 3 1")],
)  # fmt: skip
def test_sglang_lends_what_answers_are_expected_to_leave(
    group_decodes: bool, conservativeness: float, second: str
) -> None:
    """20 tokens of KV, 12 of them free before step 1, and 9 of the first answer to come.

    At the ratio of 0.7 these count 6.3, and 3 + 2 tokens are less than the 5.7 that are left; at 1 they are not.
    """
    requests = [Request(0, 0.0, 8, 10), Request(1, 0.0, 3, 2)]
    policy = Sglang(schedule_conservativeness=conservativeness)
    server = replica(policy, group_decodes, block_size=1, num_gpu_blocks=21)
    assert run(server, requests, {1: 1})[0][1] == second


def test_sglang_ratio_falls_with_every_step_of_decodes() -> None:
    """From 0.7 by (0.7 - 0.098) / 600 a step, to 0.098 and no further; a step of prompts leaves it alone."""
    policy, server = Sglang(), replica(Sglang(), True)
    server.add(Request(0, 0.0, 4, 1000))
    seen = []
    for _ in range(700):
        _step(server)
        seen.append(policy._ratio(server))
    assert seen[0] == 0.7
    assert seen[300] == pytest.approx((0.7 + 0.098) / 2)
    assert seen[600] == pytest.approx(0.098)
    assert seen[699] == pytest.approx(0.098)


@BOTH_WAYS
def test_sglang_retracts(group_decodes: bool) -> None:
    """13 tokens of KV. Without an estimate the second is let in, and in step 4 two tokens are one too many.

    It has 3 tokens of its answer, as has the first, and is retracted as the later. The ratio is then 1 (3 tokens and
    20 more of a limit of 8), so it waits until the first has left, and is recomputed.
    """
    requests = [Request(0, 0.0, 4, 8), Request(1, 0.0, 4, 4)]
    server = replica(Sglang(schedule_conservativeness=0.0), group_decodes, block_size=1, num_gpu_blocks=14)
    rows, plans = run(server, requests, {1: 1})
    assert rows == [
        "4 . 1 1 1 1 1 1 1 .",
        ". 4 1 1 . . . . . 7",
    ]
    assert [step for step, plan in enumerate(plans) if plan.preempted] == [4]
    assert requests[1].recomputed_tokens == 6


@BOTH_WAYS
def test_tensorrt_llm_promises(group_decodes: bool) -> None:
    def rows(promise: Any) -> list[str]:
        requests = [Request(0, 0.0, 4, 3), Request(1, 0.0, 5, 2)]
        policy = TensorrtLlm(capacity_scheduler_policy=promise)
        return run(replica(policy, group_decodes, block_size=1, num_gpu_blocks=10), requests)[0]

    assert rows("guaranteed_no_evict") == [
        "4 1 1 . .",
        ". . . 5 1",
    ]
    assert rows("max_utilization") == [
        "4 1 1 .",
        "5 . . 6",
    ]


@BOTH_WAYS
def test_tensorrt_llm_cuts_at_whole_blocks(group_decodes: bool) -> None:
    """Six tokens a step: of 10 the first takes one block of 4, then the rest; two tokens are no block for the other."""
    requests = [Request(0, 0.0, 10, 1), Request(1, 0.0, 3, 1)]
    server = replica(TensorrtLlm(enable_chunked_context=True), group_decodes, max_num_batched_tokens=6)
    assert run(server, requests)[0] == [
        "4 6 .",
        ". . 3",
    ]


@BOTH_WAYS
def test_tgi_waits_for_enough(group_decodes: bool) -> None:
    first = [Request(0, 0.0, 4, 5), Request(1, 0.0, 4, 2), Request(2, 0.0, 2, 1)]
    assert run(replica(Tgi(waiting_served_ratio=2), group_decodes), first, {1: 2, 2: 3})[0] == [
        "4 1 1 . 1 1",
        ". . . 4 1 .",
        ". . . 2 . .",
    ]
    alone = [Request(0, 0.0, 4, 5), Request(1, 0.0, 4, 2)]
    policy = Tgi(waiting_served_ratio=2, max_waiting_tokens=4)
    assert run(replica(policy, group_decodes), alone, {1: 2})[0] == [
        "4 1 1 1 . 1",  # four steps after the first prompt any number will do
        ". . . . 4 1",
    ]


@BOTH_WAYS
def test_tgi_decodes_between_two_steps_of_prompts(group_decodes: bool) -> None:
    requests = [Request(0, 0.0, 4, 6), Request(1, 0.0, 4, 3), Request(2, 0.0, 2, 1)]
    assert run(replica(Tgi(waiting_served_ratio=0), group_decodes), requests, {1: 2, 2: 3})[0] == [
        "4 1 . 1 . 1 1 1",
        ". . 4 1 . 1 . .",
        ". . . . 2 . . .",
    ]
    requests = [Request(0, 0.0, 4, 2), Request(1, 0.0, 4, 2)]
    assert run(replica(Tgi(waiting_served_ratio=0), group_decodes), requests, {1: 1})[0] == [
        "4 . 1",  # but not behind prompts that started from nothing
        ". 4 1",
    ]


def test_tgi_goes_on_when_all_that_had_to_decode_are_cancelled() -> None:
    server = replica(Tgi(waiting_served_ratio=0), True)
    requests = [Request(id, 0.0, 4, 6) for id in range(3)]
    for request in requests:
        server.add(request)
        if request.id < 2:
            _step(server)  # the second joins the first, and then both must decode
    for request in requests[:2]:
        server.cancel(request)
    assert server.schedule().admitted == [requests[2]]


@BOTH_WAYS
@pytest.mark.parametrize("limit", [{"num_gpu_blocks": 13}, {"max_batch_total_tokens": 12}])
def test_tgi_sets_memory_aside_to_the_end(group_decodes: bool, limit: dict[str, int]) -> None:
    """The answers end with 8 and 5 tokens of KV, and there is room for 12, although both prompts have 4."""
    requests = [Request(0, 0.0, 4, 5), Request(1, 0.0, 4, 2)]
    policy = Tgi(max_batch_total_tokens=limit.get("max_batch_total_tokens"))
    blocks = {"num_gpu_blocks": limit.get("num_gpu_blocks", 1000)}
    assert run(replica(policy, group_decodes, block_size=1, **blocks), requests)[0] == [
        "4 1 1 1 1 . .",
        ". . . . . 4 1",
    ]


def _step(engine: Engine) -> StepPlan:
    plan = engine.schedule()
    engine.complete(plan)
    return plan
