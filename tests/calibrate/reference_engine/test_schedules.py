"""Made-up schedules: what the engine answers, where its blocks lie, and that the simulator decides the same."""

from dataclasses import dataclass

import numpy as np
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from calibrate.reference_engine.engine import prompt, serve
from calibrate.reference_engine.kernels import PlainKernels
from calibrate.reference_engine.kv import KVCache
from calibrate.reference_engine.log import ServingLog
from calibrate.reference_engine.model import Transformer
from calibrate.reference_engine.runner import PassTimes, Runner, RunnerLimits
from calibrate.validation.simulated import LoggedTimer
from sim.batching.vllm_v1 import VllmV1
from sim.cluster.pool import Pool
from sim.cluster.simulate import simulate
from sim.engine import Engine, EngineLimits
from sim.engine.plan import StepPlan
from sim.metrics import requests_frame
from sim.ordering.fcfs import Fcfs
from sim.request import Request
from sim.routing.round_robin import RoundRobin
from sim.workload.table import RequestTable
from tests.calibrate.reference_engine.models import small
from tests.calibrate.reference_engine.naive import logits

MODEL = Transformer(small("qwen3"), PlainKernels(), torch.device("cpu"), torch.float64, seed=3)
MOST_OUTPUT = 12


class TickClock:
    """A look at it takes some 1/1024 s, in turn; waiting is at once."""

    def __init__(self, ticks: list[int]) -> None:
        self.ticks, self.looks, self.time_s = ticks, 0, 0.0

    def now_s(self) -> float:
        self.time_s += self.ticks[self.looks % len(self.ticks)] / 1024
        self.looks += 1
        return self.time_s

    def wait_until(self, time_s: float) -> None:
        self.time_s = max(self.time_s, time_s)


class CheckedRunner(Runner):
    """Looks at the block tables after every step."""

    def step(self, plan: StepPlan) -> PassTimes:
        times = super().step(plan)
        self.tables.check()
        return times


@dataclass(frozen=True)
class Case:
    limits: EngineLimits
    requests: list[tuple[int, int, int]]
    """(arrival in 1/1024 s, prompt tokens, output tokens), in order"""
    ticks: list[int]
    graph_sizes: tuple[int, ...]

    def fresh(self) -> list[Request]:
        return [Request(i, at / 1024, prompt, output) for i, (at, prompt, output) in enumerate(self.requests)]


@st.composite
def cases(draw: st.DrawFn) -> Case:
    block_size = draw(st.sampled_from([4, 8]))
    lengths = st.tuples(st.integers(0, 60), st.integers(1, 36), st.integers(1, MOST_OUTPUT))
    rows = sorted(draw(st.lists(lengths, min_size=2, max_size=7)))
    longest = max(p + o for _, p, o in rows)
    blocks = -(-longest // block_size) + 1 + draw(st.integers(0, 8))
    seqs = draw(st.integers(1, 5))
    limits = EngineLimits(
        num_gpu_blocks=blocks,
        max_model_len=longest + 1,
        max_num_seqs=seqs,
        max_num_batched_tokens=draw(st.integers(seqs, 40)),
        long_prefill_token_threshold=draw(st.sampled_from([0, 0, 5])),
        block_size=block_size,
        enable_prefix_caching=False,
    )
    ticks = draw(st.lists(st.integers(1, 12), min_size=1, max_size=5))
    return Case(limits, rows, ticks, draw(st.sampled_from([(), (1, 2, 4, 8)])))


def served(case: Case) -> ServingLog:
    limits = case.limits
    cache = KVCache(MODEL.model, limits.num_gpu_blocks, limits.block_size, torch.device("cpu"), torch.float64)
    of_runner = RunnerLimits(
        limits.num_gpu_blocks,
        limits.block_size,
        limits.max_model_len,
        limits.max_num_seqs,
        limits.max_num_batched_tokens,
        case.graph_sizes,
    )
    runner = CheckedRunner(MODEL, cache, of_runner)
    return serve(case.fresh(), runner, limits, VllmV1(), Fcfs(), clock=TickClock(case.ticks))


def right(request: Request, answer: list[int]) -> bool:
    """Whether one forward pass of the naive model over prompt and answer says the same."""
    known = [*prompt(request, MODEL.model.vocab).tolist(), *answer[:-1]]
    likeliest = logits(MODEL, known)[request.prompt_tokens - 1 :].argmax(-1)
    return len(answer) == request.output_tokens and likeliest.tolist() == answer


@settings(max_examples=30, deadline=None)
@given(cases())
def test_any_schedule_is_answered_rightly_and_decided_as_the_simulator_would(case: Case) -> None:
    log = served(case)
    assert all(map(right, case.fresh(), log.answers))
    computed = sum(int(part.split(":")[1].split("@")[0]) for row in log.steps for part in row.work.split())
    owed = sum(prompt + output - 1 for _, prompt, output in case.requests)
    preempted = any(row.preemptions for row in log.requests)
    assert computed >= owed if preempted else computed == owed
    assert_decided_alike(case, log)


def assert_decided_alike(case: Case, log: ServingLog) -> None:
    """The simulator, given the durations of the logged steps, puts the same batches together."""
    timer = LoggedTimer(log)
    arrivals, prompts, outputs = np.array(case.requests).T
    record = simulate(
        RequestTable(arrivals / 1024, prompts, outputs, np.zeros_like(prompts)),  # no rounding of 1/1024 s
        [Pool(lambda: Engine(case.limits, VllmV1(), Fcfs()), timer)],
        router=RoundRobin(),
        seed=0,
        fast_forward=False,
    )
    assert timer.first_different is None
    assert timer.steps == len(log.steps)
    requests = requests_frame(record.requests, record.tenants).sort_values("id")
    assert requests["preemptions"].tolist() == [row.preemptions for row in log.requests]
    for column, own in (("finish_s", "e2e_s"), ("first_token_s", "ttft_s")):
        logged = [row.arrival_s + getattr(row, own) for row in log.requests]
        assert requests[column].tolist() == logged


def test_the_made_up_schedules_know_chunks_preemptions_and_padding() -> None:
    """What the properties above are for does occur."""
    limits = EngineLimits(6, 29, max_num_seqs=3, max_num_batched_tokens=9, block_size=8, enable_prefix_caching=False)
    log = served(Case(limits, [(0, 14, 12), (2, 9, 12), (40, 5, 3)], [3], (1, 2, 4, 8)))
    assert any(row.preempted for row in log.steps)
    assert any(before for shape in log.shapes for _, before in shape.prefills)
    assert any(shape.prefills and shape.decodes for shape in log.shapes)


def test_a_simulator_that_decides_otherwise_is_noticed() -> None:
    limits = EngineLimits(30, 60, max_num_seqs=3, max_num_batched_tokens=9, block_size=8, enable_prefix_caching=False)
    case = Case(limits, [(0, 14, 12), (2, 9, 12), (40, 5, 3)], [3], ())
    timer = LoggedTimer(served(case))
    other = EngineLimits(30, 60, max_num_seqs=3, max_num_batched_tokens=8, block_size=8, enable_prefix_caching=False)
    engine = Engine(other, VllmV1(), Fcfs())
    for request in case.fresh():
        engine.add(request)
    timer.step(engine.schedule().shape())
    assert timer.first_different == 0
