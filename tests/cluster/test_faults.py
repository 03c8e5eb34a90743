"""What faults do to a cluster, worked out by hand. Every step takes a second, a prompt is read in one."""

from dataclasses import dataclass
from typing import Any

import numpy as np
import pytest

import sim
from sim.batching.static import Static
from sim.errors import ServecastError
from sim.faults.crash import Crash
from sim.faults.random_crashes import RandomCrashes
from sim.faults.rolling_restart import RollingRestart
from sim.faults.slow_link import SlowLink
from sim.faults.spot_loss import SpotLoss
from sim.faults.straggler import Straggler
from sim.latency.linear import Linear
from sim.latency.protocol import StepTime
from sim.latency.slowed import SlowedTimer
from sim.metrics import gpu_time
from sim.metrics.context import context_of
from sim.record import LIFE, Record
from sim.routing import Candidates, Choose
from tests.cluster.test_pipeline import pipe, stages
from tests.serving import ClosedLoop, serve, table


@dataclass(frozen=True)
class Pinned:
    """The first that takes requests."""

    def start(self, rng: np.random.Generator, candidates: Candidates) -> Choose:
        return lambda request: candidates.members[0]


STEP = Linear(base_s=1.0, per_prefill_token_s=0, per_decode_s=0).build()
BOTH_PATHS = pytest.mark.parametrize("fast_forward", [True, False])


def lives(record: Record, replica: int = 0) -> list[tuple[str, float, float]]:
    rows = zip(*(record.lives[name].tolist() for name in ("replica", "state", "start_s", "end_s")), strict=True)
    return [(LIFE[state], start_s, end_s) for index, state, start_s, end_s in rows if index == replica]


def column(record: Record, name: str) -> list[Any]:
    return record.requests[name].tolist()


@BOTH_PATHS
def test_one_replica_crashes_and_comes_back(fast_forward: bool) -> None:
    """Ten tokens from 0 s on. The crash at 3.5 s waits for the fourth token, at 4 s. Two seconds down, three loading.

    At 9 s it reads the prompt and the four tokens again, which gives the fifth at 10 s, and the tenth is there at
    15 s. The client got its first token at 1 s, and waited 6 s between the fourth and the fifth.
    """
    record = serve(
        table([0.0], 5, 10), STEP, faults=[Crash(at=3.5, restart_after=2.0, replica=0)], cold_start_s=3.0,
        fast_forward=fast_forward,
    )  # fmt: skip
    assert column(record, "finish_s") == [15.0]
    assert column(record, "first_token_s") == [1.0]
    assert column(record, "scheduled_s") == [0.0]
    assert column(record, "generated_tokens") == [10]
    assert column(record, "recomputed_tokens") == [5 + 3]  # the fourth token had not been attended to
    assert column(record, "requeues") == [1]
    assert lives(record) == [("serving", 0, 4), ("down", 4, 6), ("loading", 6, 9), ("serving", 9, 15)]
    assert record.itl_counts.sum() == 9
    seconds = gpu_time(record.steps, context_of(record))
    assert (seconds["down"], seconds["loading"], seconds["starved"]) == (2, 3, 0)
    assert record.counters["crashes"] == record.counters["requeued"] == 1


@BOTH_PATHS
def test_its_requests_go_to_the_others_or_fail(fast_forward: bool) -> None:
    """Two replicas, a request each from 0 s on; replica 0 crashes for good in its third step."""
    options: dict[str, Any] = {"replicas": 2, "faults": [Crash(at=2.5, replica=0)], "fast_forward": fast_forward}
    sent_on = serve(table([0.0, 0.0], 5, 5), STEP, **options)
    assert column(sent_on, "replica") == [1, 1]
    assert column(sent_on, "finish_s") == [6.0, 5.0]  # tokens 4 and 5 come at 5 s and 6 s: it joined at 4 s
    assert column(sent_on, "generated_tokens") == [5, 5]
    assert lives(sent_on) == [("serving", 0, 3)]
    failed = serve(table([0.0, 0.0], 5, 5), STEP, most_requeues=0, **options)
    assert column(failed, "status") == ["failed", "finished"]
    assert column(failed, "generated_tokens") == [3, 5]
    assert column(failed, "finish_s") == [3.0, 5.0]
    assert column(failed, "first_token_s") == [1.0, 1.0]


