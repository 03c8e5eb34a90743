"""Requests that are given up: by clients after a time or some tokens, by the server after a time-out."""

from typing import Any

import numpy as np
import pytest

from sim.batching.static import Static
from sim.latency.linear import Linear
from sim.record import Record
from sim.request import Request
from tests.serving import engine, serve, table

STEP = Linear(base_s=1.0, per_prefill_token_s=0, per_decode_s=0).build()
"""Every step takes a second."""


def outcome(record: Record) -> list[tuple[str, int, float]]:
    """(status, generated tokens, finish) of every request."""
    rows = record.requests
    return list(zip(rows["status"].tolist(), rows["generated_tokens"].tolist(), rows["finish_s"].tolist(), strict=True))


@pytest.mark.parametrize("fast_forward", [True, False])
@pytest.mark.parametrize(
    ("after_s", "generated", "finish_s"),
    [(2.5, 3, 3.0), (3.0, 3, 3.0), (0.1, 1, 1.0), (9.5, 10, 10.0), (99.0, 10, 10.0)],
)
def test_a_client_gives_up_at_the_end_of_a_step(
    fast_forward: bool, after_s: float, generated: int, finish_s: float
) -> None:
    """Ten tokens, one a second: after 2.5 s the third is on its way. The tenth is there before anybody can stop it."""
    requests = table([0.0], 5, 10, cancel_after_s=[after_s])
    record = serve(requests, STEP, fast_forward=fast_forward)
    assert outcome(record) == [("finished" if generated == 10 else "cancelled", generated, finish_s)]


@pytest.mark.parametrize("fast_forward", [True, False])
def test_its_seat_goes_to_the_next(fast_forward: bool) -> None:
    """One seat: the second waits till the first is given up at 3 s, the third gives up waiting at 5 s."""
    requests = table([0.0, 0.0, 0.0], 5, 10, cancel_after_s=[2.5, np.inf, 4.5])
    record = serve(requests, STEP, fast_forward=fast_forward, limits={"max_num_seqs": 1})
    assert outcome(record) == [("cancelled", 3, 3.0), ("finished", 10, 13.0), ("cancelled", 0, 5.0)]
    assert record.requests["scheduled_s"][:2].tolist() == [0.0, 3.0]
    assert np.isnan(record.requests["scheduled_s"][2])


def test_a_step_decided_ahead_is_computed_in_vain() -> None:
    """Asynchronous: when the third step ends, in which the client gave up, the fourth is under way; it counts."""
    requests = table([0.0], 5, 10, cancel_after_s=[2.5])
    record = serve(requests, STEP, decide_ahead=True)
    assert outcome(record) == [("cancelled", 4, 3.0)]
    assert record.makespan_s == 4.0


def test_a_client_stops_reading() -> None:
    requests = table([0.0, 0.0], 5, [10, 3], cancel_after_tokens=[4, 4])
    assert outcome(serve(requests, STEP)) == [("cancelled", 4, 4.0), ("finished", 3, 3.0)]
    cut = serve(requests, STEP, limits={"max_model_len": 8})
    assert outcome(cut) == [("finished", 3, 3.0), ("finished", 3, 3.0)]  # there is no fourth token


def test_time_outs_of_the_server() -> None:
    """One seat. A is timed out after 4 s of service and B after 4 s in the queue, so that C can begin."""
    requests = table([0.0, 0.0, 3.0], 5, [10, 2, 2])
    limits = {"max_num_seqs": 1}
    record = serve(requests, STEP, limits=limits, request_timeout_s=4.0)
    assert outcome(record) == [("timed_out", 4, 4.0), ("timed_out", 0, 4.0), ("finished", 2, 6.0)]
    record = serve(requests, STEP, limits=limits, queue_timeout_s=1.5)
    assert outcome(record) == [("finished", 10, 10.0), ("timed_out", 0, 2.0), ("timed_out", 0, 5.0)]


def test_whoever_is_cancelled_sends_the_next_request_of_a_closed_loop() -> None:
    from tests.serving import ClosedLoop

    requests = table(
        np.zeros(2), 5, 10, cancel_after_s=[2.5, np.inf], closed_loop=ClosedLoop(1, np.zeros(2))
    )  # fmt: skip
    record = serve(requests, STEP)
    assert outcome(record) == [("cancelled", 3, 3.0), ("finished", 10, 13.0)]


