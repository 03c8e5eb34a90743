"""A replica in stages: schedules by hand, the bubbles of theory, and nothing lost under random load."""

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings

from sim.batching.vllm_v1 import VllmV1
from sim.cluster.pool import Pool
from sim.cluster.simulate import simulate
from sim.engine import EngineLimits
from sim.engine.pipelining import PipelinedEngine
from sim.kvcache.paged import Paged
from sim.latency import EngineTiming
from sim.latency.linear import Linear
from sim.latency.pipeline import NO_HOP, Hop, PipelineTimer, Stage
from sim.metrics import gpu_time
from sim.metrics.context import context_of
from sim.ordering.fcfs import Fcfs
from sim.record import Record
from sim.routing.round_robin import RoundRobin
from sim.workload.table import RequestTable
from tests.cluster.strategies import LONGEST, Case, cases
from tests.serving import serve, table

NO_HOST = EngineTiming(0.0, 0.0, 0.0, False)


def stages(*seconds: float, host: EngineTiming = NO_HOST, hop: Hop = NO_HOP) -> PipelineTimer:
    """Stages that take the same time for every batch."""
    timers = [Linear(base_s=second, per_prefill_token_s=0, per_decode_s=0).build() for second in seconds]
    hops = [hop] * (len(seconds) - 1) + [NO_HOP]
    return PipelineTimer([Stage(timer, one) for timer, one in zip(timers, hops, strict=True)], host)


def pipe(requests: RequestTable, timer: PipelineTimer, limits: dict[str, Any] | None = None, **options: Any) -> Record:
    said = {"num_gpu_blocks": 10_001, "max_model_len": 4096, **(limits or {})}
    ordering, batching = options.pop("ordering", Fcfs()), options.pop("batching", VllmV1())
    pool = {name: options.pop(name) for name in Pool.__dataclass_fields__ if name in options}

    def make() -> PipelinedEngine:
        return PipelinedEngine(EngineLimits(**said), batching, ordering)

    parts = Pool(make, timer, gpus_per_replica=len(timer.stages), **pool)
    return simulate(requests, [parts], **{"router": RoundRobin(), "seed": 0, **options})


def shares(record: Record) -> dict[str, float]:
    seconds = gpu_time(record.steps, context_of(record))
    whole = sum(seconds.values())
    return {name: second / whole for name, second in seconds.items()}


def test_two_batches_alternate() -> None:
    """Two prompts of 10 tokens, 10 tokens a step, stages of 1 s each: the batches take turns, nobody waits.

    A enters at 0, B at 1 (its batch is scheduled at 0 too, and waits for the stage). A returns at 2 and enters
    again, B at 3, and so on: a token every 2 s for each of them, and a step returns every second.
    """
    record = pipe(table([0.0, 0.0], 10, 4), stages(1.0, 1.0), {"max_num_batched_tokens": 10, "max_num_seqs": 2})
    assert record.steps["end_s"].tolist() == [2, 3, 4, 5, 6, 7, 8, 9]
    assert record.requests["first_token_s"].tolist() == [2, 3]
    assert record.requests["finish_s"].tolist() == [8, 9]
    assert record.requests["scheduled_s"].tolist() == [0, 0]
    # Nine seconds of two stages: eight passes through both, two half-filled ends.
    assert shares(record)["bubble"] == pytest.approx(2 / 18)


def test_a_single_batch_leaves_every_other_stage_empty() -> None:
    """Nothing may be scheduled twice: alone in four stages, a request uses a quarter of the GPUs."""
    record = pipe(table([0.0], 10, 5), stages(1.0, 1.0, 1.0, 1.0))
    assert record.steps["end_s"].tolist() == [4, 8, 12, 16, 20]
    assert shares(record)["bubble"] == pytest.approx(3 / 4)


@pytest.mark.parametrize(("p", "m"), [(2, 1), (2, 4), (4, 4), (4, 12), (8, 8)])
def test_gpipe_bubbles(p: int, m: int) -> None:
    """Filling and draining p equal stages with m batches once: a share (p - 1) / (m + p - 1) is bubble.

    Source: Huang et al., GPipe, 2019; Narayanan et al., Megatron-LM, 2021. Prompts of one token of answer are batches
    that are never seen again.
    """
    record = pipe(table(np.zeros(m), 10, 1), stages(*[0.25] * p), {"max_num_batched_tokens": 10, "max_num_seqs": 10})
    assert shares(record)["bubble"] == pytest.approx((p - 1) / (m + p - 1))
    assert record.makespan_s == pytest.approx((m + p - 1) * 0.25)


