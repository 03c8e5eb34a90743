"""What a router may know of a replica, true at this very instant, however many steps are simulated as one event."""

from collections.abc import Callable
from dataclasses import dataclass, field

from sim.cluster.pool import Pool
from sim.engine import Engine
from sim.kvcache.content import BlockKeys
from sim.kvcache.protocol import CachedContent
from sim.latency import StepTimer
from sim.request import Request


@dataclass(slots=True)
class Common:
    """What all replicas of a run share: names of content, and whether now is after all steps that end now."""

    names: dict[int, BlockKeys] = field(default_factory=dict)
    after_steps: bool = False


def _nobody_watches(_: "Watched") -> None:
    """What happens when the load changes, as long as no router wants to know."""


class Watched:
    """The public side of a replica.

    While many steps are one event the engine lags behind; `catch_up` schedules what has begun by now, as it would
    have been scheduled step by step.
    """

    def __init__(self, index: int, pool: Pool, common: Common) -> None:
        self.index = index
        self.pool = pool.name
        self.common = common
        self.kind = pool
        self.engine = self.new_engine()
        self.timer: StepTimer = pool.timer
        self.accepting = False
        self.outstanding_requests = 0
        self.outstanding_tokens = 0
        self.load_changed: Callable[[Watched], None] = _nobody_watches
        self._hits: dict[Request, int] = {}  # of waiting requests whose hit was looked up

    def new_engine(self) -> Engine:
        """An engine that holds nothing."""
        engine = self.kind.make_engine()
        engine.kv.share_names(self.common.names)
        return engine

    def catch_up(self) -> int:
        """Let the engine schedule the steps that have begun; return how many of these it has not launched yet."""
        raise NotImplementedError

    @property
    def step_timer(self) -> StepTimer:
        """How long steps of any shape take, at the pace of now."""
        return self.timer

    @property
    def token_budget(self) -> int:
        """Tokens that one step may compute."""
        return self.engine.limits.token_budget

    @property
    def block_size(self) -> int:
        """Tokens of a KV block."""
        return self.engine.limits.block_size

    @property
    def kv_blocks(self) -> int:
        """KV blocks that there are."""
        return self.engine.kv.num_blocks

    @property
    def running_requests(self) -> int:
        """Requests with a seat in the batch."""
        return len(self.engine.running) - len(self.engine.kept)

    @property
    def waiting_requests(self) -> int:
        """Requests in the engine's queue."""
        return len(self.engine.waiting)

    @property
    def kv_used_blocks(self) -> int:
        """Blocks that running requests hold."""
        self.catch_up()
        return self.engine.kv.used_blocks

    @property
    def kv_used_share(self) -> float:
        """The same, of all there are (vLLM: kv_cache_usage_perc)."""
        return self.kv_used_blocks / self.kv_blocks

    @property
    def context_tokens(self) -> int:
        """KV tokens of running requests."""
        return self.engine.held_tokens(self.catch_up())

    @property
    def prefill_tokens(self) -> int:
        """Tokens that the requests here have still to compute before their next token, prefix hits left out."""
        self.catch_up()
        engine = self.engine
        hits = {request: self._hits.get(request) for request in engine.waiting}
        left = 0
        for request, hit in hits.items():
            if hit is None:
                hit = hits[request] = engine.kv.lookup(request).tokens
            left += request.known_tokens - hit
        self._hits = hits  # type: ignore[assignment]
        for request in engine.prefilling:
            tokens = request.known_tokens - request.computed_tokens
            left += tokens if tokens > 1 else 0  # a single one is a decode, scheduled on its own
        return left

    def cached_tokens(self, request: Request) -> int:
        """How many of a new request's first tokens the KV cache holds."""
        self.catch_up()
        return self.engine.kv.lookup(request).tokens

    def cached_content(self) -> CachedContent:
        """All that the KV cache holds."""
        self.catch_up()
        return self.engine.kv.content()

    def _count(self, request: Request, come: int) -> None:
        """One request more, or less."""
        self.outstanding_requests += come
        self.outstanding_tokens += come * (request.prompt_tokens + request.predicted_tokens)
        self.load_changed(self)
