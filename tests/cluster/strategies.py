"""Random scenarios: small, but with every pressure the engine knows, and under every batching policy.

A policy is drawn by its file in sim/batching, and each of its parameters by its type, so that a new one is tested
without being named here; VALUES has better values for some.
"""

import dataclasses
from dataclasses import dataclass
from typing import Any

import numpy as np
from hypothesis import strategies as st
from numpy.typing import NDArray

from sim import hardware, models
from sim.batching.vllm_v1 import VllmV1
from sim.choice import options
from sim.cluster.adapter_costs import AdapterCosts
from sim.cluster.host_link import HostLink
from sim.engine import Batching, Ordering, QueueOrdering
from sim.engine.adapterslots import AdapterRoom
from sim.kvcache.contiguous import Contiguous
from sim.kvcache.paged import Paged
from sim.kvcache.tiers.offload import Offloading
from sim.kvcache.tiers.swap import Swapping
from sim.latency import EngineTiming, StepTime, StepTimer, TimerContext
from sim.latency.linear import Linear
from sim.latency.profile import Profile
from sim.models.shape import BatchShape
from sim.workload.table import ClosedLoop, RequestTable, Segments

LONGEST = 200


def _profile_timer(host_step_s: float, overlap: bool) -> StepTimer:
    timing = EngineTiming(host_step_s=host_step_s, overlap=overlap)
    model, gpu = models.load("llama-3.1-8b"), hardware.load("h100-sxm")
    return Profile().build(TimerContext(model, gpu, max_num_batched_tokens=2048, timing=timing))


TIMERS = [
    Linear(base_s=0.01, per_prefill_token_s=1e-4, per_decode_s=1e-4).build(),
    Linear(base_s=0.0123, per_prefill_token_s=1e-4, per_decode_s=1e-4, per_context_token_s=1e-6).build(),
    Linear(base_s=1 / 128, per_prefill_token_s=0, per_decode_s=0).build(),
    _profile_timer(0.0015, overlap=True),
    _profile_timer(0.0015, overlap=False),
    _profile_timer(0.00695, overlap=True),  # the host is the bound until the context has grown
]


@dataclass(frozen=True)
class Slowed:
    """A timer whose steps take so much longer."""

    timer: StepTimer
    by_s: float

    def step(self, shape: BatchShape) -> StepTime:
        time = self.timer.step(shape)
        return time._replace(total_s=time.total_s + self.by_s)

    def decode_run(self, decodes: int, context_tokens: int, steps: int) -> tuple[list[float], StepTime]:
        gaps_s, time = self.timer.decode_run(decodes, context_tokens, steps)
        return [gap_s + self.by_s for gap_s in gaps_s], time._replace(total_s=time.total_s + self.by_s)


def adapter_costs(timer: StepTimer) -> AdapterCosts:
    """Every adapter in a step costs 1/512 s; it is copied in 1/256 s and read from disk in 1/32 s."""
    return AdapterCosts(lambda adapters: Slowed(timer, adapters / 512), 2, 4, 512.0, 128.0)


VALUES: dict[str, list[Any]] = {
    "balance_abs_threshold": [0, 1, 64],
    "balance_rel_threshold": [1.0, 1.5],
    "batch_size": [1, 2, 5],
    "block_tokens": [1, 16],
    "burst": [None, 1, 3],
    "by": ["prompt", "total"],
    "cache_threshold": [0.0, 0.3],
    "capacity_blocks": [1, 20, 1000],
    "capacity_scheduler_policy": ["guaranteed_no_evict", "max_utilization"],
    "choices": [1, 2, 3],
    "chunk_tokens": [None, 1, 7, 64],
    "chunked_prefill_size": [None, 1, 7, 64],
    "edges": [(20,), (1000,)],
    "headroom": ["most", "least"],
    "key": ["prefix", "tenant"],
    "kv_use": [0.0, 2.0],
    "load_factor": [1.25, 2.0],
    "max_batch_prefill_tokens": [None, 50],
    "max_batch_total_tokens": [None, 300],
    "max_new_tokens": [None, 100],
    "max_prefill_tokens": [16384, 50],
    "max_queue_delay": [0.0, 1 / 64, 0.2],
    "max_waiting_tokens": [0, 4, 20],
    "outstanding": [None, 2, 6],
    "outstanding_per_replica": [1, 2, 5],
    "pools": [("", "")],
    "preferred_batch_sizes": [(), (2,), (2, 5)],
    "prefixes": ["exact", "approximate"],
    "requests_per_s": [2.0, 50.0],
    "reserve": ["max", "pow2", "oracle"],
    "schedule_conservativeness": [1.0, 0.1],
    "temperature": [0.0, 0.5],
    "timeout": [0.0, 1 / 64, 0.5],
    "tokens_per_s": [None, 1000.0],
    "tpot": [0.01, 0.05],
    "ttft": [0.05, 0.5],
    "waiting": [None, 1, 3],
    "waiting_per_replica": [None, 1],
    "waiting_served_ratio": [0.0, 0.3, 1.2],
    "within": [0.05, 0.5],
}
"""Values for parameters of policies, by name; booleans are drawn anyway, all others keep their defaults."""


