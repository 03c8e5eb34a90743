"""Ranks that take every step together: schedules by hand, one rank as a plain replica, and nothing lost."""

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings

from sim.batching.vllm_v1 import VllmV1
from sim.cluster.pool import Pool
from sim.cluster.simulate import simulate
from sim.latency import StepTime, StepTimer
from sim.latency.linear import Linear
from sim.latency.ranks import RanksTimer
from sim.metrics import gpu_time
from sim.metrics.context import context_of
from sim.models.shape import BatchShape
from sim.record import Record
from sim.routing.round_robin import RoundRobin
from sim.workload.table import RequestTable
from tests.cluster.strategies import Case, cases
from tests.serving import engine, serve, table


class SlowestRank(RanksTimer):
    """Every rank takes as long as the slowest would alone."""

    def __init__(self, ranks: int, alone: StepTimer) -> None:
        self.ranks = ranks
        self._alone = alone

    def together(self, shapes: list[BatchShape | None]) -> list[StepTime]:
        slowest = max((self._alone.step(shape) for shape in shapes if shape is not None), key=lambda time: time.total_s)
        return [slowest] * len(shapes)


PER_TOKEN = Linear(base_s=1.0, per_prefill_token_s=0.125, per_decode_s=0.0).build()


def together(requests: RequestTable, ranks: int, timer: StepTimer, **options: Any) -> Record:
    limits = options.pop("limits", {})
    parts = [options.pop(name, None) for name in ("ordering", "batching", "kv_cache")]
    groups = options.pop("replicas", 1)
    pool = {name: options.pop(name) for name in Pool.__dataclass_fields__ if name in options}
    ordering, batching, kv_cache = parts
    pools = [
        Pool(
            lambda: engine(ordering, True, batching or VllmV1(), kv_cache, **limits),
            SlowestRank(ranks, timer),
            replicas=groups * ranks,
            **pool,
        )
    ]
    return simulate(requests, pools, **{"router": RoundRobin(), "seed": 0, **options})


def test_a_long_prompt_holds_up_the_other_rank() -> None:
    """Rank 0 reads 8 tokens (2 s), rank 1 reads 40 (6 s): both have their first token after six seconds."""
    record = together(table([0.0, 0.0], [8, 40], [2, 3]), 2, PER_TOKEN)
    assert record.requests["replica"].tolist() == [0, 1]
    assert record.requests["first_token_s"].tolist() == [6, 6]
    assert record.requests["finish_s"].tolist() == [7, 8]
    # Rank 0 has nothing left to do in the last second.
    assert gpu_time(record.steps, context_of(record))["starved"] == 1.0


def test_a_request_waits_for_the_step_of_the_others() -> None:
    """Rank 1 is empty when a request comes at 1.5, but all began a step at 0, which lasts until 6."""
    record = together(table([0.0, 1.5], [40, 8], [3, 1]), 2, PER_TOKEN)
    assert record.requests["scheduled_s"].tolist() == [0, 6]
    assert record.requests["first_token_s"].tolist() == [6, 8]
    assert record.requests["finish_s"].tolist() == [9, 8]  # a decode beside a prompt of 8 takes two seconds


def test_with_steps_decided_ahead_it_waits_one_more() -> None:
    """At 1.5 the step that begins at 6 has been decided; the one after begins at 7."""
    record = together(table([0.0, 1.5], [40, 8], [5, 1]), 2, PER_TOKEN, decide_ahead=True)
    assert record.requests["scheduled_s"].tolist() == [0, 7]


def test_groups_do_not_wait_for_each_other() -> None:
    """Two groups of two: the third and fourth rank are free of the long prompt on the second."""
    record = together(table([0.0] * 4, [8, 40, 8, 8], 1), 2, PER_TOKEN, replicas=2)
    assert record.requests["finish_s"].tolist() == [6, 6, 2, 2]


@settings(max_examples=60, deadline=None)
@given(cases("vllm_v1"))
def test_one_rank_is_a_plain_replica(case: Case) -> None:
    if case.options["lora"] is not None:
        return
    options = {name: value for name, value in case.options.items() if name != "lora"}
    plain = serve(case.table, case.timer, fast_forward=False, **options)
    if not options["decide_ahead"] and plain.requests["preemptions"].any():
        return  # a plain replica whose requests were all preempted takes an empty step, ranks do not
    alone = together(case.table, 1, case.timer, **options)
    for name, column in plain.requests.items():
        np.testing.assert_array_equal(alone.requests[name], column, err_msg=name)
    for name, column in plain.steps.items():
        np.testing.assert_array_equal(alone.steps[name], column, err_msg=name)
    assert alone.itl_counts.tolist() == plain.itl_counts.tolist()


@settings(max_examples=60, deadline=None)
@given(cases("vllm_v1"))
def test_nothing_is_lost_among_ranks(case: Case) -> None:
    if case.options["lora"] is not None:
        return
    options = {name: value for name, value in case.options.items() if name != "lora"}
    record = together(case.table, 3, case.timer, **options | {"output_overhead_s": 0.0})
    rows, steps = record.requests, record.steps
    assert len(set(rows["id"].tolist())) == len(rows["id"]) == len(case.table) - record.counters["requests_not_sent"]
    assert set(rows["status"].tolist()) <= {"finished", "rejected", "cancelled", "timed_out"}
    accepted = rows["status"] != "rejected"
    done = accepted & (rows["generated_tokens"] == rows["output_tokens"])
    assert done[rows["status"] == "finished"].all()
    assert (rows["scheduled_s"] < rows["first_token_s"])[done].all()
    owed = (rows["prompt_tokens"] + rows["generated_tokens"] - 1)[done].sum()
    computed = ((steps["prefill_tokens"] + steps["decodes"]) * steps["steps"]).sum()
    surplus = computed - owed - rows["recomputed_tokens"].sum() + rows["cached_tokens"].sum()
    assert 0 <= surplus <= (rows["prompt_tokens"] + rows["generated_tokens"])[accepted & ~done].sum()
    window = accepted & rows["measured"]
    assert record.itl_counts.sum() == np.maximum(rows["generated_tokens"][window] - 1, 0).sum()
    gpu_time(steps, context_of(record))  # INV-4
    # Steps of a group that overlap are one step (rows of several decode steps apart).
    for group in range(len(record.replicas["pool"]) // 3):
        mine = (steps["replica"] // 3 == group) & (steps["steps"] == 1) & (steps["transfer_s"] == 0)
        start, end = steps["start_s"][mine], steps["end_s"][mine]
        for begin in np.unique(start):
            assert len(np.unique(end[start == begin])) == 1


def test_ranks_without_requests_cost_nothing_to_simulate() -> None:
    record = together(table([0.0], 8, 2), 4, PER_TOKEN)
    assert record.counters["engine_steps"] == 2
    assert gpu_time(record.steps, context_of(record))["starved"] == pytest.approx(3 * 3.0)
