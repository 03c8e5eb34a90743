"""Who comes in under each rule, worked out by hand, and one limit that queueing theory knows."""

import numpy as np
import pytest

from sim.admission import Rule
from sim.admission.predicted_ttft import PredictedTtft
from sim.admission.queue_limit import QueueLimit
from sim.admission.token_bucket import TokenBucket
from sim.cluster.turning_away import TurningAway
from sim.errors import ServecastError
from sim.faults.crash import Crash
from sim.latency.linear import Linear
from sim.record import Record
from sim.routing.least_outstanding import LeastOutstanding
from sim.routing.round_robin import RoundRobin
from tests.serving import serve, table
from tests.theory.test_queues import agrees, fixed_step, poisson

ONE_AT_A_TIME = {"max_num_seqs": 1}
A_SECOND_EACH = fixed_step(1.0)


def turned_away(*rules: Rule) -> TurningAway:
    return TurningAway(rules)


def let_in(record: Record) -> list[int]:
    return record.requests["id"][record.requests["status"] == "finished"].tolist()


def test_most_outstanding() -> None:
    """A second each, one at a time, two at the most: 2 finds 0 and 1; 3 finds 1 alone, as 0 has ended; 4 finds two."""
    rows = table([0.0, 0.1, 0.2, 1.5, 1.6], 1, 1)
    record = serve(rows, A_SECOND_EACH, limits=ONE_AT_A_TIME, turning_away=turned_away(QueueLimit(outstanding=2)))
    assert record.requests["status"].tolist() == ["finished", "finished", "refused", "finished", "refused"]
    assert record.requests["scheduled_s"][[0, 1, 3]].tolist() == [0.0, 1.0, 2.0]
    assert np.isnan(record.requests["finish_s"][[2, 4]]).all()
    assert {name: record.counters[name] for name in ("refusals", "refusals_queue_limit")} == {
        "refusals": 2, "refusals_queue_limit": 2,
    }  # fmt: skip


def test_most_waiting() -> None:
    """One waiting besides the one that runs: the same as two outstanding, once the first has begun."""
    rows = table([0.0, 0.1, 0.2, 1.5, 1.6], 1, 1)
    for rule in (QueueLimit(waiting=1), QueueLimit(waiting_per_replica=1)):
        record = serve(rows, A_SECOND_EACH, limits=ONE_AT_A_TIME, turning_away=turned_away(rule))
        assert let_in(record) == [0, 1, 3]


def test_a_limit_of_each_replica_and_of_all() -> None:
    """Four at once on two replicas; a round robin would send the third to the first, which then has two."""
    rows, each = table([0.0, 0.1, 0.2, 0.3], 1, 1), QueueLimit(outstanding_per_replica=1)
    balanced = serve(
        rows, A_SECOND_EACH, replicas=2, router=LeastOutstanding(), limits=ONE_AT_A_TIME, turning_away=turned_away(each)
    )
    assert let_in(balanced) == [0, 1]
    # 2 comes when the second replica is free, and is sent to the first: it is the router that overfills it.
    uneven = table([0.0, 0.1, 0.2], 1, [5, 1, 1])
    late = table([0.0, 0.1, 1.2], 1, [5, 1, 1])
    for arrivals, expected in ((uneven, [0, 1]), (late, [0, 1, 2])):
        record = serve(
            arrivals, A_SECOND_EACH, replicas=2, router=RoundRobin(), limits=ONE_AT_A_TIME,
            turning_away=turned_away(each),
        )  # fmt: skip
        assert let_in(record) == expected
    assert record.requests["replica"].tolist() == [0, 1, 0]
    three = serve(rows, A_SECOND_EACH, replicas=2, turning_away=turned_away(QueueLimit(outstanding=3)))
    assert let_in(three) == [0, 1, 2]


def test_requests_held_at_the_gateway_count_in_all() -> None:
    """The only replica is down from 0.5 to 3.5: 1 and 2 wait at the gateway with 0, which a crash sent there."""
    rows = table([0.0, 1.5, 2.0, 2.5], 1, 1)
    options = {"faults": [Crash(at=0.5, restart_after=2.5)], "limits": ONE_AT_A_TIME}
    record = serve(rows, A_SECOND_EACH, **options, turning_away=turned_away(QueueLimit(outstanding=2)))
    assert record.requests["status"].tolist() == ["finished", "finished", "finished", "refused"]
    every = serve(rows, A_SECOND_EACH, **options, turning_away=turned_away(QueueLimit(outstanding_per_replica=1)))
    assert let_in(every) == [0, 1, 2, 3]  # nobody is full


def test_a_bucket_of_requests() -> None:
    """Two a second, two saved up: 0, 0 | 0 refused | 0.4 has 0.8 | 0.5 has 1.0, comes in | 1.0 has 1.0 | 1.0 none."""
    rows = table([0.0, 0.0, 0.0, 0.4, 0.5, 1.0, 1.0, 9.0, 9.0, 9.0], 1, 1)
    record = serve(rows, fixed_step(1e-3), turning_away=turned_away(TokenBucket(requests_per_s=2, burst=2)))
    assert let_in(record) == [0, 1, 4, 5, 7, 8]
    # Without a burst, that of one second: 0.4 has 1.2, 0.5 has 0.5, 1.0 has 2.0.
    record = serve(rows, fixed_step(1e-3), turning_away=turned_away(TokenBucket(requests_per_s=3)))
    assert let_in(record) == [0, 1, 2, 3, 5, 6, 7, 8, 9]