@st.composite
def built_in(draw: st.DrawFn, package: str, name: str | None = None) -> Any:
    """The option of that name, or any in the folder, with any parameters."""
    known = options(package)
    cls = known[name or draw(st.sampled_from([*known]))]
    given = {}
    for field in dataclasses.fields(cls):
        values = [True, False] if isinstance(field.default, bool) else VALUES.get(field.name, [field.default])
        given[field.name] = draw(st.sampled_from(values))
    return cls(**given)


_NEEDED: dict[str, dict[str, Any]] = {
    "earliest_deadline": {"within": {0: 0.5, 1: 0.1, 2: 5.0}},
    "least_slack": {"within": {"other": 1.0}, "token": 0.01, "prefill_token": 1e-4},
    "length_buckets": {"edges": (10, 40), "group": 3},
}
ORDERS: list[Ordering | QueueOrdering] = [
    order(**_NEEDED.get(name, {})) for name, order in options("sim.ordering").items()
]
"""Every order in the folder; one with required parameters needs them above."""


def routers(name: str | None = None) -> st.SearchStrategy[Any]:
    """The router of that name, or any in the folder, with any parameters."""
    return built_in("sim.routing", name)


@dataclass(frozen=True)
class Case:
    """One scenario, ready for `tests.serving.serve`."""

    table: RequestTable
    timer: StepTimer
    options: dict[str, Any]


