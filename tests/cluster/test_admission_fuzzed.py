"""Random scenarios with random admission, retries and faults: every request ends once, and both paths agree."""

from dataclasses import replace
from typing import Any

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from sim.admission.predicted_ttft import PredictedTtft
from sim.admission.queue_limit import QueueLimit
from sim.admission.token_bucket import TokenBucket
from sim.cluster.turning_away import TurningAway
from sim.metrics import check_causality, gpu_time
from sim.metrics.context import context_of
from sim.workload.retries import Retries
from tests.cluster.handing import serve_apart
from tests.cluster.strategies import LONGEST, Case, built_in, cases
from tests.cluster.test_fast_forward import content
from tests.cluster.test_faults_fuzzed import FAULTS
from tests.cluster.test_handover_fuzzed import apart
from tests.serving import serve

RETRIES = st.builds(
    Retries,
    max_attempts=st.sampled_from([2, 3, 10]),
    first_delay=st.sampled_from([1 / 64, 0.1, 0.5]),
    factor=st.sampled_from([1.0, 2.0]),
    max_delay=st.sampled_from([0.5, 8.0]),
    jitter=st.sampled_from([0.0, 0.25, 1.0]),
)


@st.composite
def guarded(draw: st.DrawFn) -> tuple[Case, dict[str, Any]]:
    case = draw(cases())
    rules = draw(st.lists(built_in("sim.admission"), min_size=0, max_size=2))
    options = case.options | {
        "turning_away": TurningAway(tuple(rules), draw(st.one_of(st.none(), RETRIES))),
        "gateway_latency_s": draw(st.sampled_from([0.0, 1 / 64, 0.005])),
    }
    if draw(st.booleans()):
        options |= {
            "faults": draw(st.lists(FAULTS, min_size=1, max_size=2)),
            "cold_start_s": draw(st.sampled_from([0.0, 0.2])),
            "most_requeues": draw(st.sampled_from([0, 10])),
            "most_held": draw(st.sampled_from([None, 0, 3])),
        }
    return case, options


@settings(max_examples=60, deadline=None)
@given(guarded())
def test_every_request_ends_in_one_state(drawn: tuple[Case, dict[str, Any]]) -> None:
    """INV-1 to INV-5 with retries, and that fast-forward leaves the same bytes."""
    case, options = drawn
    record = serve(case.table, case.timer, **options)
    rows, steps, retries = record.requests, record.steps, options["turning_away"].retries
    assert len(set(rows["id"].tolist())) == len(rows["id"]) == len(case.table) - record.counters["requests_not_sent"]
    assert set(rows["status"].tolist()) <= {"finished", "rejected", "refused", "cancelled", "timed_out", "failed"}
    refused = rows["status"] == "refused"
    entered = ~refused & (rows["status"] != "rejected")
    assert ((rows["status"] == "rejected") == (case.table.prompt_tokens[rows["id"]] >= LONGEST)).all()
    assert not np.isnan(rows["finish_s"][entered]).any()
    assert np.isnan(rows["finish_s"][~entered]).all() and np.isnan(rows["scheduled_s"][~entered]).all()
    assert not rows["generated_tokens"][~entered].any() and (rows["replica"][~entered] == -1).all()
    whole = rows["generated_tokens"] == rows["output_tokens"]
    assert whole[rows["status"] == "finished"].all()
    check_causality(rows)
    gpu_time(steps, context_of(record))
    assert (steps["sampled"] * steps["steps"]).sum() == rows["generated_tokens"].sum()
    measured = entered & rows["measured"]
    assert record.itl_counts.sum() == np.maximum(rows["generated_tokens"][measured] - 1, 0).sum()
    if not case.table.waits:
        assert (rows["arrival_s"] == case.table.arrival_s[rows["id"]]).all()  # the first one stays
    if retries is None:
        assert "attempts" not in rows
        if options["turning_away"].rules:
            assert record.counters["refusals"] == refused.sum()
    else:
        sent = rows["attempts"]
        assert (sent >= 1).all() and (sent <= retries.max_attempts).all()
        assert (sent[refused] == retries.max_attempts).all()
        assert (rows["sent_s"] >= rows["arrival_s"]).all()
        least_s = retries.first_delay * (1 - retries.jitter) * (sent - 1)
        assert (rows["sent_s"] - rows["arrival_s"] >= least_s - 1e-9 * sent).all()
        assert (rows["sent_s"][sent == 1] == rows["arrival_s"][sent == 1])[
            rows["status"][sent == 1] != "cancelled"
        ].all()
        seen = ~np.isnan(rows["scheduled_s"])
        assert (rows["sent_s"] + options["gateway_latency_s"] <= rows["scheduled_s"] + 1e-9)[seen].all()

    plain = serve(case.table, case.timer, **options | {"fast_forward": False, "group_decodes": False})
    assert content(plain) == content(record)
    assert plain.counters == record.counters


@settings(max_examples=20, deadline=None)
@given(cases())
def test_rules_that_refuse_nobody_change_nothing(case: Case) -> None:
    lenient = (QueueLimit(1000, 1000, 1000, 1000), TokenBucket(1e9, 1e9, 1e12, 1e12), PredictedTtft(1e6))
    open_door = serve(case.table, case.timer, **case.options)
    watched = serve(case.table, case.timer, **case.options, turning_away=TurningAway(lenient, Retries()))
    alone = {name: column for name, column in watched.requests.items() if name not in ("attempts", "sent_s")}
    assert content(replace(watched, requests=alone)) == content(open_door)
    assert (watched.requests["attempts"] == 1).all() and watched.counters["refusals"] == 0


@settings(max_examples=25, deadline=None)
@given(apart(), st.lists(built_in("sim.admission"), min_size=1, max_size=2), RETRIES)
def test_before_prefill_pools(drawn: tuple[Case, dict[str, Any]], rules: list[Any], retries: Retries) -> None:
    case, options = drawn
    options = options | {"turning_away": TurningAway(tuple(rules), retries)}
    record = serve_apart(case.table, case.timer, **options)
    rows = record.requests
    assert len(set(rows["id"].tolist())) == len(rows["id"]) == len(case.table) - record.counters["requests_not_sent"]
    assert (rows["attempts"][rows["status"] == "refused"] == retries.max_attempts).all()
    check_causality(rows)
    plain = serve_apart(case.table, case.timer, **options | {"fast_forward": False, "group_decodes": False})
    assert content(plain) == content(record)