def test_a_batch_window_ends_when_nobody_waits_any_more() -> None:
    """Two would make a batch. The first gives up after 0.5 s; the second comes at 2 s and is alone till 5 s."""
    requests = table([0.0, 2.0], 5, 2, cancel_after_s=[0.5, np.inf])
    record = serve(requests, STEP, batching=Static(batch_size=2, timeout=3.0))
    assert outcome(record) == [("cancelled", 0, 0.5), ("finished", 2, 7.0)]


def test_a_static_batch_ends_with_its_last_member() -> None:
    requests = table([0.0, 0.0, 0.0], 5, [1, 9, 1], cancel_after_s=[np.inf, 2.5, np.inf])
    record = serve(requests, STEP, batching=Static(batch_size=2, timeout=0.0))
    assert outcome(record) == [("finished", 1, 1.0), ("cancelled", 3, 3.0), ("finished", 1, 4.0)]


@pytest.mark.parametrize("group_decodes", [True, False])
def test_blocks_are_free_and_known_content_stays_cached(group_decodes: bool) -> None:
    """Prompt 8 and answer so far 3 tokens fill 2 blocks of 4 and one more, of which the full ones have names."""
    prompt = (("p", 8),)
    given_up = Request(0, 0.0, 8, 10, segments=prompt)
    replica = engine(group_decodes=group_decodes, block_size=4, num_gpu_blocks=11)
    replica.add(given_up)
    for _ in range(3):
        replica.complete(replica.schedule())
    assert replica.kv.free_blocks == 7
    assert replica.cancel(given_up)
    replica.check()
    assert (replica.kv.free_blocks, replica.is_idle, given_up.generated_tokens) == (10, True, 3)
    again = Request(1, 0.0, 9, 1, segments=(*prompt, ("q", 1)))
    replica.add(again)
    replica.complete(replica.schedule())
    assert again.cached_tokens == 8


def test_a_preempted_request_can_be_given_up() -> None:
    first, second = Request(0, 0.0, 7, 6), Request(1, 0.0, 7, 3)
    replica = engine(block_size=4, num_gpu_blocks=5)
    for request in (first, second):
        replica.add(request)
    for _ in range(3):
        replica.complete(replica.schedule())
    assert second.preemptions == 1
    assert replica.cancel(second)
    replica.check()
    while not replica.is_idle:
        replica.complete(replica.schedule())
        replica.check()
    assert first.generated_tokens == 6
    assert not replica.cancel(first)


def run_with(**changes: Any) -> dict[str, Any]:
    from sim import run

    scenario: dict[str, Any] = {
        "model": "llama-3.1-8b",
        "workload": {
            "arrivals": {"poisson": {"rate_per_s": 20}},
            "prompt_tokens": {"fixed": {"tokens": 200}},
            "output_tokens": {"fixed": {"tokens": 100}},
            "requests": 200,
        } | changes.pop("workload", {}),
        "cluster": {"gpu": "h100-sxm"} | changes.pop("cluster", {}),
        "engine": {"max_num_seqs": 4},
    }  # fmt: skip
    result = run(scenario)
    return result.summary | {"all_warnings": " ".join(result.warnings)}


def test_a_run_counts_what_was_given_up() -> None:
    summary = run_with(workload={"patience": {"fixed": {"after": "2s"}}}, cluster={"queue_timeout": "1s"})
    ended = summary["requests"]
    assert sum(ended[status] for status in ("finished", "cancelled", "timed_out")) == 200
    assert ended["timed_out"] > 0
    assert summary["failed"] == summary["num_prompts"] - summary["completed"]
    assert "timed out" in summary["all_warnings"]
    stopped = run_with(workload={"patience": {"stops_reading": {"tokens": {"fixed": {"tokens": 30}}, "share": 1}}})
    assert stopped["requests"]["cancelled"] == 200
    assert stopped["given_up_output_tokens"] == 200 * 30
    assert "cut short" not in stopped["all_warnings"]