@BOTH_PATHS
def test_a_step_decided_ahead_still_counts(fast_forward: bool) -> None:
    """Asynchronous: in the third step the fourth is decided already, and the crash comes after that."""
    options: dict[str, Any] = {"decide_ahead": True, "fast_forward": fast_forward}
    record = serve(table([0.0], 5, 10), STEP, faults=[Crash(at=2.5, restart_after=0.0, replica=0)], **options)
    assert lives(record)[0] == ("serving", 0, 4)
    assert column(record, "finish_s") == [10.0]  # nothing lost but the KV, which is computed with the fifth token


@BOTH_PATHS
def test_requests_wait_for_a_replica_in_their_order(fast_forward: bool) -> None:
    """The only replica is away from 1 s to 6 s. Who came meanwhile waits, one gives up, and two more find no room."""
    requests = table(
        [0.0, 1.5, 2.0, 2.5, 3.0], 5, [1, 1, 1, 1, 1], cancel_after_s=[np.inf, np.inf, 1.5, np.inf, np.inf]
    )
    record = serve(
        requests, STEP, limits={"max_num_seqs": 1}, faults=[Crash(at=1.0, restart_after=5.0, replica=0)],
        fast_forward=fast_forward, most_held=2,
    )  # fmt: skip
    assert column(record, "status") == ["finished", "finished", "cancelled", "failed", "failed"]
    assert column(record, "finish_s") == [1.0, 7.0, 3.5, 2.5, 3.0]
    assert column(record, "scheduled_s")[:2] == [0.0, 6.0]


def test_time_outs_go_on_at_the_gateway() -> None:
    """In the queue since 2 s and since 3 s; the one has been served a token before, the other never."""
    faults = [Crash(at=1.5, restart_after=50.0, replica=0)]
    record = serve(table([0.0, 3.0], 5, 10), STEP, faults=faults, queue_timeout_s=4.0)
    assert column(record, "status") == ["finished", "timed_out"]
    assert column(record, "finish_s")[1] == 7.0
    both = serve(table([0.0, 3.0], 5, 10), STEP, faults=faults, request_timeout_s=8.0)
    assert column(both, "finish_s") == [8.0, 11.0]
    assert column(both, "generated_tokens") == [2, 0]


def test_without_hope_they_fail() -> None:
    """Nobody will ever come again, and the users of a closed loop learn it one request after another."""
    record = serve(table([0.0, 5.0], 5, 10), STEP, faults=[Crash(at=1.5, replica=0)])
    assert column(record, "status") == ["failed", "failed"]
    assert column(record, "generated_tokens") == [2, 0]
    loop = table(np.zeros(4), 5, 10, closed_loop=ClosedLoop(2, np.zeros(4)))
    assert column(serve(loop, STEP, faults=[Crash(at=1.5, replica=0)]), "status") == ["failed"] * 4


def test_a_request_is_not_sent_on_for_ever() -> None:
    faults = [Crash(at=at, restart_after=0.0, replica=0) for at in (0.5, 1.5, 2.5)]
    assert column(serve(table([0.0], 5, 10), STEP, faults=faults), "status") == ["finished"]
    record = serve(table([0.0], 5, 10), STEP, faults=faults, most_requeues=2)
    assert (column(record, "status"), column(record, "requeues")) == (["failed"], [3])


@BOTH_PATHS
def test_a_restart_leaves_the_prefix_cache_empty(fast_forward: bool) -> None:
    """32 tokens that all three share: the second finds one block of 16, the third, after the crash, none."""
    shared = table([0.0, 2.0, 4.0], 32, 1, segments=[(("s", 32),)] * 3)
    record = serve(
        shared, STEP, faults=[Crash(at=3.5, restart_after=0.0, replica=0)], fast_forward=fast_forward,
        limits={"enable_prefix_caching": True, "block_size": 16},
    )  # fmt: skip
    assert column(record, "cached_tokens") == [0, 16, 0]


@BOTH_PATHS
def test_a_straggler(fast_forward: bool) -> None:
    """Steps decided from 2.5 s to 7.5 s last two seconds: they begin at 3, 5 and 7 s, the next at 9 s."""
    record = serve(
        table([0.0], 5, 8), STEP, faults=[Straggler(factor=2.0, at=2.5, until=7.5)], fast_forward=fast_forward
    )
    assert column(record, "finish_s") == [3 + 3 * 2 + 2]


