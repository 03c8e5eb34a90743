"""What a router sees of a replica is what is so at that moment, or was at the last refresh."""

from typing import Any

import numpy as np
import pytest

import sim
from sim.cluster.pool import Pool
from sim.cluster.simulate import simulate
from sim.errors import ServecastError
from sim.kvcache.paged import Paged
from sim.kvcache.radix import Radix
from sim.latency.linear import Linear
from sim.record import Record
from sim.request import Request
from sim.workload.table import RequestTable
from tests.serving import engine, serve, table

STEP = Linear(base_s=1.0, per_prefill_token_s=0, per_decode_s=0).build()


class Watching:
    """Sends everything to the first replica and notes what it sees of it."""

    knows_caches = True

    def __init__(self) -> None:
        self.seen: list[tuple[Any, ...]] = []

    def start(self, rng: np.random.Generator, candidates: Any) -> Any:
        def choose(request: Request) -> Any:
            view = candidates.members[0]
            cached = [other.cached_tokens(request) for other in candidates.members]
            self.seen.append(
                (view.running_requests, view.waiting_requests, view.kv_used_blocks, view.context_tokens,
                 view.prefill_tokens, cached)
            )  # fmt: skip
            return view

        return choose


def watched(requests: RequestTable, **options: Any) -> Watching:
    watching = Watching()
    serve(requests, STEP, replicas=2, router=watching, **options)  # type: ignore[arg-type]
    return watching


@pytest.mark.parametrize("fast_forward", [True, False])
def test_what_is_seen_in_the_middle_of_a_run(fast_forward: bool) -> None:
    """Blocks of 4. The first request reads 8 tokens in step 0-1 and then decodes, one token a second.

    At 10.5 s step 11 is under way: it has read 8 tokens and computes the 10th token of its answer, 18 in all, in 5
    blocks. The two that arrive at 10.5 and 10.6 wait for the step's end, and have 6 and 7 tokens to compute.
    """
    requests = table([0.0, 10.5, 10.6, 10.7], [8, 6, 7, 8], [30, 2, 2, 2])
    seen = watched(requests, fast_forward=fast_forward, limits={"block_size": 4, "max_num_seqs": 2}).seen
    assert seen[0] == (0, 0, 0, 0, 0, [0, 0])
    assert seen[1] == (1, 0, 5, 18, 0, [0, 0])
    assert seen[2][1:] == (1, 5, 18, 6, [0, 0])
    assert seen[3][1:] == (2, 5, 18, 13, [0, 0])


def named_answers(kv_cache: Any, fast_forward: bool, decide_ahead: bool, staleness_s: float) -> list[Any]:
    """One answer of 40 tokens is being written, and others ask for prompts that begin as it does, one each second."""
    count = 30
    prompt, answer = ("prompt", 8), ("answer", 40)
    segments = [(prompt,)] + [(prompt, (("answer"), 40), (("own", i), 4)) for i in range(1, count)]
    requests = RequestTable.of(
        [0.0, *(np.arange(1, count) + 0.5)], [8] + [52] * (count - 1), [40] + [1] * (count - 1), segments=segments
    )
    named = RequestTable(**{**vars(requests), "output_names": [answer[0]] + [None] * (count - 1)})
    watching = Watching()
    pools = [
        Pool(lambda: engine(kv_cache=kv_cache, block_size=4, max_num_seqs=1), STEP, replicas=2,
             decide_ahead=decide_ahead)
    ]  # fmt: skip
    simulate(
        named, pools, router=watching, seed=0, fast_forward=fast_forward, router_staleness_s=staleness_s  # type: ignore[arg-type]
    )  # fmt: skip
    return watching.seen


@pytest.mark.parametrize("kv_cache", [Paged(), Radix()], ids=["paged", "radix"])
@pytest.mark.parametrize("decide_ahead", [False, True])
@pytest.mark.parametrize("staleness_s", [0.0, 3.0])
def test_an_answer_becomes_findable_as_it_is_written(kv_cache: Any, decide_ahead: bool, staleness_s: float) -> None:
    plain, fast = (named_answers(kv_cache, on, decide_ahead, staleness_s) for on in (False, True))
    assert fast == plain
    cached = [seen[-1][0] for seen in fast]
    assert cached == sorted(cached)
    if isinstance(kv_cache, Paged):
        assert 24 <= cached[-1] <= 36  # tokens written after some 28 steps, in whole blocks
    assert all(seen[-1][1] == 0 for seen in fast)


@pytest.mark.parametrize("kv_cache", [Paged(), Radix()], ids=["paged", "radix"])
def test_caches_are_seen_of_every_replica(kv_cache: Any) -> None:
    """Two replicas, each asked about the same prompts, call equal content the same."""
    segments = [(("a", 64), (("own", i), 8)) for i in range(4)]
    requests = RequestTable.of(np.arange(4) * 5.0, [72] * 4, [2] * 4, segments=segments)
    assert [seen[-1] for seen in watched(requests, kv_cache=kv_cache).seen] == [[0, 0], [64, 0], [64, 0], [64, 0]]


def herd(staleness_s: float) -> Record:
    arrivals = np.arange(40) * 0.1
    from sim.routing.least_outstanding import LeastOutstanding

    return serve(
        table(arrivals, 10, 3), STEP, replicas=4, router=LeastOutstanding(), router_staleness_s=staleness_s
    )  # fmt: skip


def test_old_news_make_a_herd() -> None:
    """Fresh, each of four gets every fourth; refreshed once a second, ten in a row see the same loads."""
    fresh, stale = herd(0.0), herd(1.0)
    assert np.bincount(fresh.requests["replica"]).tolist() == [10] * 4
    loads = np.bincount(stale.requests["replica"][:11], minlength=4)
    assert loads.sum() == 11 and loads.max() == 3  # all four looked idle and took turns
    assert len(set(stale.requests["replica"][20:30].tolist())) < 4


def test_snapshots_are_of_multiples_of_the_period() -> None:
    """Requests of three steps of 1 s each: seen at 0, 2 and 4 s, whoever asks in between.

    At 2 s the first three are there. At 4 s the first has gone, the second's last step ends a moment later.
    """
    requests = table([0.0, 0.5, 1.9, 2.0, 3.9, 4.0, 9.0], 10, 3)
    seen = watched(requests, router_staleness_s=2.0).seen
    assert [one[0] + one[1] for one in seen] == [0, 0, 0, 3, 3, 4, 0]


def test_a_router_that_asks_for_caches_must_say_so() -> None:
    Watching.knows_caches = False
    try:
        with pytest.raises(ServecastError, match="knows_caches"):
            watched(table([0.0], 10, 3), router_staleness_s=2.0)
    finally:
        Watching.knows_caches = True


def test_staleness_from_a_scenario() -> None:
    said = {
        "model": "llama-3.1-8b",
        "workload": {
            "arrivals": {"poisson": {"rate_per_s": 50}}, "requests": 400, "prompt_tokens": {"fixed": {"tokens": 2000}},
            "output_tokens": {"fixed": {"tokens": 50}},
        },
        "cluster": {"gpu": "h100-sxm", "replicas": 4, "router": "least_outstanding"},
    }  # fmt: skip
    fresh = sim.run(said)
    old = sim.run(sim.load(said, ["cluster.router_staleness=2s"]))
    assert old.summary["p99_ttft_ms"] > 1.5 * fresh.summary["p99_ttft_ms"]
