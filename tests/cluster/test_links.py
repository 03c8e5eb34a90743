"""Transfers at the same time share links max-min fairly."""

from collections.abc import Callable

import pytest
import simpy
from hypothesis import given, settings
from hypothesis import strategies as st

from sim.cluster.clock import ARRIVAL_ORDER, At
from sim.cluster.links import Link, Links


def at(env: simpy.Environment, time_s: float, act: Callable[[], object]) -> None:
    At(env, time_s, ARRIVAL_ORDER).callbacks.append(lambda _: act())


def test_rates_change_when_a_flow_ends() -> None:
    """100 and 300 bytes over a link of 100 a second: 50 each until 2 s, then 100 for the other's last 200."""
    env = simpy.Environment()
    links, link, ends = Links(env), Link(100.0), {}
    for bytes_ in (100, 300):
        links.send([link], bytes_, 0.0, lambda bytes_=bytes_: ends.setdefault(bytes_, env.now))
    env.run()
    assert ends == {100: 2.0, 300: 4.0}
    assert (link.carried_bytes, link.busy_s) == (400, 4.0)


def test_what_one_cannot_use_goes_to_the_others() -> None:
    """Three flows over a wide link of 120; the first is held to 20 elsewhere, so that the others get 50 each."""
    env = simpy.Environment()
    links, wide, narrow, ends = Links(env), Link(120.0), Link(20.0), {}
    for name, way, bytes_ in (("held", [wide, narrow], 20), ("a", [wide], 50), ("b", [wide], 50)):
        links.send(way, bytes_, 0.5, lambda name=name: ends.setdefault(name, env.now))
    env.run()
    assert ends == pytest.approx({"held": 1.5, "a": 1.5, "b": 1.5})


def test_a_link_that_is_cut_and_mended() -> None:
    env = simpy.Environment()
    links, link, ends = Links(env), Link(10.0), []
    links.send([link], 100, 0.0, lambda: ends.append(env.now))
    at(env, 4.0, lambda: links.change(link, 0.0))
    at(env, 9.0, lambda: links.change(link, 30.0))
    env.run()
    assert ends == [11.0]


def test_a_stopped_flow_leaves_the_link_to_the_other() -> None:
    env = simpy.Environment()
    links, link, ends, sent = Links(env), Link(10.0), [], []
    flow = links.send([link], 100, 0.0, lambda: ends.append("never"))
    links.send([link], 50, 0.0, lambda: ends.append(env.now))
    at(env, 4.0, lambda: sent.append(links.stop(flow)))
    env.run()
    assert (ends, sent) == ([7.0], [20])
    assert link.carried_bytes == 70


@settings(max_examples=100, deadline=None)
@given(
    st.lists(st.sampled_from([1.0, 3.0, 10.0]), min_size=3, max_size=3),
    st.lists(
        st.tuples(st.floats(0, 20), st.sets(st.integers(0, 2), min_size=1), st.integers(1, 50)), min_size=1, max_size=12
    ),
)
def test_all_arrive_and_no_link_is_overrun(speeds: list[float], asked: list[tuple[float, set[int], int]]) -> None:
    env = simpy.Environment()
    links, ways = Links(env), [Link(speed) for speed in speeds]
    ends: list[tuple[float, float]] = []
    for start_s, numbers, bytes_ in asked:
        way = [ways[number] for number in sorted(numbers)]
        alone_s = bytes_ / min(link.bytes_per_s for link in way)

        def send(way: list[Link] = way, bytes_: int = bytes_, alone_s: float = alone_s) -> None:
            begun_s = env.now
            links.send(way, bytes_, 0.0, lambda: ends.append((env.now - begun_s, alone_s)))

        at(env, start_s, send)
    env.run()
    assert len(ends) == len(asked)
    assert all(took_s >= alone_s * (1 - 1e-9) for took_s, alone_s in ends)
    for number, link in enumerate(ways):
        carried = sum(bytes_ for _, numbers, bytes_ in asked if number in numbers)
        assert link.carried_bytes == carried <= link.bytes_per_s * link.busy_s * (1 + 1e-9)
        assert not link.flows
    # Whatever is shared, the busiest link is never idle while it has something to carry alone.
    if all(len(numbers) == 1 for _, numbers, _ in asked):
        for link in ways:
            assert link.busy_s * link.bytes_per_s == pytest.approx(link.carried_bytes, rel=1e-9, abs=1e-9)