def test_slow_links_slow_what_goes_over_them() -> None:
    """Of a step of 5 s with 2 s of collectives: 3 s and three times 2 s; then all of it half as fast."""
    time = StepTime(5.0, 0.5, 2.0, 0.25, False, 0.125)

    class Timer:
        def step(self, shape: Any) -> StepTime:
            return time

        def decode_run(self, decodes: int, context_tokens: int, steps: int) -> tuple[list[float], StepTime]:
            return [time.total_s] * steps, time

    slow = SlowedTimer(Timer(), 2.0, 3.0)
    expected = StepTime(18.0, 1.0, 12.0, 0.5, False, 0.25)
    assert slow.step(None) == expected  # type: ignore[arg-type]
    assert slow.decode_run(1, 1, 2) == ([18.0, 18.0], expected)
    record = serve(table([0.0], 5, 4), Timer(), faults=[SlowLink(factor=3.0, at=6.0, until=11.0, replica=0)])
    assert column(record, "finish_s") == [5 + 5 + 9 + 5]


@BOTH_PATHS
def test_of_a_static_batch_only_what_is_not_done_is_sent_on(fast_forward: bool) -> None:
    """The first has its two tokens at 2 s and keeps its place in the batch; the other goes on elsewhere at 4 s."""
    record = serve(
        table([0.0, 0.0], 5, [2, 6]), STEP, replicas=2, router=Pinned(), batching=Static(batch_size=2, timeout=0.0),
        fast_forward=fast_forward, faults=[Crash(at=3.5, replica=0)],
    )  # fmt: skip
    assert column(record, "finish_s") == [2.0, 6.0]
    assert column(record, "requeues") == [0, 1]


def test_a_pipeline_crashes_and_is_slowed() -> None:
    """Two stages of 1 s: a token every 2 s. The crash at 2.5 s waits for the second; it is down until 5 s.

    Then the rest of five tokens comes at 7, 9 and 11 s. With steps of twice the time from 2.5 s on, those that enter at
    4 s and later return 4 s later.
    """
    crashed = pipe(table([0.0], 5, 5), stages(1.0, 1.0), faults=[Crash(at=2.5, restart_after=1.0)])
    assert column(crashed, "finish_s") == [11.0]
    assert lives(crashed) == [("serving", 0, 4), ("down", 4, 5), ("serving", 5, 11)]
    slow = pipe(table([0.0], 5, 4), stages(1.0, 1.0), faults=[Straggler(factor=2.0, at=2.5)])
    assert column(slow, "finish_s") == [12.0]


@BOTH_PATHS
def test_spot_loss(fast_forward: bool) -> None:
    """Replica 0 is told at 1.5 s: its short request still gets done, its long one goes on elsewhere at 5 s."""
    record = serve(
        table([0.0, 0.0, 0.0, 2.0], 5, [3, 1, 9, 1]), STEP, replicas=2, fast_forward=fast_forward,
        faults=[SpotLoss(at=1.5, notice=3.0, replica=0)],
    )  # fmt: skip
    assert column(record, "replica") == [0, 1, 1, 1]
    assert column(record, "finish_s") == [3.0, 1.0, 9.0, 3.0]
    assert lives(record) == [("serving", 0, 5)]
    drained = serve(table([0.0], 5, 4), STEP, faults=[SpotLoss(at=1.5, notice=30.0)], fast_forward=fast_forward)
    assert (column(drained, "status"), lives(drained)) == (["finished"], [("serving", 0, 4)])


@BOTH_PATHS
def test_rolling_restart_loses_nobody(fast_forward: bool) -> None:
    """One at a time: replica 0 drains until 4 s and loads for 2 s; then replica 1, idle since 4 s; both end cold."""
    record = serve(
        table([0.0, 0.0, 1.5, 20.0], 5, [4, 4, 1, 1]), STEP, replicas=2, cold_start_s=2.0, fast_forward=fast_forward,
        faults=[RollingRestart(at=1.0)],
    )  # fmt: skip
    assert column(record, "finish_s") == [4.0, 4.0, 3.0, 21.0]
    assert lives(record, 0) == [("serving", 0, 4), ("loading", 4, 6), ("serving", 6, 21)]
    assert lives(record, 1) == [("serving", 0, 6), ("loading", 6, 8), ("serving", 8, 21)]
    assert column(record, "requeues") == [0] * 4
    both = serve(table([0.0, 0.0, 2.0], 5, 4), STEP, replicas=2, faults=[RollingRestart(at=1.0, at_once=2, grace=1.5)])
    assert lives(both, 0)[0] == lives(both, 1)[0] == ("serving", 0, 3)  # after 2.5 s they are stopped