def test_a_bucket_on_the_dot() -> None:
    """One every tenth of a second comes in for ever, whatever rounding does to a tenth."""
    rows = table(np.arange(10_000) / 10, 1, 1)
    record = serve(rows, fixed_step(1e-3), turning_away=turned_away(TokenBucket(requests_per_s=10, burst=1)))
    assert record.counters["refusals"] == 0


def test_a_bucket_of_tokens() -> None:
    """10 a second, 30 saved up; 20 each: 0 leaves 10, 0.5 finds 15, 1.0 finds 20; 31 never come in."""
    rows = table([0.0, 0.5, 1.0, 9.0], [10, 10, 10, 30], [10, 10, 10, 1])
    rule = TokenBucket(tokens_per_s=10, burst_tokens=30)
    assert let_in(serve(rows, fixed_step(1e-3), turning_away=turned_away(rule))) == [0, 2]
    # A request that lacks tokens takes no request out of the other bucket.
    both = TokenBucket(requests_per_s=0.001, burst=2, tokens_per_s=10, burst_tokens=30)
    assert let_in(serve(rows, fixed_step(1e-3), turning_away=turned_away(both))) == [0, 2]


def test_buckets_of_tenants() -> None:
    rows = table(np.zeros(6), 1, 1, tenant=["a", "b", "a", "b", "c", "c"])
    each = TokenBucket(requests_per_s=1, burst=1)
    assert let_in(serve(rows, fixed_step(1e-3), turning_away=turned_away(each))) == [0, 1, 4]
    some = TokenBucket(requests_per_s=1, burst=1, only=("a", "c"))
    assert let_in(serve(rows, fixed_step(1e-3), turning_away=turned_away(some))) == [0, 1, 3, 4]
    unknown = TokenBucket(requests_per_s=1, only=("A",))
    with pytest.raises(ServecastError, match="no tenant of the workload: 'A'; did you mean 'a'"):
        serve(rows, fixed_step(1e-3), turning_away=turned_away(unknown))


def test_the_first_rule_that_refuses_spares_the_others() -> None:
    """The bucket holds two. After the limit it is not asked for 1, before it, it pays for it."""
    rows = table([0.0, 0.1, 2.0], 1, 1)
    limit, bucket = QueueLimit(outstanding=1), TokenBucket(requests_per_s=1e-3, burst=2)
    after = serve(rows, A_SECOND_EACH, turning_away=turned_away(limit, bucket))
    assert let_in(after) == [0, 2]
    before = serve(rows, A_SECOND_EACH, turning_away=turned_away(bucket, limit))
    assert let_in(before) == [0]
    assert before.counters["refusals_queue_limit"] == before.counters["refusals_token_bucket"] == 1


def test_predicted_ttft() -> None:
    """0.01 s a step and 1 ms a prompt token: alone 0.11 s; behind another 100 tokens 0.21 s, and 0.26 s behind 150."""
    timer = Linear(base_s=0.01, per_prefill_token_s=1e-3, per_decode_s=0).build()
    rows = table([0.0, 0.0, 0.0, 0.5], [100, 100, 50, 100], 1)
    found = [let_in(serve(rows, timer, turning_away=turned_away(PredictedTtft(within))))
             for within in (0.1, 0.12, 0.22, 0.27)]  # fmt: skip
    assert found == [[2], [0, 3], [0, 1, 3], [0, 1, 2, 3]]
    # Two replicas: it is enough that the better one is good enough.
    two = serve(rows, timer, replicas=2, router=LeastOutstanding(), turning_away=turned_away(PredictedTtft(0.12)))
    assert let_in(two) == [0, 1, 3]


def test_a_prompt_that_is_too_long_is_rejected_and_not_refused() -> None:
    rows = table([0.0, 0.1, 0.2], [1, 5000, 1], 2)
    record = serve(rows, A_SECOND_EACH, turning_away=turned_away(QueueLimit(outstanding=1)))
    assert record.requests["status"].tolist() == ["finished", "rejected", "refused"]


def test_the_blocking_probability_of_mm1k() -> None:
    """Geometric answers of mean 100 steps, nearly exponential: P(refused) = rho^K (1 - rho) / (1 - rho^(K + 1))."""
    rng = np.random.default_rng(11)
    step, p, rho, most = 1e-3, 0.01, 0.8, 5
    count = 30_000
    rows = table(poisson(rng, rho * p / step, count), 1, rng.geometric(p, count))
    record = serve(rows, fixed_step(step), limits=ONE_AT_A_TIME, turning_away=turned_away(QueueLimit(outstanding=most)))
    refused = (record.requests["status"] == "refused").astype(float)
    assert agrees(refused, rho**most * (1 - rho) / (1 - rho ** (most + 1)), within=0.15)


@pytest.mark.parametrize("make", [QueueLimit, TokenBucket])
def test_a_rule_without_a_limit_says_so(make: type) -> None:
    with pytest.raises(ValueError, match="needs a"):
        make()
