"""Nothing is lost between prefill and decode replicas, and nothing is moved twice, over random clusters."""

import dataclasses
from itertools import pairwise
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sim.batching.vllm_v1 import VllmV1
from sim.choice import options
from sim.cluster.handing_replicas import DecodeReplica, PrefillReplica
from sim.cluster.handover import AfterPrefill, HandoverRules, LayerWise
from sim.cluster.outlet import Outlet
from sim.engine import QueueOrdering
from sim.kvcache.paged import Paged
from sim.metrics import gpu_time
from sim.metrics.context import context_of
from sim.metrics.invariants import check_causality
from sim.ordering.fcfs import Fcfs
from sim.record import Record
from sim.routing.least_outstanding import LeastOutstanding
from sim.routing.least_outstanding_tokens import LeastOutstandingTokens
from sim.routing.random import Random
from sim.routing.round_robin import RoundRobin
from tests.cluster.handing import BYTES_PER_BLOCK, serve_apart
from tests.cluster.strategies import Case, cases
from tests.cluster.test_fast_forward import content

OUTLETS = [Outlet(), Outlet(1e4), Outlet(1e5, hop_s=0.01), Outlet(1e5, sharing=2), Outlet(64_000)]


@st.composite
def apart(draw: st.DrawFn, batching_name: str | None = None) -> tuple[Case, dict[str, Any]]:
    """A random case of one pool, made into two."""
    case = draw(cases(batching_name))
    given = dict(case.options)
    if given.pop("lora") is not None:  # refused here
        case = dataclasses.replace(case, table=dataclasses.replace(case.table, adapter=None, adapters=()))
    block = given["limits"]["block_size"]
    if isinstance(given["ordering"], QueueOrdering):
        given["ordering"] = Fcfs()
    if any(getattr(given["batching"], name, False) for name in ("keeps_finished", "promises_answers")):
        given["batching"] = VllmV1()
    pool = {
        name: given.pop(name)
        for name in ("host_link", "decide_ahead", "request_overhead_s", "output_overhead_s")
        if name in given
    }
    # A router that looks into engines may, asked at the very end of another replica's step, see it as it was before
    # on one path and as it is after on the other.
    if not isinstance(given["router"], RoundRobin | Random | LeastOutstanding | LeastOutstandingTokens):
        given["router"] = LeastOutstanding()
    spare = draw(st.sampled_from([0, 30 // block, 1000]))
    replicas = given.pop("replicas")
    sending = draw(st.sampled_from([AfterPrefill(), LayerWise()]))
    return case, given | {
        "pool": pool,
        "prefill": replicas,
        "decode": draw(st.integers(1, 3)),
        "rules": HandoverRules(sending, draw(st.sampled_from([0, 0, 30]))),
        "prefill_outlet": draw(st.sampled_from(OUTLETS)),
        "decode_outlet": draw(st.sampled_from(OUTLETS)),
        "decode_overhead_s": draw(st.sampled_from([0.0, 1 / 64])),
        "prefill_kv_cache": draw(st.sampled_from([Paged(), None])),
        "decode_limits": {"num_gpu_blocks": given["limits"]["num_gpu_blocks"] + spare},
    }


def check(case: Case, record: Record, asked: dict[str, Any]) -> None:
    rows, steps = record.requests, record.steps
    # INV-1
    assert len(set(rows["id"].tolist())) == len(rows["id"]) == len(case.table) - record.counters["requests_not_sent"]
    assert set(rows["status"].tolist()) <= {"finished", "rejected", "cancelled", "timed_out"}
    accepted = rows["status"] != "rejected"
    done = accepted & (rows["generated_tokens"] == rows["output_tokens"])
    cut = accepted & ~done
    assert done[rows["status"] == "finished"].all()
    # INV-3
    check_causality(rows)
    apart = rows["prefill_replica"] >= 0
    order = ["scheduled_s", "prefilled_s", "kv_received_s", "decode_scheduled_s", "finish_s"]
    for earlier, later in pairwise(order):
        assert not (rows[later][apart] < rows[earlier][apart] - 1e-12).any()
    # INV-5: no token is computed twice but after a preemption
    owed = (rows["prompt_tokens"] + rows["generated_tokens"] - 1)[done].sum()
    computed = ((steps["prefill_tokens"] + steps["decodes"]) * steps["steps"]).sum()
    surplus = computed - owed - rows["recomputed_tokens"].sum() + rows["cached_tokens"].sum()
    assert 0 <= surplus <= (rows["prompt_tokens"] + rows["generated_tokens"])[cut].sum()
    if not rows["preemptions"].any():
        assert not rows["recomputed_tokens"].any()
    assert (steps["sampled"] * steps["steps"]).sum() == rows["generated_tokens"].sum()
    window = accepted & rows["measured"]
    assert record.itl_counts.sum() == np.maximum(rows["generated_tokens"][window] - 1, 0).sum()
    # INV-4
    gpu_time(steps, context_of(record))
    # Exactly one copy: what left is what came, and for each request at most the blocks of its prompt.
    block = asked["limits"]["block_size"]
    moved = rows["kv_transfer_bytes"]
    received = sum(record.links["carried_bytes"])
    assert received == 2 * moved.sum()
    assert (moved <= -(-rows["prompt_tokens"] // block) * BYTES_PER_BLOCK)[accepted].all()
    if not asked["limits"]["enable_prefix_caching"]:
        there = apart & ~np.isnan(rows["kv_received_s"])
        assert (moved == -(-rows["prompt_tokens"] // block) * BYTES_PER_BLOCK)[there].all()


@settings(max_examples=100, deadline=None)
@given(apart())
def test_nothing_is_lost(drawn: tuple[Case, dict[str, Any]]) -> None:
    case, asked = drawn
    record = serve_apart(case.table, case.timer, **asked)
    check(case, record, asked)


@settings(max_examples=100, deadline=None)
@given(apart())
def test_same_bytes(drawn: tuple[Case, dict[str, Any]]) -> None:
    case, asked = drawn
    plain = serve_apart(case.table, case.timer, fast_forward=False, group_decodes=False, **asked)
    for fast_forward, group_decodes in ((True, True), (True, False)):
        fast = serve_apart(case.table, case.timer, fast_forward=fast_forward, group_decodes=group_decodes, **asked)
        assert content(fast) == content(plain)
        assert {name: column.tobytes() for name, column in fast.waits.items()} == {
            name: column.tobytes() for name, column in plain.waits.items()
        }
        assert fast.links["busy_s"].tolist() == plain.links["busy_s"].tolist()


@pytest.mark.parametrize("name", options("sim.batching"))
@settings(max_examples=15, deadline=None)
@given(data=st.data())
def test_under_every_batching(name: str, data: st.DataObject) -> None:
    case, asked = data.draw(apart(name))
    plain = serve_apart(case.table, case.timer, fast_forward=False, group_decodes=False, **asked)
    check(case, plain, asked)
    assert content(serve_apart(case.table, case.timer, **asked)) == content(plain)


@settings(max_examples=60, deadline=None)
@given(apart())
def test_blocks_at_every_decision(drawn: tuple[Case, dict[str, Any]]) -> None:
    """INV-1 and INV-2 of both engines, parked blocks included, before every step that is decided."""
    case, asked = drawn
    asked = asked | {"pool": asked["pool"] | {"decide_ahead": False}}
    checked: list[bool] = []
    with pytest.MonkeyPatch.context() as patch:
        for kind in (PrefillReplica, DecodeReplica):

            def checking(replica: Any, plain: Any = kind._drop_given_up) -> None:
                plain(replica)
                replica.engine.check()
                checked.append(replica.engine.parked_tokens >= 0)

            patch.setattr(kind, "_drop_given_up", checking)
        serve_apart(case.table, case.timer, **asked)
    assert all(checked)
