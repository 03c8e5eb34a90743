"""Both ends of a hand-over between engines: a prompt is computed by one, and its KV fetched by another that decodes.

The engine that computed the prompt keeps the KV of a finished request until it has been fetched. The one that decodes
takes blocks for the prompt and the next token when the request is first in its queue and a seat is free, but for what
its prefix cache holds; what is missing is fetched, while others run and nobody else in the queue passes. A request
whose KV has come needs nothing but a seat and goes before all others. Nobody can be stuck: those that hold memory here
can always go on, whatever the others wait for.

Source: vLLM, vllm/v1/core/sched/scheduler.py (WAITING_FOR_REMOTE_KVS) and its NIXL connector. There the request is
asked for its last prompt token again, and that step gives the first token.
"""

from collections.abc import Iterable, Iterator
from typing import Any, cast

from sim.engine.core import Engine
from sim.engine.policies import Ordering
from sim.engine.waiting import KeyQueue
from sim.errors import ServecastError
from sim.kvcache.protocol import Hit, KVCache
from sim.kvcache.tiers.around import Around
from sim.request import Request


class _Parking(Around):
    """A KV cache in which blocks are held for requests that do not run."""

    def __init__(self, engine: Engine) -> None:
        super().__init__(engine.kv)
        self.engine = engine
        self.parked: dict[Request, None] = {}
        engine.kv = cast(KVCache, self)

    def park(self, request: Request) -> None:
        """Count the request's prompt as parked."""
        self.parked[request] = None
        self.engine.parked_tokens += request.prompt_tokens

    def unpark(self, request: Request) -> None:
        """No longer."""
        del self.parked[request]
        self.engine.parked_tokens -= request.prompt_tokens

    def check(self, running: Iterable[tuple[Request, int]]) -> None:
        """As the inner cache, with what is parked."""
        self.inner.check([*running, *((request, request.computed_tokens) for request in self.parked)])


class Sender(_Parking):
    """The KV cache of an engine that computes prompts for others: what a finished request leaves stays until fetched.

    Raises ServecastError for a batching that keeps finished requests among the running ones.
    """

    def __init__(self, engine: Engine) -> None:
        if engine.keeps_finished:
            raise ServecastError("a batching whose batches end together cannot hand prompts over one by one")
        super().__init__(engine)

    def free(self, request: Request) -> None:
        """Keep a finished request's blocks; free those of one that was given up."""
        if request.generated_tokens == request.output_tokens:
            self.park(request)
        else:
            self.inner.free(request)

    def release(self, request: Request) -> bool:
        """The KV is not needed any more; False if it was lost before, in a preemption while the token was under way."""
        if request not in self.parked:
            return False
        self.unpark(request)
        self.inner.free(request)
        return True