def test_the_slowest_stage_sets_the_pace() -> None:
    """Stages of 1, 3 and 2 s: a batch every 3 s, and each passes in 6 if nothing is in its way."""
    record = pipe(table(np.zeros(6), 10, 1), stages(1.0, 3.0, 2.0), {"max_num_batched_tokens": 10, "max_num_seqs": 10})
    assert record.steps["end_s"].tolist() == [6, 9, 12, 15, 18, 21]
    assert shares(record)["bubble"] == pytest.approx(1 - 6 * 6 / (3 * 21))


def test_chunks_of_one_prompt_follow_each_other() -> None:
    """Forty tokens in chunks of ten through two stages: the fourth returns after five seconds, not eight."""
    record = pipe(table([0.0], 40, 2), stages(1.0, 1.0), {"max_num_batched_tokens": 10, "max_num_seqs": 4})
    assert record.requests["first_token_s"].tolist() == [5]
    assert record.requests["finish_s"].tolist() == [7]
    assert record.steps["sampled"].tolist() == [0, 0, 0, 1, 1]


def test_sending_holds_the_sender_up() -> None:
    """Two tokens' hop of 0.5 + 2 x 0.25 s after each batch of two tokens: it counts as communication."""
    timer = stages(1.0, 1.0, hop=Hop(0.5, 0.25))
    record = pipe(table([0.0, 0.0], 2, 1), timer, {"max_num_batched_tokens": 2, "max_num_seqs": 2})
    assert record.steps["end_s"].tolist() == [3, 5]
    assert shares(record)["communication"] == pytest.approx(2 / 10)
    assert shares(record)["bubble"] == pytest.approx(4 / 10)


def test_workers_prepare_a_batch_while_the_one_before_runs() -> None:
    """0.75 s of work before and 0.25 s after: alone in full, behind another batch hidden."""
    host = EngineTiming(0.75, 0.0, 0.25, False)
    record = pipe(
        table([0.0, 0.0], 2, 1), stages(1.0, 1.0, host=host), {"max_num_batched_tokens": 2, "max_num_seqs": 2}
    )
    assert record.steps["end_s"].tolist() == [3.0, 4.0]
    # The second stage has prepared by the time its batch comes; the first waits 0.75 s.
    assert shares(record)["host"] == pytest.approx(0.75 / 8)


def test_arrivals_are_seen_when_a_batch_returns() -> None:
    """The engine waits for the oldest batch, as vLLM's core does: B comes at 0.5 and enters at 2, beside A."""
    record = pipe(table([0.0, 0.5], 10, 2), stages(1.0, 1.0))
    assert record.requests["scheduled_s"].tolist() == [0, 2]
    assert record.requests["first_token_s"].tolist() == [2, 4]
    assert record.steps["running"].tolist() == [1, 2, 1]


def test_a_request_preempted_on_its_way_still_gets_its_token() -> None:
    """Four blocks of 4: B's second token is under way when A takes the block that B would need."""
    limits = {
        "num_gpu_blocks": 5, "block_size": 4, "max_model_len": 16, "max_num_batched_tokens": 8, "max_num_seqs": 2,
        "enable_prefix_caching": False, "scheduler_reserve_full_isl": False,
    }  # fmt: skip
    record = pipe(table([0.0, 0.0], 8, 8), stages(1.0, 1.0), limits)
    rows = record.requests
    assert rows["generated_tokens"].tolist() == [8, 8]
    assert rows["preemptions"].tolist()[0] == 0 and rows["preemptions"].tolist()[1] >= 1
    assert (record.steps["recomputed_tokens"]).sum() == rows["recomputed_tokens"].sum() > 0


def _options(case: Case) -> dict[str, Any]:
    kept = set(case.options) - {"kv_cache", "decide_ahead", "host_link", "lora"}
    return {name: case.options[name] for name in kept} | {"output_overhead_s": 0.0}


