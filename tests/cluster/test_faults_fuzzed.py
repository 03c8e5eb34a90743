"""Random scenarios with random faults: every request ends once, no second of a GPU is lost, both paths agree."""

from typing import Any

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from sim.faults import Fault
from sim.faults.crash import Crash
from sim.faults.random_crashes import RandomCrashes
from sim.faults.rolling_restart import RollingRestart
from sim.faults.slow_link import SlowLink
from sim.faults.spot_loss import SpotLoss
from sim.faults.straggler import Straggler
from sim.latency import EngineTiming
from sim.latency.pipeline import NO_HOP, Hop, PipelineTimer, Stage
from sim.metrics import check_causality, gpu_time
from sim.metrics.context import context_of
from tests.cluster.strategies import LONGEST, Case, cases
from tests.cluster.test_fast_forward import content
from tests.cluster.test_pipeline import pipe
from tests.serving import serve

TIMES = st.sampled_from([0.0, 1 / 64, 0.1, 0.25, 0.5, 0.77, 1.5, 4.0])
FAULTS: st.SearchStrategy[Fault] = st.one_of(
    st.builds(Crash, at=TIMES, restart_after=st.one_of(st.none(), TIMES), count=st.sampled_from([None, 1])),
    st.builds(Straggler, at=TIMES, until=st.one_of(st.none(), TIMES), factor=st.sampled_from([0.5, 1.0, 3.7])),
    st.builds(SlowLink, at=TIMES, until=st.one_of(st.none(), TIMES), factor=st.sampled_from([2.0, 10.0])),
    st.builds(SpotLoss, at=TIMES, notice=TIMES, count=st.sampled_from([None, 1, 2])),
    st.builds(RollingRestart, at=TIMES, at_once=st.integers(1, 2), grace=st.one_of(st.none(), TIMES)),
    st.builds(RandomCrashes, mtbf=st.sampled_from([0.3, 2.0]), mttr=st.sampled_from([0.0, 0.1])),
)


@st.composite
def faulty(draw: st.DrawFn, batching: str | None = None) -> tuple[Case, dict[str, Any]]:
    case = draw(cases(batching))
    return case, case.options | {
        "faults": draw(st.lists(FAULTS, min_size=1, max_size=3)),
        "cold_start_s": draw(st.sampled_from([0.0, 1 / 64, 0.2])),
        "most_requeues": draw(st.sampled_from([0, 1, 10])),
        "most_held": draw(st.sampled_from([None, None, 0, 3])),
    }


@settings(max_examples=100, deadline=None)
@given(faulty())
def test_nothing_is_lost(drawn: tuple[Case, dict[str, Any]]) -> None:
    """INV-1 to INV-5, and that fast-forward leaves the same bytes. `simulate` checks the engines' INV-1 and INV-2."""
    case, options = drawn
    record = serve(case.table, case.timer, **options)
    rows, steps = record.requests, record.steps
    assert len(set(rows["id"].tolist())) == len(rows["id"]) == len(case.table) - record.counters["requests_not_sent"]
    assert set(rows["status"].tolist()) <= {"finished", "rejected", "cancelled", "timed_out", "failed"}
    entered = rows["status"] != "rejected"
    assert (entered == (case.table.prompt_tokens[rows["id"]] < LONGEST)).all()
    assert not np.isnan(rows["finish_s"][entered]).any()
    whole = rows["generated_tokens"] == rows["output_tokens"]
    assert whole[rows["status"] == "finished"].all()
    assert not whole[entered & np.isin(rows["status"], ("timed_out", "failed"))].any()
    assert (rows["requeues"][rows["status"] == "finished"] <= options["most_requeues"]).all()
    check_causality(rows)
    gpu_time(steps, context_of(record))
    # Tokens are generated once, whatever happens, and what a crash cost is recomputed.
    assert (steps["sampled"] * steps["steps"]).sum() == rows["generated_tokens"].sum()
    assert (steps["recomputed_tokens"] * steps["steps"]).sum() == rows["recomputed_tokens"].sum()
    done = entered & whole
    owed = (rows["prompt_tokens"] + rows["generated_tokens"] - 1)[done].sum()
    computed = ((steps["prefill_tokens"] + steps["decodes"]) * steps["steps"]).sum()
    surplus = computed - owed - rows["recomputed_tokens"].sum() + rows["cached_tokens"].sum()
    assert 0 <= surplus <= (rows["prompt_tokens"] + rows["generated_tokens"])[entered & ~whole].sum()
    measured = entered & rows["measured"]
    assert record.itl_counts.sum() == np.maximum(rows["generated_tokens"][measured] - 1, 0).sum()

    plain = serve(case.table, case.timer, **options | {"fast_forward": False, "group_decodes": False})
    assert content(plain) == content(record)
    assert plain.counters == record.counters
    assert all((plain.lives[name] == record.lives[name]).all() for name in record.lives)


@settings(max_examples=30, deadline=None)
@given(faulty("vllm_v1"))
def test_nothing_is_lost_in_a_pipeline(drawn: tuple[Case, dict[str, Any]]) -> None:
    case, options = drawn
    if options["lora"] is not None:
        return  # adapters are refused in a pipeline
    kept = set(options) - {"kv_cache", "decide_ahead", "host_link", "lora"}
    timer = PipelineTimer([Stage(case.timer, Hop(1e-4, 1e-6)), Stage(case.timer, NO_HOP)], EngineTiming(0.001, 1e-5))
    record = pipe(case.table, timer, **{name: options[name] for name in kept} | {"output_overhead_s": 0.0})
    rows = record.requests
    assert len(set(rows["id"].tolist())) == len(rows["id"]) == len(case.table) - record.counters["requests_not_sent"]
    entered, whole = rows["status"] != "rejected", rows["generated_tokens"] == rows["output_tokens"]
    assert not np.isnan(rows["finish_s"][entered]).any()
    assert whole[rows["status"] == "finished"].all()
    assert not whole[entered & np.isin(rows["status"], ("timed_out", "failed"))].any()
    check_causality(rows)
    gpu_time(record.steps, context_of(record))
    assert record.steps["recomputed_tokens"].sum() == rows["recomputed_tokens"].sum()
    measured = entered & rows["measured"]
    assert record.itl_counts.sum() == np.maximum(rows["generated_tokens"][measured] - 1, 0).sum()
