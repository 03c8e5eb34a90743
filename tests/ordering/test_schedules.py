"""Who is admitted when, worked by hand: one seat, so that the order of admission is the order itself."""

from typing import Any

import pytest

from sim.choice import build
from sim.errors import ScenarioError
from sim.ordering.earliest_deadline import EarliestDeadline
from sim.ordering.fcfs import Fcfs
from sim.ordering.length_buckets import LengthBuckets
from sim.ordering.longest_prefix_match import LongestPrefixMatch
from sim.ordering.priority import Priority
from sim.ordering.virtual_token_counter import TenantQueue, VirtualTokenCounter
from sim.request import Request
from tests.serving import engine, steps_of


def admitted(order: Any, requests: list[Request], **limits: Any) -> list[int]:
    """Ids in the order of their first admission, all of them there at the beginning."""
    plans = steps_of(engine(order, **({"max_num_seqs": 1} | limits)), requests)
    return [request.id for plan in plans for request in plan.admitted]


def test_last_come_first_served() -> None:
    requests = [Request(id, arrival, 4, 2) for id, arrival in enumerate([0.0, 1.0, 1.0, 3.0])]
    assert admitted(build("sim.ordering", "last_come"), requests) == [3, 2, 1, 0]


def test_shortest_job_goes_by_what_is_predicted() -> None:
    requests = [Request(id, 0.0, 4, true, predicted_tokens=guess) for id, (true, guess) in enumerate(
        [(9, 5), (2, 8), (5, 5), (3, 1)]
    )]  # fmt: skip
    assert admitted(build("sim.ordering", "shortest_job"), requests) == [3, 0, 2, 1]


def test_shortest_job_can_count_the_prompt() -> None:
    """Work 2 + 100 / 10 = 12, 9 + 10 / 10 = 10, 4 + 50 / 10 = 9."""
    requests = [Request(0, 0.0, 100, 2), Request(1, 0.0, 10, 9), Request(2, 0.0, 50, 4)]
    assert admitted(build("sim.ordering", {"shortest_job": {"prompt_weight": 0.1}}), requests) == [2, 1, 0]


def test_a_preempted_job_is_as_short_as_what_is_left_of_it() -> None:
    """Four blocks of 4; both outgrow theirs in step 2, and the one with 8 to come loses. It has 6 to come then,
    which is less than the newcomer's 7."""
    first, second, newcomer = Request(0, 0.0, 7, 4), Request(1, 0.0, 7, 8), Request(2, 0.0, 1, 7)
    replica = engine(build("sim.ordering", "shortest_job"), block_size=4, num_gpu_blocks=5)
    replica.add(first)
    replica.add(second)
    for _ in range(3):
        plan = replica.schedule()
        replica.complete(plan)
    assert plan.preempted == [second]
    replica.add(newcomer)
    assert [request.id for request in iter_popped(replica)] == [1, 2]


def iter_popped(replica: Any) -> list[Request]:
    return [replica.waiting.pop() for _ in range(len(replica.waiting))]


def test_earliest_deadline() -> None:
    """Due at 0 + 10, 1 + 2, 5 + 10, 7 + 2."""
    order = EarliestDeadline({0: 2.0, 1: 10.0})
    requests = [Request(0, 0.0, 4, 2, 1), Request(1, 1.0, 4, 2, 0), Request(2, 5.0, 4, 2, 1), Request(3, 7.0, 4, 2, 0)]
    assert admitted(order, requests) == [1, 3, 0, 2]
    with pytest.raises(ScenarioError, match="no deadline for priority 7; within: has 0, 1; add it"):
        order.key(Request(4, 0.0, 4, 2, 7))


def test_least_slack() -> None:
    """Latest begins: 0 + 10 - 10*0.1 - 2 = 7, 1 + 10 - 10*0.1 - 5 = 5, 2 + 10 - 50*0.1 - 1 = 6."""
    order = build("sim.ordering", {"least_slack": {"within": "10s", "token": "1s", "prefill_token": "100ms"}})
    requests = [Request(0, 0.0, 10, 2), Request(1, 1.0, 10, 5), Request(2, 2.0, 50, 1)]
    assert admitted(order, requests) == [1, 2, 0]


def test_ageing() -> None:
    """With a level for every 10 s: 3 + 0 / 10, 0 + 29 / 10, 0 + 31 / 10, 1 + 15 / 10."""
    order = build("sim.ordering", {"aged_priority": {"level": "10s"}})
    rows = [(0.0, 3), (29.0, 0), (31.0, 0), (15.0, 1)]
    requests = [Request(id, arrival, 4, 2, priority) for id, (arrival, priority) in enumerate(rows)]
    assert admitted(order, requests) == [3, 1, 0, 2]
    assert admitted(Priority(), [Request(r.id, r.arrival_s, 4, 2, r.priority) for r in requests]) == [1, 2, 3, 0]


def test_length_buckets() -> None:
    """Short s (at most 10 tokens) and long L: arrivals s0 L1 s2 L3 s4 s5 make groups s0 s2 s4, L1 L3, s5."""
    requests = [Request(id, float(id), 4, answer) for id, answer in enumerate([5, 20, 6, 30, 10, 7])]
    assert admitted(LengthBuckets(edges=(10,), group=3), requests) == [0, 2, 4, 1, 3, 5]
    requests = [Request(id, float(id), 4, answer) for id, answer in enumerate([5, 20, 6, 30, 10, 7])]
    assert admitted(LengthBuckets(edges=(10,), group=1), requests) == [0, 1, 2, 3, 4, 5]


