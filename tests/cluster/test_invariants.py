"""Nothing is lost: requests, tokens, blocks and time, over random scenarios."""

import numpy as np
import pytest
from hypothesis import given, settings

from sim.errors import ServecastError
from sim.latency.linear import Linear
from sim.metrics import gpu_time
from sim.metrics.context import context_of
from sim.request import Request
from tests.cluster.strategies import LONGEST, Case, cases
from tests.serving import LinearTimer, engine, serve, table


@settings(max_examples=60, deadline=None)
@given(cases())
def test_requests_tokens_and_time(case: Case) -> None:
    record = serve(case.table, case.timer, **case.options | {"output_overhead_s": 0.0})
    rows, steps = record.requests, record.steps
    # INV-1: every request ends in exactly one state; turns after one that was dropped are never sent.
    assert len(set(rows["id"].tolist())) == len(rows["id"]) == len(case.table) - record.counters["requests_not_sent"]
    assert set(rows["status"].tolist()) <= {"finished", "rejected", "cancelled", "timed_out"}
    accepted = rows["status"] != "rejected"
    assert (accepted == (case.table.prompt_tokens[rows["id"]] < LONGEST)).all()
    done = accepted & (rows["generated_tokens"] == rows["output_tokens"])
    cut = accepted & ~done  # given up on the way
    assert done[rows["status"] == "finished"].all()
    assert not done[rows["status"] == "timed_out"].any()
    # INV-3: causality.
    delay = case.options["request_overhead_s"]
    assert (rows["arrival_s"] + delay <= rows["scheduled_s"])[done].all()
    assert (rows["scheduled_s"] < rows["first_token_s"])[done].all()
    assert (rows["first_token_s"] <= rows["finish_s"])[done].all()
    assert (rows["arrival_s"] <= rows["finish_s"])[accepted].all()
    # INV-5: tokens computed = owed + recomputed - cached; the last token of an answer is never computed.
    owed = (rows["prompt_tokens"] + rows["generated_tokens"] - 1)[done].sum()
    computed = ((steps["prefill_tokens"] + steps["decodes"]) * steps["steps"]).sum()
    surplus = computed - owed - rows["recomputed_tokens"].sum() + rows["cached_tokens"].sum()
    assert 0 <= surplus <= (rows["prompt_tokens"] + rows["generated_tokens"])[cut].sum()
    assert (steps["recomputed_tokens"] * steps["steps"]).sum() == rows["recomputed_tokens"].sum()
    assert (steps["sampled"] * steps["steps"]).sum() == rows["generated_tokens"].sum()
    assert steps["preempted"].sum() == rows["preemptions"].sum()
    # A replica does one thing at a time, and idles only when it holds no request, or holds some back.
    for replica in range(len(record.replicas["pool"])):
        mine = steps["replica"] == replica
        start, end = steps["start_s"][mine], steps["end_s"][mine]
        assert (end > start).all()
        assert (start[1:] >= end[:-1]).all()
        held_since = start - steps["window_s"][mine]
        assert (held_since[1:] >= end[:-1] - 1e-9).all()
        for idle_from, idle_to in zip(end[:-1], held_since[1:], strict=True):
            reached_s = rows["arrival_s"] + delay
            held = (rows["replica"] == replica) & (reached_s < idle_to - 1e-9) & (rows["finish_s"] > reached_s + 1e-9)
            assert idle_to - idle_from < 1e-9 or (rows["finish_s"][held] <= idle_from).all()
    # INV-4: gpu_time raises unless every second of every replica is in one bucket.
    context = context_of(record)
    seconds = gpu_time(steps, context)
    assert (seconds["window"] > 0) == bool((steps["window_s"] > 0).any())
    # Steps wait for what moved, and for nothing else.
    link, moved = case.options["host_link"], record.counters
    loaded_s = moved.get("adapter_loads", 0) / 256 + moved.get("adapter_disk_loads", 0) / 32
    if "swapped_out_tokens" in moved:
        bytes_per_token = link.bytes_per_block / record.replicas["block_size"][0]
        swapped = moved["swapped_out_tokens"] + moved["swapped_in_tokens"]
        over_link = swapped + moved["host_hit_tokens"] + moved["disk_hit_tokens"]
        least_s = over_link * bytes_per_token / link.bytes_per_s
        most_s = least_s + moved["disk_hit_tokens"] * bytes_per_token / link.disk_bytes_per_s
        assert least_s - 1e-9 <= seconds["transfer"] - loaded_s <= most_s + 1e-9
        assert moved["swapped_in_tokens"] <= moved["swapped_out_tokens"]
    else:
        assert seconds["transfer"] == pytest.approx(loaded_s)
    # Every gap between two tokens of a measured request is in the histogram.
    window = accepted & rows["measured"]
    assert record.itl_counts.sum() == np.maximum(rows["generated_tokens"][window] - 1, 0).sum()
    # INV-2 held at the end (simulate checks it); blocks used never exceed the capacity.
    assert (steps["kv_used_blocks"] <= record.replicas["kv_blocks"][steps["replica"]]).all()


