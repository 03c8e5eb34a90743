"""Clients that try again, worked out by hand."""

import dataclasses
from typing import Any

import numpy as np
import pytest

from sim.admission.queue_limit import QueueLimit
from sim.admission.token_bucket import TokenBucket
from sim.cluster.turning_away import TurningAway
from sim.faults.crash import Crash
from sim.record import Record
from sim.workload.retries import Retries
from tests.serving import ClosedLoop, serve, table
from tests.theory.test_queues import fixed_step

ONE = QueueLimit(outstanding=1)
DOUBLING = Retries(max_attempts=4, first_delay=1, factor=2, jitter=0)
A_SECOND_EACH = fixed_step(1.0)


def busy_for_five(retries: Retries, **options: Any) -> Record:
    """A replica that has room for one and is busy until 5; request 1 of one token comes at 0.5."""
    columns = {name: options.pop(name) for name in ("cancel_after_s",) if name in options}
    rows = table([0.0, 0.5], 1, [5, 1], **columns)
    return serve(rows, A_SECOND_EACH, turning_away=TurningAway((ONE,), retries), **options)


def test_exponential_back_off() -> None:
    """Sent at 0.5, 1.5, 3.5 and 7.5, when there is room; the first arrival stays the arrival."""
    record = busy_for_five(DOUBLING)
    rows = record.requests
    assert rows["attempts"].tolist() == [1, 4] and record.counters["refusals"] == 3
    assert rows["arrival_s"].tolist() == [0.0, 0.5] and rows["sent_s"].tolist() == [0.0, 7.5]
    assert rows["scheduled_s"].tolist() == [0.0, 7.5] and rows["finish_s"].tolist() == [5.0, 8.5]
    assert rows["status"].tolist() == ["finished", "finished"]


def test_a_client_gives_in() -> None:
    record = busy_for_five(DOUBLING.model_copy(update={"max_attempts": 3}))
    assert record.requests["attempts"].tolist() == [1, 3] and record.counters["refusals"] == 3
    assert record.requests["status"].tolist() == ["finished", "refused"]


def test_delays_are_bounded() -> None:
    """1, then 1.5 instead of 2: sent at 0.5, 1.5, 3.0, 4.5 and 6.0."""
    record = busy_for_five(DOUBLING.model_copy(update={"max_attempts": 9, "max_delay": 1.5}))
    assert record.requests["attempts"].tolist() == [1, 5]
    assert record.requests["scheduled_s"].tolist() == [0.0, 6.0]


def test_every_attempt_goes_through_the_gateway() -> None:
    """A quarter of a second each: judged at 0.75, sent again at 1.75, judged at 2, sent at 4, judged at 4.25, ..."""
    record = busy_for_five(DOUBLING, gateway_latency_s=0.25)
    assert record.requests["sent_s"].tolist() == [0.0, 8.25]
    assert record.requests["scheduled_s"].tolist() == [0.25, 8.5]


def test_patience_goes_on() -> None:
    """Two seconds from the first sending: gone at 2.5, before the third attempt."""
    record = busy_for_five(DOUBLING, cancel_after_s=[np.inf, 2.0])
    rows = record.requests
    assert rows["status"].tolist() == ["finished", "cancelled"] and rows["attempts"].tolist() == [1, 2]
    assert rows["finish_s"].tolist() == [5.0, 2.5]
    # 7.5 seconds are up half a second after the fourth attempt, which then runs, and stops at the end of its step.
    late = serve(
        table([0.0, 0.5], 1, [5, 3], cancel_after_s=[np.inf, 7.5]), A_SECOND_EACH,
        turning_away=TurningAway((ONE,), DOUBLING),
    )  # fmt: skip
    assert late.requests["finish_s"].tolist() == [5.0, 8.5]
    assert late.requests["status"].tolist() == ["finished", "cancelled"]


def test_the_queue_is_that_of_the_attempts() -> None:
    """Tenant a may send one a second: 2, refused at 0.2, comes back at 1.2 and queues behind 3, which came at 0.5."""
    rows = table([0.0, 0.1, 0.2, 0.5], 1, [5, 1, 1, 1], tenant=["b", "a", "a", "b"])
    bucket = TokenBucket(requests_per_s=1, burst=1, only=("a",))
    record = serve(rows, A_SECOND_EACH, limits={"max_num_seqs": 1}, turning_away=TurningAway((bucket,), DOUBLING))
    assert record.requests["arrival_s"].tolist() == [0.0, 0.1, 0.2, 0.5]
    assert record.requests["scheduled_s"].tolist() == [0.0, 5.0, 7.0, 6.0]


