"""Links that several transfers use at the same time, in virtual time.

All flows are fluid, and every link is shared max-min fairly: no flow can be faster without another, that is no faster,
becoming slower. So RDMA's congestion control and TCP share a network card, after a while and on the mean. When a flow
begins or ends, the rates of all that are joined to it by links change, and of no others.

Source of the rule: Bertsekas, Gallager, Data Networks, 2nd ed., section 6.5.2 (progressive filling).
"""

from collections.abc import Callable, Sequence
from functools import partial

import simpy

from sim.cluster.clock import LINK_ORDER, At


class Link:
    """One direction of a link: bytes per second, what uses it now, and what it has carried."""

    __slots__ = ("_since_s", "busy_s", "bytes_per_s", "carried_bytes", "flows")

    def __init__(self, bytes_per_s: float) -> None:
        self.bytes_per_s = bytes_per_s
        self.flows: dict[Flow, None] = {}
        self.carried_bytes = 0
        self.busy_s = 0.0
        self._since_s = 0.0

    def take(self, flow: "Flow", now_s: float) -> None:
        """A flow begins to use it."""
        if not self.flows:
            self._since_s = now_s
        self.flows[flow] = None

    def drop(self, flow: "Flow", carried_bytes: int, now_s: float) -> None:
        """A flow uses it no more."""
        del self.flows[flow]
        self.carried_bytes += carried_bytes
        if not self.flows:
            self.busy_s += now_s - self._since_s


class Flow:
    """Bytes on their way over some links at once."""

    __slots__ = ("bytes", "done", "end", "hop_s", "left_bytes", "links", "rate", "since_s")

    def __init__(self, links: Sequence[Link], bytes_: int, hop_s: float, done: Callable[[], None]) -> None:
        self.links = links
        self.bytes = bytes_
        self.hop_s = hop_s
        self.done = done
        self.left_bytes = float(bytes_)
        self.rate = 0.0
        self.since_s = 0.0
        self.end: simpy.Event | None = None


class Links:
    """All flows of a simulation."""

    def __init__(self, env: simpy.Environment) -> None:
        self._env = env

    def send(self, links: Sequence[Link], bytes_: int, hop_s: float, done: Callable[[], None]) -> Flow:
        """Send at least one byte over all these links; `done` is called `hop_s` after the last one has left.

        That is before all else that happens at the same time but arrivals.
        """
        flow = Flow(links, bytes_, hop_s, done)
        flow.since_s = self._env.now
        for link in links:
            link.take(flow, self._env.now)
        self._share(links)
        return flow

    def stop(self, flow: Flow) -> int:
        """Send no more, and call nobody; return the bytes that have left."""
        if flow.end is None:
            return flow.bytes
        flow.end = None
        if flow not in flow.links[0].flows:  # all has left
            return flow.bytes
        left = flow.left_bytes - flow.rate * (self._env.now - flow.since_s)
        sent = flow.bytes - min(max(round(left), 0), flow.bytes)
        self._leave(flow, sent)
        return sent

    def change(self, link: Link, bytes_per_s: float) -> None:
        """From now on the link is as fast as that; 0: it is cut, and what is under way waits."""
        link.bytes_per_s = bytes_per_s
        self._share([link])

    def _leave(self, flow: Flow, sent_bytes: int) -> None:
        for link in flow.links:
            link.drop(flow, sent_bytes, self._env.now)
        self._share(flow.links)

    def _share(self, links: Sequence[Link]) -> None:
        """Find the rates of all flows that are joined to these links, and when they end."""
        now_s = self._env.now
        for flow, rate in _fair_rates(links).items():
            if rate == flow.rate:
                continue
            flow.left_bytes = max(flow.left_bytes - flow.rate * (now_s - flow.since_s), 0.0)
            flow.rate, flow.since_s = rate, now_s
            if not rate:
                flow.end = self._env.event()  # which never comes
                continue
            flow.end = end = At(self._env, now_s + flow.left_bytes / rate, LINK_ORDER)
            end.callbacks.append(partial(self._all_sent, flow))

    def _all_sent(self, flow: Flow, event: simpy.Event) -> None:
        if flow.end is not event:
            return
        self._leave(flow, flow.bytes)
        flow.end = end = At(self._env, self._env.now + flow.hop_s, LINK_ORDER)
        end.callbacks.append(partial(self._there, flow))

    def _there(self, flow: Flow, event: simpy.Event) -> None:
        if flow.end is event:
            flow.end = None
            flow.done()


def _fair_rates(links: Sequence[Link]) -> dict[Flow, float]:
    """Bytes per second of every flow that is joined to these links, over whatever others."""
    free = dict.fromkeys(links, 0.0)
    flows: dict[Flow, None] = {}
    left = list(links)
    while left:
        link = left.pop()
        free[link] = link.bytes_per_s
        for flow in link.flows:
            if flow not in flows:
                flows[flow] = None
                for other in flow.links:
                    if other not in free:
                        free[other] = 0.0
                        left.append(other)
    users = {link: len(link.flows) for link in free}
    rates: dict[Flow, float] = {}
    while len(rates) < len(flows):
        narrowest = min((link for link in free if users[link]), key=lambda link: free[link] / users[link])
        rate = free[narrowest] / users[narrowest]
        for flow in narrowest.flows:
            if flow not in rates:
                rates[flow] = rate
                for link in flow.links:
                    free[link] -= rate
                    users[link] -= 1
    return rates