def test_random_crashes_are_as_often_as_said() -> None:
    """Up for 20 s on average and down for 5: a fifth of the time lost, within four standard errors of 400 cycles."""
    record = serve(table(np.arange(0, 2500, 10.0), 5, 1), STEP, replicas=4, faults=[RandomCrashes(mtbf=20.0, mttr=5.0)])
    down = record.lives["state"] == LIFE.index("down")
    length = record.lives["end_s"] - record.lives["start_s"]
    assert length[down].sum() / length.sum() == pytest.approx(5 / 25, abs=4 * 0.2 * 0.8 * np.sqrt(2 / 400))
    assert set(column(record, "status")) == {"finished"}
    alone = serve(table(np.arange(0, 2500, 10.0), 5, 1), STEP, faults=[RandomCrashes(mtbf=20.0, mttr=5.0)])
    repairs = [[end_s - start_s for state, start_s, end_s in lives(one) if state == "down"] for one in (alone, record)]
    assert repairs[0][:30] == pytest.approx(repairs[1][:30])  # a replica's random numbers are its own


@pytest.mark.parametrize(
    ("fault", "words"),
    [(Crash(at=1, replica=4), "replica 4, and there are 2: 0 to 1"), (Crash(at=1, pool="b"), "pool 'b'")],
)
def test_who_is_not_there_is_named(fault: Crash, words: str) -> None:
    with pytest.raises(ServecastError, match=words):
        serve(table([0.0], 5, 1), STEP, replicas=2, faults=[fault])


SERVED = {
    "model": "llama-3.1-8b",
    "workload": {
        "arrivals": {"constant": {"rate_per_s": 10}}, "requests": 300, "prompt_tokens": {"fixed": {"tokens": 400}},
        "output_tokens": {"fixed": {"tokens": 100}},
    },
    "cluster": {
        "gpu": "h100-sxm", "replicas": 2, "tensor_parallel": 2, "gpu_price_per_hour": 3.6,
        "cold_start": {"start": "1s", "weights_bytes_per_s": "4GB", "warm_up": "2s"},
        "faults": [{"crash": {"at": "10s", "restart_after": "5s", "replica": 0}}],
    },
    "engine": {"max_model_len": 4096},
}  # fmt: skip


def test_a_crash_in_a_scenario() -> None:
    """16.06 GB of weights at 4 GB/s take 4.0 s; with start and warm-up 7 s, in which the GPUs are paid for."""
    result = sim.run(SERVED)
    down, loading = (float(result.summary["gpu_time"]["seconds"][name]) for name in ("down", "loading"))
    assert down == pytest.approx(2 * 5)
    assert loading == pytest.approx(2 * (1 + 16.06 / 4 + 2), rel=1e-3)
    assert result.summary["cost_usd"] == pytest.approx(4 * result.summary["makespan_s"] / 1000)
    assert result.summary["requests"]["finished"] == 300
    assert result.requests["requeues"].sum() > 0
    again = sim.run(result.scenario)
    assert again.summary == result.summary
    failing = sim.run(SERVED, overrides=["cluster.on_crash=fail"])
    lost = failing.summary["requests"]["failed"]
    assert lost == result.requests["requeues"].sum() == failing.summary["failed"]
    assert f"{lost} requests failed" in " ".join(failing.warnings)


@pytest.mark.parametrize(
    ("cluster", "words"),
    [
        ({"faults": [{"crash": {"at": "1s", "restrat_after": "5s"}}]}, r"faults\.0.*did you mean 'restart_after'"),
        ({"faults": [{"crsh": {"at": "1s"}}]}, "did you mean 'crash'"),
        ({"faults": [{"straggler": {"factor": -1}}]}, "greater than 0"),
        ({"faults": [{"crash": {"at": "1s", "replica": 0, "pool": "a"}}]}, "not both"),
        ({"cold_start": {"time": "1s", "warm_up": "2s"}}, "not both"),
    ],
)
def test_mistakes_are_answered(cluster: dict[str, Any], words: str) -> None:
    with pytest.raises(ServecastError, match=words):
        sim.load({**SERVED, "cluster": {"gpu": "h100-sxm", **cluster}})
