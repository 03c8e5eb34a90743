"""So many requests, or tokens, in a time, for each tenant."""

from collections.abc import Callable
from dataclasses import dataclass

from sim.admission import Admits, Door
from sim.choice import nearest
from sim.errors import ServecastError
from sim.request import Request
from sim.workload.fields import Positive

_ROUNDING = 1e-9
"""A bucket that lacks less than this is full enough: its level is a sum of products."""


@dataclass(frozen=True)
class TokenBucket:
    """Every tenant may send `requests_per_s` requests and `tokens_per_s` tokens, and what it saved up beforehand.

    Savings grow at these rates up to `burst` requests and `burst_tokens`, which are there at the start (defaults: of
    one second, and of no less than one request). A request costs its prompt and predicted output tokens, as with
    max_tokens; one that costs more than `burst_tokens` never comes in. Of tenants in `only`, if given; others are
    not limited.
    """

    requests_per_s: Positive | None = None
    """Requests per second that a tenant may send. E.g. `10`."""
    burst: Positive | None = None
    """Requests that a tenant can have saved up; default: those of one second. E.g. `20`."""
    tokens_per_s: Positive | None = None
    """Tokens per second that a tenant may ask for. E.g. `20000`."""
    burst_tokens: Positive | None = None
    """Tokens that a tenant can have saved up; default: those of one second. E.g. `100000`."""
    only: tuple[str, ...] = ()
    """Tenants that are limited; default: all. E.g. `[batch]`."""

    def __post_init__(self) -> None:
        if self.requests_per_s is None and self.tokens_per_s is None:
            raise ValueError("token_bucket needs a rate: requests_per_s, tokens_per_s, or both")
        for burst, rate in (("burst", "requests_per_s"), ("burst_tokens", "tokens_per_s")):
            if getattr(self, burst) is not None and getattr(self, rate) is None:
                raise ValueError(f"token_bucket has {burst} without {rate}; give both")
        if self.burst is not None and self.burst < 1:
            raise ValueError(f"token_bucket.burst is {self.burst:g}, so that no request could come in; give 1 or more")

    def start(self, door: Door) -> Admits:
        """A judge with full buckets for each tenant. Raises ServecastError if `only` names one that is not there."""
        for name in self.only:
            if name not in door.tenants:
                known = nearest(name, door.tenants)
                raise ServecastError(f"token_bucket.only names no tenant of the workload: {name!r}{known}")
        of_tenant = [self._buckets() if not self.only or name in self.only else [] for name in door.tenants]

        def admits(request: Request, now_s: float) -> bool:
            costs = [(bucket, cost(request)) for bucket, cost in of_tenant[request.tenant]]
            if not all(bucket.has(amount, now_s) for bucket, amount in costs):
                return False
            for bucket, amount in costs:
                bucket.level -= amount
            return True

        return admits

    def _buckets(self) -> list[tuple["_Bucket", Callable[[Request], int]]]:
        """Those of one tenant, and what a request costs in each."""
        found: list[tuple[_Bucket, Callable[[Request], int]]] = []
        if self.requests_per_s is not None:
            burst = max(self.requests_per_s, 1.0) if self.burst is None else self.burst
            found.append((_Bucket(self.requests_per_s, burst), lambda _: 1))
        if self.tokens_per_s is not None:
            found.append((_Bucket(self.tokens_per_s, self.burst_tokens or self.tokens_per_s), _tokens))
        return found


def _tokens(request: Request) -> int:
    return request.prompt_tokens + request.predicted_tokens


class _Bucket:
    """What has been saved up."""

    def __init__(self, rate_per_s: float, most: float) -> None:
        self.level = most
        self._rate_per_s = rate_per_s
        self._most = most
        self._filled_s = 0.0

    def has(self, amount: float, now_s: float) -> bool:
        """Whether it holds so much at that time, which is never earlier than the last."""
        self.level = min(self._most, self.level + (now_s - self._filled_s) * self._rate_per_s)
        self._filled_s = now_s
        return self.level >= amount - _ROUNDING