@st.composite
def cases(draw: st.DrawFn, batching_name: str | None = None, router_name: str | None = None) -> Case:
    count = draw(st.integers(1, 40))
    rng = np.random.default_rng(draw(st.integers(0, 2**32)))
    # On a binary grid arrivals coincide with each other and, with step times on it, with ends of steps.
    arrivals = np.cumsum(rng.exponential(draw(st.sampled_from([1e-4, 0.02, 0.3])), count))
    if on_grid := draw(st.booleans()):
        arrivals = np.round(arrivals * 64) / 64
    # Short prompts with long answers outgrow the memory they were admitted to, and preempt.
    longest = draw(st.sampled_from([(10, 150), (40, 100), (60, 20), (150, 50), (LONGEST + 20, 2)]))
    prompts, answers = (rng.integers(1, most, count) for most in longest)
    loop = None
    if draw(st.booleans()):
        arrivals = np.zeros(count)
        think = draw(st.sampled_from([0.0, 0.03]))
        loop = ClosedLoop(draw(st.integers(1, 8)), np.full(count, think))
    segments = [_content(rng, int(prompt)) for prompt in prompts] if draw(st.booleans()) else None
    block = draw(st.sampled_from([1, 4, 16]))
    spare = draw(st.sampled_from([0, 1, 30 // block, 1000]))
    ordering = draw(st.sampled_from(ORDERS))
    batching: Batching = draw(built_in("sim.batching", batching_name))
    kv_cache = draw(st.one_of(st.just(Paged()), built_in("sim.kvcache")))
    caching = draw(st.booleans())
    if isinstance(kv_cache, Paged) and caching and draw(st.booleans()):
        kv_cache = Offloading(*draw(st.sampled_from([(0, 0), (10, 0), (3, 8), (500, 0), (0, 50)])))
    if not isinstance(kv_cache, Contiguous) and draw(st.booleans()):
        kv_cache = Swapping(kv_cache, draw(st.sampled_from([0, 20, 10_000])))
    most_seqs = draw(st.sampled_from([1, 3, 64]))
    # Only vLLM V1 leaves a decode out when a step has too few tokens; the others are never set up so.
    least_tokens = 1 if isinstance(batching, VllmV1) else most_seqs
    least_tokens = LONGEST if getattr(batching, "whole_prompts", False) else least_tokens
    scheduled = draw(st.sampled_from([None, 5]))
    timer = draw(st.sampled_from(TIMERS))
    lora = adapters = None
    if not isinstance(ordering, QueueOrdering) and draw(st.booleans()):
        most, on_disk = draw(st.sampled_from([1, 2, 4])), draw(st.booleans())
        lora = AdapterRoom(most, most + draw(st.sampled_from([0, 1, 5])), on_disk), adapter_costs(timer)
        adapters = [None if k == 5 else f"a{k}" for k in rng.integers(0, 6, count)]
    router = draw(routers(router_name))
    requests = RequestTable.of(
        arrivals, prompts, answers, rng.integers(0, 3, count), segments=segments, closed_loop=loop,
        tenant=[f"t{k}" for k in rng.integers(0, 3, count)], predicted_tokens=rng.integers(1, 150, count),
        adapter=adapters,
        cancel_after_s=_patience(rng, count, on_grid) if draw(st.sampled_from([False, False, True])) else None,
        cancel_after_tokens=rng.integers(1, 60, count) if draw(st.sampled_from([False, False, True])) else None,
    )  # fmt: skip
    if draw(st.sampled_from([True, False, False])):
        requests = with_turns(requests, rng, on_grid)
    longest_blocks = -(-LONGEST // block)
    if isinstance(kv_cache, Contiguous) and kv_cache.buddies:
        longest_blocks = 1 << (longest_blocks - 1).bit_length()
    return Case(
        requests,
        timer,
        {
            "lora": lora,
            "replicas": draw(st.integers(1, 3)),
            "batching": batching,
            "kv_cache": kv_cache,
            "host_link": HostLink(block, draw(st.sampled_from([1e3, 1e6])), disk_bytes_per_s=5e2),
            "decide_ahead": draw(st.booleans()) and getattr(batching, "decides_ahead", False),
            "ordering": ordering,
            "router": router,
            "router_staleness_s": draw(st.sampled_from([0.0, 0.0, 1 / 64, 0.1])),
            "request_overhead_s": draw(st.sampled_from([0.0, 0.004, 1 / 64])),
            "output_overhead_s": draw(st.sampled_from([0.0, 1e-4])),
            "request_timeout_s": draw(st.sampled_from([None, None, 0.25, 1.0])),
            "queue_timeout_s": draw(st.sampled_from([None, None, 1 / 64, 0.2])),
            "warmup_s": draw(st.sampled_from([0.0, 0.1])),
            "limits": {
                "max_model_len": LONGEST,
                "num_gpu_blocks": longest_blocks + 1 + spare,
                "block_size": block,
                "max_num_seqs": most_seqs,
                "max_num_batched_tokens": max(draw(st.sampled_from([1, 7, 64, 2048])), least_tokens),
                "enable_prefix_caching": caching,
                "long_prefill_token_threshold": draw(st.sampled_from([0, 16])),
                "long_prefill_token_threshold_adaptive": draw(st.booleans()),
                "max_num_scheduled_tokens": scheduled and max(scheduled, least_tokens),
                "watermark": draw(st.sampled_from([0.0, 0.1])),
                "scheduler_reserve_full_isl": draw(st.booleans()),
            },
        },
    )  # fmt: skip


def with_turns(requests: RequestTable, rng: np.random.Generator, on_grid: bool) -> RequestTable:
    """The same requests as sessions of some turns, of some requests side by side, each turn waiting for the last."""
    count = len(requests)
    fresh = np.append(True, rng.random(count - 1) < 0.3)
    session = np.cumsum(fresh) - 1
    begins = np.flatnonzero(fresh)
    later = np.where(fresh, 1, rng.random(count) < 0.7)
    turn = np.cumsum(later) - np.cumsum(later)[begins][session] + 1
    pause_s = np.where(fresh, 0.0, rng.choice([0.0, 1 / 64, 0.05 if not on_grid else 0.25], count))
    sessions = np.where(np.bincount(session)[session] > 1, session, -1)  # some are of none
    return dataclasses.replace(
        requests, arrival_s=requests.arrival_s[begins][session], sessions=sessions, turns=turn, pause_s=pause_s,
        output_names=[int(name) for name in rng.integers(0, 5, count)] if rng.random() < 0.5 else None,
    )  # fmt: skip


def _patience(rng: np.random.Generator, count: int, on_grid: bool) -> NDArray[np.float64]:
    times = rng.exponential(rng.choice([0.05, 0.5, 3.0]), count) + 1e-6
    times = np.ceil(times * 64) / 64 if on_grid else times
    return np.where(rng.random(count) < 0.3, np.inf, times)


def _content(rng: np.random.Generator, prompt: int) -> Segments | None:
    if rng.random() < 0.3:
        return None
    shared = min(prompt, int(rng.choice([3, 40, 120])))
    group, own = int(rng.integers(3)), ("own", int(rng.integers(4)))
    return ((group, shared), (own, prompt - shared)) if shared < prompt else ((group, shared),)