def test_buckets_by_prompt_answer_or_both() -> None:
    request = Request(0, 0.0, 10, 5)
    places = {by: LengthBuckets((5, 10, 15), by=by).bucket(request) for by in ("prompt", "answer", "total")}
    assert places == {"answer": 0, "prompt": 1, "total": 2}
    with pytest.raises(ValueError, match="edges must rise"):
        LengthBuckets((5, 5))


def prompt(group: str, shared: int, own: int, id: int, arrival: float) -> Request:
    return Request(id, arrival, shared + own, 1, segments=((group, shared), (("own", id), own)))


def test_longest_prefix_first() -> None:
    """After the first of group a has run, 64 tokens of a are cached and none of b: a's go first.

    Of the two of group b, the second waits for what the first computes, so that the lone c overtakes it.
    """
    requests = [
        prompt("a", 64, 8, 0, 0.0), prompt("b", 64, 8, 1, 1.0), prompt("b", 64, 8, 2, 2.0),
        prompt("c", 64, 8, 3, 3.0), prompt("a", 64, 8, 4, 4.0), prompt("a", 64, 8, 5, 5.0),
    ]  # fmt: skip
    assert admitted(LongestPrefixMatch(), list(requests)) == [0, 4, 5, 1, 2, 3]


def test_who_shares_a_prefix_lets_one_compute_it_first() -> None:
    """Nothing is cached at first; of one step's two seats the second goes to c, not to the other b."""
    requests = [prompt("b", 64, 8, 0, 0.0), prompt("b", 64, 8, 1, 1.0), prompt("c", 64, 8, 2, 2.0)]
    assert admitted(LongestPrefixMatch(), list(requests), max_num_seqs=2) == [0, 2, 1]
    requests = [prompt("b", 16, 8, 0, 0.0), prompt("b", 16, 8, 1, 1.0), prompt("c", 16, 8, 2, 2.0)]
    assert admitted(LongestPrefixMatch(), list(requests), max_num_seqs=2) == [0, 1, 2]  # 16 tokens are too few


def test_long_queues_are_first_come_first_served() -> None:
    def requests() -> list[Request]:
        return [prompt("ab"[k % 2], 64, 8, k, float(k)) for k in range(6)]

    assert admitted(LongestPrefixMatch(longest_queue=5), requests()) == [0, 2, 4, 1, 3, 5]
    assert admitted(LongestPrefixMatch(longest_queue=0), requests()) == [0, 1, 2, 3, 4, 5]
    assert admitted(LongestPrefixMatch(), requests(), enable_prefix_caching=False) == [0, 1, 2, 3, 4, 5]


def test_virtual_token_counters() -> None:
    """Prompts of 4 tokens, one seat. A's answers have 10 tokens, B's 2: counters grow by 24 and by 8.

    A 24, B 8, B 16, B 24 (a tie, and A's next came earlier), A 48, B 32.
    """
    rows = [(0, 10), (0, 10), (1, 2), (1, 2), (1, 2), (1, 2)]
    requests = [Request(id, 0.0, 4, answer, tenant=tenant) for id, (tenant, answer) in enumerate(rows)]
    assert admitted(VirtualTokenCounter(), list(requests)) == [0, 2, 3, 4, 1, 5]


def test_idling_saves_up_nothing() -> None:
    """B comes when A's counter is 10 + 2 * 5 = 20 and is lifted to it, so they take turns from there."""
    replica = engine(VirtualTokenCounter(), max_num_seqs=1)
    for id in range(3):
        replica.add(Request(id, 0.0, 10, 5, tenant=0))
    for _ in range(5):
        replica.complete(replica.schedule())
    for id in (3, 4, 5):
        replica.add(Request(id, 1.0, 10, 5, tenant=1))
    order = [request.id for plan in steps_of(replica, []) for request in plan.admitted]
    assert order == [1, 3, 2, 4, 5]
    queue = replica.waiting
    assert isinstance(queue, TenantQueue)
    queue.push(Request(9, 2.0, 1, 1, tenant=0))
    queue.refresh()
    assert (queue.counter(0), queue.counter(1)) == (80.0, 80.0)  # A had 60, and B, the last to wait, 20 + 60


def test_a_tenant_is_not_charged_twice_for_a_preempted_request() -> None:
    replica = engine(VirtualTokenCounter(), block_size=4, num_gpu_blocks=5, enable_prefix_caching=False)
    requests = [Request(0, 0.0, 7, 6, tenant=0), Request(1, 0.0, 7, 3, tenant=1)]
    steps_of(replica, requests)
    assert requests[1].preemptions == 1
    queue = replica.waiting
    assert isinstance(queue, TenantQueue)
    queue.push(Request(2, 0.0, 1, 1, tenant=2))
    queue.refresh()
    assert (queue.counter(0), queue.counter(1)) == (7 + 2 * 6, 7 + 2 * 3)


@pytest.mark.parametrize("order", [Fcfs(), VirtualTokenCounter(), LongestPrefixMatch()])
def test_any_waiting_request_can_be_taken_out(order: Any) -> None:
    replica = engine(order, max_num_seqs=1)
    requests = [Request(id, 0.0, 4, 2, tenant=id % 2) for id in range(4)]
    for request in requests:
        replica.add(request)
    replica.waiting.remove(requests[1])
    replica.waiting.remove(requests[0])
    assert len(replica.waiting) == 2
    assert sorted(request.id for request in replica.waiting) == [2, 3]
    assert [request.id for plan in steps_of(replica, []) for request in plan.admitted] == [2, 3]