def test_a_recomputed_token_that_looks_like_a_decode() -> None:
    """Request 2 loses its 68 tokens and gets them back at most four at a time, the last four one by one."""
    limits = {
        "max_model_len": 200, "num_gpu_blocks": 201, "block_size": 1, "max_num_seqs": 3,
        "max_num_batched_tokens": 1, "max_num_scheduled_tokens": 5, "enable_prefix_caching": False,
        "long_prefill_token_threshold_adaptive": True, "scheduler_reserve_full_isl": False,
    }  # fmt: skip
    requests = table([0.0, 1e-4, 2e-4], [3, 1, 7], [81, 65, 91])
    record = serve(requests, Linear(0.01, 0, 0).build(), limits=limits)
    assert record.requests["recomputed_tokens"].tolist() == [0, 0, 68]
    assert (record.steps["recomputed_tokens"] * record.steps["steps"]).sum() == 68
    # Tokens sampled: every token of every answer once, although four decodes of one token sampled nothing.
    assert (record.steps["sampled"] * record.steps["steps"]).sum() == 81 + 65 + 91


@settings(max_examples=40, deadline=None)
@given(cases())
def test_littles_law(case: Case) -> None:
    """Where nobody is preempted: the batch seen step by step holds what the requests say they spent in it."""
    record = serve(case.table, case.timer, **case.options | {"output_overhead_s": 0.0})
    rows, steps = record.requests, record.steps
    if rows["preemptions"].any() or not set(rows["status"].tolist()) <= {"finished", "rejected"}:
        return
    seated = np.nansum(rows["finish_s"] - rows["scheduled_s"])
    seen = np.sum(steps["running"] * (steps["end_s"] - steps["start_s"]))
    assert seen == pytest.approx(seated, rel=1e-9, abs=1e-9)


@settings(max_examples=60, deadline=None)
@given(cases())
def test_blocks_and_queues_at_every_step(case: Case) -> None:
    """INV-1 and INV-2 after every decision and every completion, driven by hand."""
    for group_decodes in (True, False):
        policies = case.options["batching"], case.options["kv_cache"]
        room, _ = case.options["lora"] or (None, None)
        replica = engine(case.options["ordering"], group_decodes, *policies, room, **case.options["limits"])
        rows = zip(case.table.prompt_tokens.tolist(), case.table.output_tokens.tolist(), strict=True)
        segments = case.table.segments or [None] * len(case.table)
        finished = accepted = 0
        for index, (prompt, answer) in enumerate(rows):
            if prompt >= LONGEST:
                continue
            accepted += 1
            answer = min(answer, LONGEST - prompt)
            request = Request(index, 0.0, prompt, answer, index % 3, segments[index], tenant=index % 2)
            if case.table.adapter is not None:
                request.adapter = int(case.table.adapter[index])
            replica.add(request)
            if index % 4 == 0:
                finished += _step(replica)
        while not replica.is_idle:
            finished += _step(replica)
        assert finished == accepted
        assert replica.kv.used_blocks == 0


def _step(replica) -> int:  # type: ignore[no-untyped-def]
    plan = replica.schedule()
    if plan.hold is not None:
        plan = replica.schedule(window_over=True)
    budget = replica.limits.token_budget
    assert plan.decodes + sum(chunk.new_tokens for chunk in plan.chunks) <= budget
    assert len(replica.running) <= replica.limits.max_num_seqs
    finished = len(replica.complete(plan))
    replica.check()
    return finished


def timer() -> LinearTimer:
    return Linear(base_s=0.01).build()


def test_too_long_prompts_are_rejected_and_long_answers_cut() -> None:
    record = serve(table([0, 0, 0], [50, 10, 49], [5, 100, 7]), timer(), limits={"max_model_len": 50})
    assert record.requests["status"].tolist() == ["rejected", "finished", "finished"]
    assert record.requests["generated_tokens"].tolist() == [0, 40, 1]
    assert np.isnan(record.requests["finish_s"][0])
    assert record.requests["replica"][0] == -1


def test_a_rejected_request_does_not_stop_its_user() -> None:
    from tests.serving import ClosedLoop

    requests = table(np.zeros(3), [50, 10, 10], 2, closed_loop=ClosedLoop(1, np.zeros(3)))
    record = serve(requests, timer(), limits={"max_model_len": 50})
    assert record.requests["status"].tolist() == ["rejected", "finished", "finished"]


def test_warm_up_and_cool_down_are_served_but_not_measured() -> None:
    record = serve(table([0.0, 1.0, 2.0, 3.0], 5, 3), timer(), warmup_s=0.5, cooldown_s=0.5)
    assert record.requests["measured"].tolist() == [False, True, True, False]
    assert record.itl_counts.sum() == 2 * 2


def test_cool_down_of_a_closed_loop_is_refused() -> None:
    from tests.serving import ClosedLoop

    requests = table(np.zeros(2), 5, 3, closed_loop=ClosedLoop(1, np.zeros(2)))
    with pytest.raises(ServecastError, match="cooldown"):
        serve(requests, timer(), cooldown_s=1.0)


def test_progress_reaches_the_end() -> None:
    seen: list[tuple[int, int]] = []
    serve(table(np.arange(600) * 0.1, 5, 3), timer(), progress=lambda done, total: seen.append((done, total)))
    assert seen == [(256, 600), (512, 600), (600, 600)]
