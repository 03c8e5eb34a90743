"""Orders against what queueing theory and their papers say, one request at a time unless said otherwise.

M/G/1 without interruption: W0 = rate * E[S^2] / 2 is the mean rest of the job in service. First come, first
served waits W0 / (1 - rho) (Pollaczek-Khinchine); class k of a priority order waits
W0 / ((1 - rho of the classes before it) * (1 - rho of those and itself)) (Cobham, Operations Research 1954),
and shortest job first is that with every size a class (Phipps 1956).
"""

from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from sim.ordering.aged_priority import AgedPriority
from sim.ordering.fcfs import Fcfs
from sim.ordering.last_come import LastCome
from sim.ordering.priority import Priority
from sim.ordering.shortest_job import ShortestJob
from sim.ordering.virtual_token_counter import VirtualTokenCounter
from tests.serving import serve, table
from tests.theory import test_queues
from tests.theory.test_queues import ONE_AT_A_TIME, fixed_step, poisson, wait_s

STEP_S = 1e-3
SIZES = np.array([5, 50])
"""Tokens of a short and of a long answer."""
COUNT = 50_000


def waits(order: Any, answers: NDArray[Any], rho: float, seed: int, **columns: Any) -> NDArray[np.float64]:
    """Queue waits in the order of arrival, with Poisson arrivals."""
    rate = rho / (float(answers.mean()) * STEP_S)
    arrivals = poisson(np.random.default_rng(seed), rate, len(answers))
    requests = table(arrivals, 1, answers, **columns)
    return wait_s(serve(requests, fixed_step(STEP_S), ordering=order, limits=ONE_AT_A_TIME))


def mixed(seed: int, count: int = COUNT) -> NDArray[np.int64]:
    return SIZES[(np.random.default_rng(seed).random(count) > 0.8).astype(int)]


