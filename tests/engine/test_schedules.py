"""Schedules worked by hand: blocks of 4 tokens, steps numbered from 0."""

from typing import Any

import pytest

from sim.engine.plan import StepPlan
from sim.ordering.priority import Priority
from sim.request import Request
from tests.serving import engine, steps_of


def tokens(plans: list[StepPlan], requests: list[Request]) -> list[tuple[int, ...]]:
    """Tokens per request and step; only meaningful when every request is scheduled on its own."""
    rows = []
    for plan in plans:
        given = {chunk.request: chunk.new_tokens for chunk in plan.chunks}
        rows.append(tuple(given.get(request, 0) for request in requests))
    return rows


def one_by_one(requests: list[Request], **limits: Any) -> list[tuple[int, ...]]:
    plans = steps_of(engine(group_decodes=False, block_size=4, **limits), requests)
    return tokens(plans, requests)


def test_chunks_share_the_budget_and_seats_run_out() -> None:
    requests = [Request(0, 0.0, 6, 3), Request(1, 0.0, 4, 2), Request(2, 0.0, 3, 1)]
    assert one_by_one(requests, max_num_batched_tokens=8, max_num_seqs=2) == [
        (6, 2, 0),  # the budget of 8 leaves 2 tokens for the second; both seats are taken
        (1, 2, 0),
        (1, 1, 0),  # both are done
        (0, 0, 3),
    ]


def test_long_prefill_threshold_lets_a_short_prompt_in() -> None:
    requests = [Request(0, 0.0, 10, 1), Request(1, 0.0, 3, 1)]
    limits = {"max_num_batched_tokens": 8, "long_prefill_token_threshold": 4}
    assert one_by_one(requests, **limits) == [(4, 3), (6, 0)]  # alone again, the first has no limit


def test_without_chunking_a_long_head_blocks_the_queue() -> None:
    requests = [Request(0, 0.0, 5, 1), Request(1, 0.0, 6, 1), Request(2, 0.0, 1, 1)]
    limits = {"max_num_batched_tokens": 8, "enable_chunked_prefill": False}
    assert one_by_one(requests, **limits) == [(5, 0, 0), (0, 6, 1)]


@pytest.mark.parametrize("group_decodes", [True, False])
@pytest.mark.parametrize(("caching", "recomputed"), [(False, 8), (True, 4)])
def test_preemption_by_recomputation(group_decodes: bool, caching: bool, recomputed: int) -> None:
    """Two requests of 7 tokens fill 4 blocks; in step 2 the first needs a third and takes it from the second.

    That one waits with 9 known tokens (3 blocks) until the first is done in step 5, and is recomputed
    in step 6. With prefix caching the first of its two full blocks is still there, the second was the
    block handed out.
    """
    first, second = Request(0, 0.0, 7, 6), Request(1, 0.0, 7, 3)
    replica = engine(group_decodes=group_decodes, block_size=4, num_gpu_blocks=5, enable_prefix_caching=caching)
    plans = steps_of(replica, [first, second])
    assert len(plans) == 7
    assert [plan.preempted for plan in plans] == [[], [], [second], [], [], [], []]
    assert plans[6].resumed == [second]
    assert [chunk.new_tokens for chunk in plans[6].chunks] == [1 + recomputed]
    assert second.preemptions == 1
    assert second.recomputed_tokens == recomputed
    assert second.cached_tokens == 0
    assert replica.kv.free_blocks == 4


def test_equal_prefixes_in_one_step_share_blocks() -> None:
    """The second request hits the blocks that the first is about to write; its last token is never a hit."""
    prompt = (("system", 8), ("a", 1))
    first, second = (Request(id, 0.0, 9, 1, segments=prompt) for id in (0, 1))
    third = Request(2, 0.0, 8, 1, segments=(("system", 8),))
    replica = engine(block_size=4, num_gpu_blocks=101)
    plans = steps_of(replica, [first, second, third])
    assert [(chunk.new_tokens, chunk.computed_before) for chunk in plans[0].chunks] == [
        (9, 0),
        (1, 8),
        (4, 4),
    ]
    assert [request.cached_tokens for request in (first, second, third)] == [0, 8, 4]


def test_equal_blocks_behind_different_prefixes_are_not_shared() -> None:
    first = Request(0, 0.0, 9, 1, segments=(("x", 4), ("same", 4), ("end", 1)))
    second = Request(1, 0.0, 9, 1, segments=(("y", 4), ("same", 4), ("end", 1)))
    steps_of(engine(block_size=4), [first, second])
    assert second.cached_tokens == 0


def test_priority_admits_urgent_first_and_preempts_the_least_urgent() -> None:
    lazy, urgent = Request(0, 0.0, 7, 6, priority=5), Request(1, 0.0, 7, 6, priority=1)
    replica = engine(Priority(), block_size=4, num_gpu_blocks=5, enable_prefix_caching=False)
    plans = steps_of(replica, [lazy, urgent])
    assert plans[0].admitted == [urgent, lazy]
    assert lazy.preemptions == 1
    assert urgent.preemptions == 0


def test_a_request_too_large_for_the_replica_is_refused_in_words() -> None:
    from sim.errors import ServecastError

    with pytest.raises(ServecastError, match=r"request 0 with 20 tokens needs 5 KV blocks .* has 4"):
        steps_of(engine(block_size=4, num_gpu_blocks=5), [Request(0, 0.0, 20, 1)])


def test_equal_requests_under_pressure_do_not_preempt_each_other_for_ever() -> None:
    """Chunked prompts of one arrival time and priority, admitted beyond what the memory can hold together."""
    requests = [Request(id, 0.0, prompt, 40) for id, prompt in enumerate([115, 97, 123, 120])]
    replica = engine(
        Priority(), block_size=1, num_gpu_blocks=202, max_model_len=200, max_num_seqs=3,
        long_prefill_token_threshold=16, scheduler_reserve_full_isl=False, enable_prefix_caching=False,
    )  # fmt: skip
    steps_of(replica, requests, most=2000)
    assert replica.is_idle
    assert [request.generated_tokens for request in requests] == [40] * 4