class Receiver(_Parking):
    """The KV cache of an engine that decodes prompts computed elsewhere.

    Raises ServecastError for a batching that promises memory to the end of every answer, which fetched prompts would
    break, and for a queue order that is not told by a key.
    """

    def __init__(self, engine: Engine) -> None:
        if getattr(engine.batching, "promises_answers", False):
            raise ServecastError(
                "a batching that sets memory aside for whole answers is not modelled on replicas that fetch prompts "
                "computed elsewhere; use another on the decode pool, or tensorrt_llm with max_utilization"
            )
        super().__init__(engine)
        self.queue = _Inbox(engine)

    def expect(self, request: Request) -> bool:
        """A request comes whose prompt is, or will be, computed elsewhere; True if it might be fetched now."""
        self.queue.remote[request] = None
        self.queue.push(request)
        return self.engine.has_seat and self.queue.others.head is request

    def begin(self) -> Iterator[tuple[Request, int]]:
        """Take room for requests whose turn it is; with each, how many blocks must be fetched."""
        queue = self.queue
        while queue.blocked and self.engine.has_seat:
            request = queue.others.head
            blocks = self._take_room(request)
            if blocks is None:
                return
            queue.others.pop()
            del queue.remote[request]
            queue.coming[request] = None
            yield request, blocks

    def _take_room(self, request: Request) -> int | None:
        inner: KVCache = self.inner
        hit = inner.lookup(request)
        tokens = request.prompt_tokens + 1
        spared = self.engine.limits.watermark_blocks if self.engine.running else 0
        if not inner.can_admit(request, hit, tokens, spared):
            if not (self.engine.running or self.engine.parked_tokens):
                raise ServecastError(
                    f"request {request.id} with {tokens} tokens needs {inner.blocks_for(tokens)} KV blocks, and the "
                    f"replica that decodes has {inner.num_blocks}: give it more KV memory or lower engine.max_model_len"
                )
            return None
        inner.adopt(request, hit)
        request.pending_tokens = request.known_tokens  # nobody may find blocks that are still empty
        inner.grow(request, tokens - hit.tokens)
        self.park(request)
        return inner.blocks_for(request.prompt_tokens) - hit.tokens // self.engine.limits.block_size

    def arrived(self, request: Request) -> None:
        """All its KV is here."""
        request.pending_tokens = 0
        request.high_water_tokens = request.prompt_tokens  # computed, though not here: a preemption loses it
        inner: KVCache = self.inner
        inner.key(request, request.prompt_tokens)
        if inner.lands:
            inner.landed(request, request.prompt_tokens)
        del self.queue.coming[request]
        self.queue.here.push(request)

    def lookup(self, request: Request) -> Hit:
        """What was fetched counts as found, and so does the room of the next token."""
        if request in self.parked:
            return Hit(request.prompt_tokens, self.inner.blocks_for(request.prompt_tokens + 1), 0)
        hit: Hit = self.inner.lookup(request)
        return hit

    def can_admit(self, request: Request, hit: Hit, tokens: int, spared_blocks: int) -> bool:
        """Whoever has all that he needs takes nothing from those for whom blocks are spared."""
        if request in self.parked and self.inner.blocks_for(tokens) <= hit.blocks:
            return True
        fits: bool = self.inner.can_admit(request, hit, tokens, spared_blocks)
        return fits

    def adopt(self, request: Request, hit: Hit) -> None:
        """A request whose KV is here runs now, and takes its next token's room as all do."""
        if request in self.parked:
            self.unpark(request)
            self.inner.shrink(request, 1)
        else:
            self.inner.adopt(request, hit)

    def abandon(self, request: Request) -> None:
        """It is given up: its blocks are free, whether or not they were filled."""
        if request in self.parked:
            self.unpark(request)
            request.pending_tokens = 0
            self.inner.free(request)
        else:
            self.inner.abandon(request)


class _Inbox:
    """The queue of an engine that decodes: those whose KV is here, then the others up to one that must be fetched.

    Whoever has to be fetched, and all behind, is hidden from the batching policy.
    """

    rearranges = False

    def __init__(self, engine: Engine) -> None:
        if not isinstance(engine.waiting, KeyQueue):
            raise ServecastError("replicas that decode for others need a queue order that a key tells, such as fcfs")
        ordering = cast(Ordering, engine.ordering)
        self.here = KeyQueue(ordering.key)
        self.others = engine.waiting
        self.remote: dict[Request, None] = {}  # of the others, those that must be fetched
        self.coming: dict[Request, None] = {}  # being fetched
        engine.waiting = self

    @property
    def blocked(self) -> bool:
        """Whether the next of the others has to be fetched."""
        return bool(self.remote and self.others.head in self.remote)

    @property
    def head(self) -> Request:
        return self.here.head if self.here else self.others.head

    def push(self, request: Request) -> bool:
        return self.others.push(request)

    def pop(self) -> Request:
        return self.here.pop() if self.here else self.others.pop()

    def remove(self, request: Request) -> None:
        """Take out a request, wherever it is."""
        if request in self.coming:
            del self.coming[request]
            return
        self.remote.pop(request, None)
        self.here.remove(request)
        self.others.remove(request)

    def refresh(self) -> None:
        """Nothing to do: keys do not change."""

    def __len__(self) -> int:
        return len(self.here) + (0 if self.blocked else len(self.others))

    def __iter__(self) -> Iterator[Any]:
        yield from self.here
        if not self.blocked:
            yield from self.others