def agrees(values: NDArray[np.float64], theory: float, within: float) -> bool:
    return test_queues.agrees(values[: len(values) // 380 * 380], theory, within)


def residual_s(answers: NDArray[Any], rho: float) -> float:
    """W0."""
    return rho * float((answers**2).mean()) / float(answers.mean()) / 2 * STEP_S


def test_cobham() -> None:
    answers, rho = mixed(1), 0.8
    urgent = np.random.default_rng(2).random(COUNT) < 0.3
    wait = waits(Priority(), answers, rho, 3, priority=np.where(urgent, 0, 1))
    first = 0.3 * rho
    assert agrees(wait[urgent], residual_s(answers, rho) / (1 - first), within=0.1)
    assert agrees(wait[~urgent], residual_s(answers, rho) / ((1 - first) * (1 - rho)), within=0.4)


def test_shortest_job_first() -> None:
    answers, rho = mixed(4), 0.8
    wait = waits(ShortestJob(), answers, rho, 5)
    short = answers == SIZES[0]
    share = rho * answers[short].sum() / answers.sum()
    assert agrees(wait[short], residual_s(answers, rho) / (1 - share), within=0.1)
    assert agrees(wait[~short], residual_s(answers, rho) / ((1 - share) * (1 - rho)), within=0.4)
    in_turn = waits(Fcfs(), answers, rho, 5)
    assert wait.mean() < 0.75 * in_turn.mean()
    assert wait.max() > in_turn.max()


def test_worse_guesses_help_less() -> None:
    """A guess without any knowledge is a random order, whose mean wait is that of first come, first served."""
    answers, rho, count = mixed(6, 20_000), 0.8, 20_000
    rng = np.random.default_rng(7)
    normal = rng.standard_normal(count)
    means = []
    for error in (0.0, 1.0, 3.0):
        guesses = np.maximum(np.rint(answers * np.exp(error * normal)), 1)
        means.append(waits(ShortestJob(), answers, rho, 8, predicted_tokens=guesses).mean())
    blind = waits(ShortestJob(), answers, rho, 8, predicted_tokens=rng.integers(1, 1_000_000, count)).mean()
    in_turn = waits(Fcfs(), answers, rho, 8).mean()
    assert means[0] < means[1] < means[2] < blind
    assert blind == pytest.approx(in_turn, rel=0.03)


def test_last_come_first_served() -> None:
    """The mean wait is that of first come, first served; the second moment is 1 / (1 - rho) times its.

    (Kleinrock, Queueing Systems II, 3.4: E[W^2] of LCFS = E[W^2] of FCFS / (1 - rho).)
    """
    answers, rho = np.full(COUNT, 10), 0.5
    last, first = (waits(order, answers, rho, 9) for order in (LastCome(), Fcfs()))
    assert agrees(last, residual_s(answers, rho) / (1 - rho), within=0.08)
    assert (last**2).mean() / (first**2).mean() == pytest.approx(1 / (1 - rho), rel=0.05)


def test_ageing_prevents_starvation() -> None:
    """Urgent traffic alone is more than the server can do. By priority the others wait till it ends; with ageing
    one waits no longer than first come, first served would let it, but for what arrives one level's time later."""
    rng = np.random.default_rng(10)
    count, level_s, service_s = 4000, 2.0, 0.01
    arrivals = poisson(rng, 1.2 / service_s, count)
    priority = (rng.random(count) < 0.05).astype(int)
    waits = {
        order: wait_s(
            serve(
                table(arrivals, 1, 10, priority=priority), fixed_step(STEP_S), ordering=order, limits=ONE_AT_A_TIME
            )
        )[priority == 1].max()
        for order in (Priority(), AgedPriority(level_s), Fcfs())
    }  # fmt: skip
    assert waits[Priority()] > 4 * waits[Fcfs()]
    assert waits[AgedPriority(level_s)] <= waits[Fcfs()] + 1.2 * level_s * 1.1


def served(record: Any, tenant: int, times: NDArray[np.float64]) -> NDArray[np.float64]:
    """Weighted tokens that a tenant has been served by each time, with steps of one length."""
    rows = record.requests
    mine = rows["tenant"] == tenant
    begun = np.sort(rows["scheduled_s"][mine])
    total = np.searchsorted(begun, times, side="right") * float(rows["prompt_tokens"][mine][0])
    for first, answer in zip(rows["first_token_s"][mine], rows["generated_tokens"][mine], strict=True):
        total += 2.0 * np.clip(np.floor((times - first) / STEP_S + 1e-6) + 1, 0, answer)
    return total


@pytest.mark.parametrize(("order", "fair"), [(VirtualTokenCounter(), True), (Fcfs(), False)])
def test_service_of_two_backlogged_tenants(order: Any, fair: bool) -> None:
    """|served to f - served to g| <= 2 max(w_p * longest prompt, w_q * KV tokens) while both are backlogged.

    f floods with short requests, g sends long ones; 10 seats, and memory for 640 tokens (Sheng et al. 2024).
    """
    count = 1200
    tenant = ["f", "g"] * (count // 2)
    answers = np.where(np.arange(count) % 2, 40, 10)
    arrivals = np.arange(count) * 1e-4
    limits = {"max_num_seqs": 10, "num_gpu_blocks": 641, "block_size": 1, "max_num_batched_tokens": 4096}
    prompts = np.where(np.arange(count) % 2, 64, 16)
    record = serve(table(arrivals, prompts, answers, tenant=tenant), fixed_step(STEP_S), ordering=order, limits=limits)
    waiting = record.requests["scheduled_s"]
    both = min(waiting[record.requests["tenant"] == k].max() for k in (0, 1))  # until then each has one waiting
    times = np.arange(0.2, both, STEP_S) + STEP_S / 2
    gap = served(record, 0, times) - served(record, 1, times)
    bound = 2 * max(1.0 * 64, 2.0 * 640)
    spread = gap.max() - gap.min()  # the largest difference over any stretch of time
    assert len(times) > 500
    assert (spread <= bound) == fair
