"""Fast-forward and grouped decodes leave the same bytes as one step and one request at a time (INV-6)."""

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sim.choice import name_of, options
from sim.engine.policies import QueueOrdering
from sim.latency.linear import Linear
from sim.record import Record
from tests.cluster.strategies import ORDERS, Case, cases
from tests.serving import serve, table


def content(record: Record) -> dict[str, bytes]:
    tables = {**record.requests, **{f"steps.{name}": column for name, column in record.steps.items()}}
    tables |= {"itl_bins": record.itl_bins, "itl_counts": record.itl_counts}
    return {name: column.tobytes() for name, column in tables.items()}


@settings(max_examples=150, deadline=None)
@given(cases())
def test_same_bytes(case: Case) -> None:
    plain = serve(case.table, case.timer, fast_forward=False, group_decodes=False, **case.options)
    for fast_forward, group_decodes in ((True, True), (False, True), (True, False)):
        fast = serve(case.table, case.timer, fast_forward=fast_forward, group_decodes=group_decodes, **case.options)
        assert content(fast) == content(plain)
        assert fast.makespan_s == plain.makespan_s
        assert fast.counters == plain.counters


@settings(max_examples=20, deadline=None)
@given(cases())
def test_same_seed_same_bytes(case: Case) -> None:
    first, again = (serve(case.table, case.timer, **case.options) for _ in range(2))
    assert content(first) == content(again)


def test_an_arrival_behind_the_head_can_let_the_head_in() -> None:
    """Under the adaptive threshold a newcomer shortens the first chunk of the refused head."""
    requests = table([0.0, 0.1, 0.2], [100, 190, 10], [100, 5, 5])
    limits = {
        "num_gpu_blocks": 15, "max_model_len": 200, "max_num_batched_tokens": 256,
        "long_prefill_token_threshold_adaptive": True, "scheduler_reserve_full_isl": False,
    }  # fmt: skip
    timer = Linear(base_s=0.01, per_prefill_token_s=0, per_decode_s=0).build()
    plain, fast = (serve(requests, timer, fast_forward=on, limits=limits) for on in (False, True))
    assert plain.requests["scheduled_s"].tolist() == fast.requests["scheduled_s"].tolist()
    assert plain.requests["scheduled_s"][1] < 0.3  # the first is done at 1 s


@pytest.mark.parametrize("name", options("sim.batching"))
@settings(max_examples=30, deadline=None)
@given(data=st.data())
def test_same_bytes_under_every_batching(name: str, data: st.DataObject) -> None:
    case = data.draw(cases(name))
    plain = serve(case.table, case.timer, fast_forward=False, group_decodes=False, **case.options)
    fast = serve(case.table, case.timer, **case.options)
    assert content(fast) == content(plain)


@pytest.mark.parametrize("name", options("sim.routing"))
@settings(max_examples=40, deadline=None)
@given(data=st.data())
def test_same_bytes_under_every_router(name: str, data: st.DataObject) -> None:
    case = data.draw(cases(router_name=name))
    plain = serve(case.table, case.timer, fast_forward=False, group_decodes=False, **case.options)
    fast = serve(case.table, case.timer, **case.options)
    assert content(fast) == content(plain)


@pytest.mark.parametrize("ordering", ORDERS, ids=name_of)
@settings(max_examples=40, deadline=None)
@given(case=cases())
def test_same_bytes_under_every_order(ordering: Any, case: Case) -> None:
    options = case.options | {"ordering": ordering}
    if isinstance(ordering, QueueOrdering) and options["lora"]:
        return  # refused
    plain = serve(case.table, case.timer, fast_forward=False, group_decodes=False, **options)
    fast = serve(case.table, case.timer, **options)
    assert content(fast) == content(plain)
