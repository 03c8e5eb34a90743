"""Static batching against what can be said of it on paper, with steps of one constant time."""

import numpy as np
import pytest

from sim.batching.dynamic_window import DynamicWindow
from sim.batching.one_at_a_time import OneAtATime
from sim.batching.static import Static
from sim.latency.linear import Linear
from sim.metrics import gpu_time
from sim.metrics.context import context_of
from sim.record import Record
from tests.serving import serve, table

ONE_SECOND = Linear(base_s=1.0, per_prefill_token_s=0, per_decode_s=0).build()


def buckets(record: Record) -> dict[str, float]:
    return gpu_time(record.steps, context_of(record))


@pytest.mark.parametrize("size", [1, 2, 8])
def test_a_batch_lasts_as_long_as_its_longest_answer(size: int) -> None:
    """Answers uniform on 1..M: E[max of B] = sum over k of 1 - ((k - 1) / M)^B, against a mean of (M + 1) / 2."""
    longest, count = 50, 8000
    answers = np.random.default_rng(1).integers(1, longest + 1, count)
    record = serve(table(np.zeros(count), 1, answers), ONE_SECOND, batching=Static(batch_size=size))
    longest_of_batch = answers.reshape(-1, size).max(axis=1)
    assert record.makespan_s == longest_of_batch.sum()
    expected = sum(1 - ((k - 1) / longest) ** size for k in range(1, longest + 1))
    error = 4 * longest_of_batch.std(ddof=1) / np.sqrt(count / size)
    assert record.makespan_s / (count / size) == pytest.approx(expected, abs=error)
    # Each row of a batch is useful until its own end: the padding's share of the rows is what theory leaves.
    useful = answers.sum() / (longest_of_batch.sum() * size)
    assert useful == pytest.approx((longest + 1) / 2 / expected, rel=0.03)
    rows = (record.steps["padding_tokens"] * record.steps["steps"]).sum()
    assert rows == (longest_of_batch * size).sum() - answers.sum()


def test_batches_of_one_are_one_at_a_time() -> None:
    answers = np.random.default_rng(2).integers(1, 20, 200)
    requests = table(np.arange(200) * 7.0, 3, answers)
    one = serve(requests, ONE_SECOND, batching=OneAtATime())
    static = serve(requests, ONE_SECOND, batching=Static(batch_size=1))
    assert one.requests["finish_s"].tolist() == static.requests["finish_s"].tolist()


def test_the_window_of_the_dynamic_batcher() -> None:
    """The timeline in its docstring: who starts when, and the replica waits 1 + 2 + 3 s for more to come."""
    policy = DynamicWindow(preferred_batch_sizes=(2,), max_queue_delay=3.0)
    record = serve(table([0.0, 1.0, 2.0, 9.0], 2, 2), ONE_SECOND, batching=policy)
    assert record.requests["scheduled_s"].tolist() == [1.0, 1.0, 5.0, 12.0]
    assert record.requests["finish_s"].tolist() == [3.0, 3.0, 7.0, 14.0]
    seconds = buckets(record)
    assert seconds["window"] == 1 + 2 + 3
    assert seconds["starved"] == 2  # from 7 s to 9 s


def test_a_static_batch_that_never_fills_starts_when_its_first_has_waited() -> None:
    record = serve(
        table([0.0, 0.4], 1, 1), ONE_SECOND, batching=Static(batch_size=3, timeout=0.5), request_overhead_s=0.25
    )  # fmt: skip
    assert record.requests["scheduled_s"].tolist() == [0.75, 0.75]  # half a second after it came to the queue


def test_padding_costs_the_time_of_the_rows_and_context_that_it_fills() -> None:
    """Prompts of 10 and 4, answers of 3 and 1: 20 prompt rows, then 2 rows that attend to 22 and 24 tokens."""
    timer = Linear(base_s=1.0, per_prefill_token_s=0.1, per_decode_s=0.01, per_context_token_s=0.001).build()
    record = serve(table([0.0, 0.0], [10, 4], [3, 1]), timer, batching=Static(batch_size=2))
    prefill, first, second = 1 + 20 * (0.1 + 0.001), 1 + 2 * 0.01 + 0.022, 1 + 2 * 0.01 + 0.024
    assert record.makespan_s == pytest.approx(prefill + first + second)
    seconds = buckets(record)
    assert seconds["padding"] == pytest.approx(prefill * 6 / 20 + first / 2 + second / 2)
    assert seconds["prefill"] == pytest.approx(prefill * 14 / 20)
