"""Every batching with every order and KV cache, while clients give up at any time: nobody is lost, nothing hangs."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sim.choice import options
from sim.engine import Engine
from sim.engine.plan import StepPlan
from sim.request import Request
from tests.cluster.strategies import LONGEST, Case, cases
from tests.serving import engine

EVERY_BATCHING = pytest.mark.parametrize("name", options("sim.batching"))


@EVERY_BATCHING
@settings(max_examples=40, deadline=None)
@given(data=st.data())
def test_every_request_ends_once(name: str, data: st.DataObject) -> None:
    """Requests come and are cancelled between steps, with up to two steps under way, until nobody is left.

    INV-1 and INV-2 hold throughout; each request is finished or cancelled, never both; no block stays taken. The
    number of steps is bounded: as long as somebody is there, a step computes something, or lets somebody go.
    """
    case: Case = data.draw(cases(name))
    rng = np.random.default_rng(data.draw(st.integers(0, 2**32)))
    impatient = data.draw(st.sampled_from([0.02, 0.2, 0.6]))
    ahead = case.options["decide_ahead"]
    server = engine(
        case.options["ordering"],
        data.draw(st.booleans()),
        case.options["batching"],
        case.options["kv_cache"],
        **case.options["limits"],
    )
    content = case.table.segments or [None] * len(case.table)
    coming = [
        Request(
            index, 0.0, int(prompt), int(min(answer, LONGEST - prompt)), index % 3, content[index], tenant=index % 2
        )
        for index, (prompt, answer) in enumerate(zip(case.table.prompt_tokens, case.table.output_tokens, strict=True))
        if prompt < LONGEST
    ]
    in_flight: dict[int, Request] = {}
    ended: dict[int, str] = {}
    launched: list[tuple[StepPlan, list[Request]]] = []
    most = 200 + 40 * sum(request.prompt_tokens + request.output_tokens for request in coming)
    for _ in range(most):
        for request in coming[: rng.integers(0, 4)]:
            server.add(request)
            in_flight[request.id] = coming.pop(0)
        for request in list(in_flight.values()):
            if rng.random() < impatient * rng.random() and server.cancel(request):
                assert in_flight.pop(request.id) is request
                ended[request.id] = "cancelled"
        server.check()
        if not coming and server.is_idle:
            break
        plan = _plan(server)
        if not plan.is_empty:
            launched.append((plan, server.launch(plan)))
        while launched and (plan.is_empty or len(launched) > ahead):
            oldest, finished = launched.pop(0)
            _land(server, oldest, finished, in_flight, ended)
    else:
        raise AssertionError(f"{len(in_flight)} requests are still there after {most} steps")
    while launched:
        _land(server, *launched.pop(0), in_flight, ended)
    assert not in_flight
    assert server.is_idle
    assert server.kv.used_blocks == 0
    assert len(ended) == int((case.table.prompt_tokens < LONGEST).sum())


def _plan(server: Engine) -> StepPlan:
    plan = server.schedule()
    return plan if plan.hold is None else server.schedule(window_over=True)


def _land(
    server: Engine, plan: StepPlan, finished: list[Request], in_flight: dict[int, Request], ended: dict[int, str]
) -> None:
    was_kept = set(server.kept)
    server.land(plan, finished)
    for request in finished:
        if request.id in in_flight:  # not kept on from an earlier step
            assert request not in was_kept
            del in_flight[request.id]
            assert ended.setdefault(request.id, "finished") == "finished"