@settings(max_examples=40, deadline=None)
@given(cases("vllm_v1"))
def test_a_pipeline_of_one_stage_is_a_plain_replica(case: Case) -> None:
    """Everything but where its host's time is booked."""
    host = EngineTiming(0.002, 1e-5, 0.001, False)
    gpu = Linear(base_s=0.01, per_prefill_token_s=1e-4, per_decode_s=1e-4)
    plain = Linear(base_s=0.013, per_prefill_token_s=1e-4, per_decode_s=1e-4)
    timing = EngineTiming(host.host_step_s, 0.0, host.host_exposed_s, False)
    patience = {"request_timeout_s": None, "queue_timeout_s": None}
    options = _options(case) | patience
    if case.table.cancel_after_s is not None or case.options["lora"] is not None:
        return  # a plain replica does not take back the token that is under way
    piped = pipe(case.table, PipelineTimer([Stage(gpu.build(), NO_HOP)], timing), **options).requests
    served = serve(case.table, plain.build(), group_decodes=False, kv_cache=Paged(), **options).requests
    for name in ("status", "generated_tokens", "cached_tokens", "recomputed_tokens", "preemptions", "replica"):
        assert piped[name].tolist() == served[name].tolist(), name
    if served["preemptions"].any():
        return  # a plain replica whose requests were all preempted takes an empty step, a pipeline does not
    for name in ("scheduled_s", "first_token_s", "finish_s"):
        assert piped[name] == pytest.approx(served[name], abs=1e-9, nan_ok=True), name


@settings(max_examples=80, deadline=None)
@given(cases("vllm_v1"))
def test_nothing_is_lost_in_a_pipeline(case: Case) -> None:
    if case.options["lora"] is not None:
        return  # adapters are refused in a pipeline
    timer = PipelineTimer(
        [
            Stage(Linear(base_s=0.01, per_prefill_token_s=1e-4, per_decode_s=1e-4).build(), Hop(1e-4, 1e-6)),
            Stage(Linear(base_s=1 / 128, per_prefill_token_s=0, per_decode_s=1e-4).build(), Hop(1e-4, 1e-6)),
            Stage(Linear(base_s=0.012, per_prefill_token_s=0, per_decode_s=0).build(), NO_HOP),
        ],
        EngineTiming(0.001, 1e-5, 0.001, False),
    )
    record = pipe(case.table, timer, **_options(case))
    rows, steps = record.requests, record.steps
    assert len(set(rows["id"].tolist())) == len(rows["id"]) == len(case.table) - record.counters["requests_not_sent"]
    assert set(rows["status"].tolist()) <= {"finished", "rejected", "cancelled", "timed_out"}
    accepted = rows["status"] != "rejected"
    assert (accepted == (case.table.prompt_tokens[rows["id"]] < LONGEST)).all()
    done = accepted & (rows["generated_tokens"] == rows["output_tokens"])
    cut = accepted & ~done
    delay = case.options["request_overhead_s"]
    assert (rows["arrival_s"] + delay <= rows["scheduled_s"])[done].all()
    assert (rows["scheduled_s"] < rows["first_token_s"])[done].all()
    assert (rows["first_token_s"] <= rows["finish_s"])[done].all()
    owed = (rows["prompt_tokens"] + rows["generated_tokens"] - 1)[done].sum()
    computed = (steps["prefill_tokens"] + steps["decodes"]).sum()
    surplus = computed - owed - rows["recomputed_tokens"].sum() + rows["cached_tokens"].sum()
    assert 0 <= surplus <= (rows["prompt_tokens"] + rows["generated_tokens"] + 1)[cut].sum()
    assert steps["recomputed_tokens"].sum() == rows["recomputed_tokens"].sum()
    assert steps["sampled"].sum() >= rows["generated_tokens"].sum()
    if not cut.any():
        assert steps["sampled"].sum() == rows["generated_tokens"].sum()
        assert steps["preempted"].sum() == rows["preemptions"].sum()
    for replica in range(len(record.replicas["pool"])):
        mine = steps["replica"] == replica
        assert (steps["start_s"][mine][1:] >= steps["end_s"][mine][:-1]).all()
    gpu_time(steps, context_of(record))  # INV-4
    window = accepted & rows["measured"]
    assert record.itl_counts.sum() == np.maximum(rows["generated_tokens"][window] - 1, 0).sum()
    assert (steps["kv_used_blocks"] <= record.replicas["kv_blocks"][steps["replica"]]).all()
