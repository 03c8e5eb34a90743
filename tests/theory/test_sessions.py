"""Sessions whose turns wait for answers, at limits where queueing theory knows the answer."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from sim.latency.linear import Linear
from sim.record import Record
from sim.workload.spec import Workload
from sim.workload.table import RequestTable
from tests.serving import serve

STEP_S, MEAN_TOKENS = 1e-3, 100
STEP = Linear(base_s=STEP_S, per_prefill_token_s=0, per_decode_s=0).build()


def geometric(table: RequestTable) -> RequestTable:
    """Answers of geometric lengths, so that service is nearly exponential; prompts of one token."""
    count = len(table)
    answers = np.random.default_rng(3).geometric(1 / MEAN_TOKENS, count)
    return table.take(
        np.arange(count), prompt_tokens=np.ones(count, np.int64), output_tokens=answers, segments=None,
        output_names=None,
    )  # fmt: skip


def chats(arrivals: dict[str, Any], sessions: int, turns: int, think_s: float) -> RequestTable:
    kind = {"turns": {"fixed": {"tokens": turns}}, "think_time": {"exponential": {"mean": think_s}}}
    one = {"fixed": {"tokens": 1}}
    told = {"arrivals": arrivals, "sessions": sessions, "multi_turn": {"chat": kind}}
    return Workload.model_validate({**told, "prompt_tokens": one, "output_tokens": one}).table(1, Path())


def turn_times_s(record: Record) -> NDArray[np.float64]:
    return np.asarray(record.requests["finish_s"] - record.requests["arrival_s"])


def mean_value_analysis(users: int, service_s: float, think_s: float) -> float:
    """Mean response time of one exponential server and a delay (Reiser and Lavenberg, 1980)."""
    queue = response = 0.0
    for n in range(1, users + 1):
        response = service_s * (1 + queue)
        queue = n / (response + think_s) * response
    return response


@pytest.mark.parametrize("users", [4, 12])
def test_users_who_chat_are_the_machine_repair_model(users: int) -> None:
    """Turns of one session, and sessions of one user, all follow a think time: so theory sees no sessions at all."""
    service_s, think_s = STEP_S * MEAN_TOKENS, 0.4
    loop = {"closed_loop": {"users": users, "think_s": think_s, "think": "exponential"}}
    record = serve(geometric(chats(loop, 1500, 10, think_s)), STEP, limits={"max_num_seqs": 1})
    assert turn_times_s(record).mean() == pytest.approx(mean_value_analysis(users, service_s, think_s), rel=0.04)


def test_littles_law_of_sessions() -> None:
    """Sessions that come at a rate and stay W hold rate * W of them on average, W = turns R + (turns - 1) Z."""
    rate, turns, think_s = 0.5, 4, 3.0
    record = serve(geometric(chats({"poisson": {"rate_per_s": rate}}, 3000, turns, think_s)), STEP)
    rows = record.requests
    begin_s = np.full(3000, np.inf)
    end_s = np.zeros(3000)
    np.minimum.at(begin_s, rows["session"], rows["arrival_s"])
    np.maximum.at(end_s, rows["session"], rows["finish_s"])
    stay_s = (end_s - begin_s).mean()
    assert stay_s == pytest.approx(turns * turn_times_s(record).mean() + (turns - 1) * think_s, rel=0.01)
    # Sampled at other moments than those at which anything happens.
    moments = np.linspace(100, 5_500, 3000)
    inside = [np.sum((begin_s <= now) & (now < end_s)) for now in moments]
    assert np.mean(inside) == pytest.approx(rate * stay_s, rel=0.06)