def test_a_refused_turn_ends_its_session() -> None:
    """The second turn finds the replica busy twice; what the session would have sent after that is never sent."""
    turns = dataclasses.replace(
        table([0.0, 0.0, 0.0, 1.0], 1, [1, 1, 1, 30]), sessions=np.array([0, 0, 0, -1]), turns=np.array([1, 2, 3, 1]),
        pause_s=np.array([0.0, 1.0, 1.0, 0.0]),
    )  # fmt: skip
    record = serve(turns, A_SECOND_EACH, turning_away=TurningAway((ONE,), Retries(max_attempts=2, jitter=0)))
    rows = record.requests
    assert rows["id"].tolist() == [0, 3, 1] and rows["status"].tolist() == ["finished", "finished", "refused"]
    assert rows["attempts"].tolist() == [1, 1, 2] and record.counters["requests_not_sent"] == 1


def test_users_of_a_closed_loop_try_again() -> None:
    """Room for one: the second user comes back 1.5 s later, and gets in; her next request goes on from there."""
    loop = ClosedLoop(2, np.zeros(3))
    record = serve(
        table(np.zeros(3), 1, 1, closed_loop=loop), A_SECOND_EACH,
        turning_away=TurningAway((ONE,), Retries(max_attempts=2, first_delay=2.5, jitter=0, max_delay=9)),
    )  # fmt: skip
    # 0 runs until 1, then its user sends 2, which runs until 2; 1 comes back at 2.5.
    assert record.requests["scheduled_s"][np.argsort(record.requests["id"])].tolist() == [0.0, 2.5, 1.0]


def test_a_failure_at_the_gateway_is_tried_again() -> None:
    """Nobody may wait while the only replica is down from 1 to 4: 1 comes at 2, fails, and again at 3 and 5."""
    rows = table([0.0, 2.0], 1, [1, 1])
    options = {"faults": [Crash(at=0.5, restart_after=3.0)], "most_held": 0}
    once = serve(rows, A_SECOND_EACH, **options)
    assert once.requests["status"].tolist() == ["finished", "failed"]
    again = serve(rows, A_SECOND_EACH, **options, turning_away=TurningAway((), DOUBLING))
    assert again.requests["status"].tolist() == ["finished", "finished"]
    assert again.requests["attempts"].tolist() == [1, 3] and again.requests["scheduled_s"].tolist() == [0.0, 5.0]
    twice = DOUBLING.model_copy(update={"max_attempts": 2})
    in_vain = serve(rows, A_SECOND_EACH, **options, turning_away=TurningAway((), twice))
    assert in_vain.requests["status"].tolist() == ["finished", "failed"]


def test_jitter_shortens_and_spreads() -> None:
    """Delays are uniform from (1 - jitter) d to d."""
    retries = Retries(max_attempts=5, first_delay=1, factor=2, max_delay=100, jitter=0.5)
    assert [retries.delay_s(2, chance) for chance in (0.0, 0.5, 1.0)] == [2.0, 1.5, 1.0]
    count = 4000
    rows = table(np.zeros(count + 1), 1, [50, *[1] * count])
    record = serve(
        rows, A_SECOND_EACH, turning_away=TurningAway((ONE,), Retries(max_attempts=2, first_delay=1, jitter=1))
    )
    delays = record.requests["sent_s"][1:]
    assert 0 < delays.min() < 0.01 and 0.99 < delays.max() < 1
    assert delays.mean() == pytest.approx(0.5, abs=4 * np.sqrt(1 / 12 / count))


def test_jitter_shifts_no_other_random_numbers() -> None:
    from sim.routing.random import Random

    rows = table(np.arange(200) / 10, 1, 3)
    bucket = TokenBucket(requests_per_s=9, burst=1)
    plain, jittered = (
        serve(rows, fixed_step(0.01), replicas=5, router=Random(), turning_away=TurningAway((bucket,), retries))
        for retries in (None, Retries(max_attempts=2, first_delay=100, max_delay=100))
    )
    first_time = jittered.requests["attempts"] == 1
    assert 0 < first_time.sum() < 200
    assert (plain.requests["replica"][first_time] == jittered.requests["replica"][first_time]).all()
