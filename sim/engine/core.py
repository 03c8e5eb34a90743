"""The engine of one replica: its queues, its KV cache, and the policy that plans its steps.

It knows no clock and no I/O: `add` requests, `schedule` a step, `complete` it. `repeat` makes it many equal
decode steps, which leaves the same state as scheduling and completing them one by one.

An engine that schedules asynchronously decides the next step while one is under way. Then `complete` comes in
two: `launch` counts the step's tokens, which is all that the next decision needs; `land`, when the step has
ended, makes them known and lets the finished go, who keep their seats and blocks until then.
"""

from operator import attrgetter, itemgetter
from typing import Any

from sim.engine.decoders import DecodeGroup
from sim.engine.plan import Chunk, StepPlan
from sim.engine.policies import Batching, EngineLimits, Ordering, QueueOrdering
from sim.engine.waiting import KeyQueue, WaitingQueue
from sim.errors import ServecastError
from sim.kvcache.paged import Paged
from sim.kvcache.protocol import Hit, KVCache, KVCacheChoice
from sim.request import Request


class Engine:
    """Queues, KV cache and policy of one replica.

    With `group_decodes` off every request is scheduled on its own, one by one, which is the plain and
    slow meaning of the same rules.
    """

    __slots__ = (
        "batching", "decoders", "done_tokens", "group_decodes", "keeps_finished", "kept", "kv", "leaving", "limits",
        "longest_prompt", "ordering", "parked_tokens", "policy_state", "prefilling", "running", "seats_given",
        "steps_planned", "under_way", "waiting", "window_over",
    )  # fmt: skip

    def __init__(
        self,
        limits: EngineLimits,
        batching: Batching,
        ordering: Ordering | QueueOrdering,
        group_decodes: bool = True,
        kv_cache: KVCacheChoice = Paged(),  # noqa: B008
    ) -> None:
        self.limits = limits
        self.batching = batching
        self.ordering = ordering
        self.group_decodes = group_decodes
        self.kv: KVCache = kv_cache.build(limits.kv_room)
        self.running: dict[Request, None] = {}  # in the order of admission
        self.prefilling: dict[Request, None] = {}  # running, but not in the decode group; same order
        self.decoders = DecodeGroup(limits.block_size, self.kv.grows)
        self.leaving = 0  # running, but their last tokens are under way
        self.done_tokens = 0  # KV tokens of requests that run, but have got their last token
        self.parked_tokens = 0  # KV tokens in memory for requests that do not run: on their way from or to a replica
        self.under_way: list[StepPlan] = []  # launched and not landed, oldest first
        self.seats_given = 0
        self.keeps_finished = bool(getattr(batching, "keeps_finished", False))
        self.kept: list[Request] = []  # running in name only: finished, and waiting for the others
        self.policy_state: Any = None  # the policy's own business
        self.steps_planned = 0
        self.window_over = False  # whoever owns the clock says that what the plan would hold for has waited enough
        self.longest_prompt = limits.max_model_len - 1  # that is not rejected: an answer must have room
        if getattr(batching, "refuses_long_prompts", False):
            self.longest_prompt = min(self.longest_prompt, limits.token_budget)
        self.waiting: WaitingQueue
        self.waiting = ordering.queue(self) if isinstance(ordering, QueueOrdering) else KeyQueue(ordering.key)

    @property
    def has_seat(self) -> bool:
        """Whether `max_num_seqs` leaves room for one more; if not, it does not matter who is next."""
        return len(self.running) < self.limits.max_num_seqs

    @property
    def is_idle(self) -> bool:
        """True when nothing runs and nothing waits."""
        return not self.running and not self.waiting

    def accepts(self, request: Request) -> bool:
        """Whether the prompt is not too long."""
        return request.prompt_tokens <= self.longest_prompt

    def add(self, request: Request) -> bool:
        """Put an arriving request in the queue; True when it may change a run of steady steps."""
        disturbs = self.waiting.push(request)
        return disturbs or self.batching.may_disturb(self, request)

    def schedule(self, window_over: bool = False) -> StepPlan:
        """Decide the next step; `window_over` says that the request the last plan held for has waited enough.

        It is empty when nothing can run before parked memory is given back. Raises ServecastError when requests wait,
        none runs, and none can ever be admitted.
        """
        if self.waiting.rearranges:
            self.waiting.refresh()
        self.window_over = window_over
        if self.parked_tokens and self.waiting and not self.running:
            head = self.waiting.head
            if not self.kv.can_admit(head, self.kv.lookup(head), head.known_tokens, 0):
                return StepPlan()  # policies take it for granted that nobody holds memory when nobody runs
        plan = self.batching.plan(self)
        if plan.decodes or plan.chunks:
            self.steps_planned += 1
        elif plan.hold is None and self.waiting and not self.running and not plan.preempted:
            stuck = self.waiting.head
            if stuck.known_tokens > self.limits.token_budget:
                raise ServecastError(
                    f"request {stuck.id} has {stuck.known_tokens} tokens to compute in one step, and a step has "
                    f"{self.limits.token_budget}: raise engine.max_num_batched_tokens or choose a batching that chunks"
                )
            raise ServecastError(
                f"request {stuck.id} with {stuck.known_tokens} tokens needs "
                f"{self.kv.blocks_for(stuck.known_tokens)} KV blocks of {self.limits.block_size} tokens, and "
                f"the replica has {self.kv.num_blocks}: give it more KV memory or lower engine.max_model_len"
            )
        return plan

    def steady_steps(self, plan: StepPlan) -> int:
        """How many steps, this one included, can be done at once with `repeat`; at least 1."""
        if plan.chunks or self.prefilling or not plan.decodes:
            return 1
        if self.leaving and (len(self.waiting) or self.decoders.named):
            return 1  # seats, blocks and hits become free when the step under way lands
        if self.decoders.named and self.waiting:
            return 1  # blocks that fill during the run could become hits of the waiting request
        if self.waiting.rearranges and self.waiting and self.has_seat:
            return 1  # another request could become the head, and find room
        if self.kv.transfers is not None and any(self.kv.transfers.pending):
            return 1  # this step alone waits for them
        steps = self.batching.steady_steps(self, plan)
        if self.kv.lands and any(earlier.chunks for earlier in self.under_way):
            return 1  # what the cache learns when they land comes before the next step
        if self.kv.coarse and self.waiting:
            # An eviction could take a hit of the waiting request, whole, and so let it in with less.
            steps = max(1, self.decoders.ticks_within(self.kv.empty_blocks + self.decoders.blocks_needed, steps))
        return steps

    def repeat(self, steps: int, done: int = 1) -> None:
        """Schedule the decode steps that follow the planned one and equal it, up to `steps` with that one.

        The first `done` of them are scheduled already, so that a run of steps may be caught up with in parts.
        """
        if steps > done:
            self.steps_planned += steps - done
            if blocks := self.decoders.blocks_over(done, steps):
                self.kv.take(blocks)
            # As in `schedule_decodes`: the token of the step before is not known if that is under way.
            self._key_named(steps - 1 if self.under_way else steps)

    def complete(self, plan: StepPlan, steps: int = 1) -> list[Request]:
        """Launch a step and land it at once; return the finished."""
        finished = self.launch(plan, steps)
        self.land(plan, finished)
        return finished

    def launch(self, plan: StepPlan, steps: int = 1) -> list[Request]:
        """Give every request whose known tokens are all computed its next token; return the finished.

        `steps` is the number of equal decode steps, when `repeat` scheduled more than one. Finished
        requests come in the order of the running list, in which vLLM frees them.
        """
        self.under_way.append(plan)
        finished = self.decoders.tick(steps) if plan.decodes else []
        for request in finished:
            self._follow(request)
        if plan.chunks:
            finished += self.sample(plan)
        if len(finished) > 1:
            finished.sort(key=attrgetter("seat"))
        self.leaving += len(finished)
        for request in finished:
            self.done_tokens += request.computed_tokens
        return finished

    def sample(self, plan: StepPlan) -> list[Request]:
        """Give the requests of finished chunks their tokens; return those that are done."""
        finished = []
        for request, _, _ in plan.chunks:
            if request.computed_tokens < request.prompt_tokens + request.generated_tokens:
                continue
            if self._note_tokens(plan, request, 1):
                finished.append(request)
            elif self.group_decodes:
                del self.prefilling[request]
                self.decoders.join(request)
        return finished

    def _note_tokens(self, plan: StepPlan, request: Request, tokens: int) -> bool:
        """Count a request's new tokens; True if they were its last, and it is no longer scheduled."""
        plan.sampled.append(request)
        plan.landing.append(request)
        request.generated_tokens += tokens
        request.pending_tokens += 1
        done = request.generated_tokens == request.output_tokens
        if done:
            del self.prefilling[request]
        return done

    def land(self, plan: StepPlan, finished: list[Request]) -> None:
        """The oldest step under way has ended: its tokens are known, and the finished leave."""
        self.under_way.remove(plan)
        if plan.chunks and self.kv.lands:
            for request, new, before in plan.chunks:
                decodes = request in plan.gained or (new == 1 and before >= request.prompt_tokens)
                if request in self.running and not decodes:
                    self.kv.landed(request, before + new)
        if plan.landing or self.decoders.named:
            self._learn(plan.landing)
        if self.keeps_finished:
            finished = self._keep(finished)
        for request in finished:
            self._let_go(request)

    def _learn(self, landing: list[Request]) -> None:
        """Tokens have become known: of those that the step was the last to compute for, and of named decodes."""
        known = []
        for request in landing:
            request.pending_tokens -= 1
            known.append((request.seat, request, request.computed_tokens - request.pending_tokens))
        clock = self.decoders.clock - len(self.under_way)
        for request in self.decoders.named:
            known.append((request.seat, request, request.lead + clock))
        if len(known) > 1:
            known.sort(key=itemgetter(0))
        for _, request, tokens in known:
            self.kv.key(request, tokens)

    def _keep(self, finished: list[Request]) -> list[Request]:
        """Finished requests that may go: all, once nobody runs who is not finished."""
        self.kept += finished
        if len(self.kept) < len(self.running):
            self.leaving -= len(finished)
            return []
        self.leaving += len(self.kept) - len(finished)
        finished, self.kept = self.kept, []
        return finished

    def _follow(self, request: Request) -> None:
        """Of a request that leaves the decode group: note the steps under way in which it gets a token."""
        for plan in self.under_way[request.pending_tokens :]:
            plan.landing.append(request)
            request.pending_tokens += 1

    def _let_go(self, request: Request) -> None:
        if request in self.running:
            del self.running[request]
            self.leaving -= 1
            self.done_tokens -= request.computed_tokens
            self.kv.key(request, request.computed_tokens)
            self.kv.free(request)
        else:  # preempted while its last token was under way
            self.waiting.remove(request)
            self.kv.abandon(request)

    def held_tokens(self, ticks: int) -> int:
        """Tokens whose KV is in memory for requests, with `ticks` decode steps scheduled and not launched."""
        group = self.decoders
        tokens = group.lead_sum + group.size * (group.clock + ticks) + self.done_tokens
        for request in self.prefilling:
            tokens += request.computed_tokens
        return self._in_memory(tokens) + self.parked_tokens

    def _in_memory(self, tokens: int) -> int:
        """Tokens in memory, when running requests have computed so many: what they share is there once."""
        return tokens - self.kv.doubled_tokens

    def cancel(self, request: Request) -> bool:
        """Take out a request that nobody wants any more, between two steps; its blocks are free at once.

        False when that is too late, because its last token is there or under way: it will finish. What a step
        under way computes for it is in vain.
        """
        if request.generated_tokens == request.output_tokens:
            return False
        if request not in self.running:
            self.waiting.remove(request)
            self.kv.abandon(request)
            return True
        if request in self.prefilling:
            del self.prefilling[request]
        else:
            self.decoders.leave(request)
            self._follow(request)
        del self.running[request]
        self.kv.key(request, request.computed_tokens - request.pending_tokens)
        for plan in self.under_way:
            plan.landing = [other for other in plan.landing if other is not request]
        self.kv.free(request)
        if self.kept and len(self.kept) == len(self.running):
            self.leaving += len(self.kept)
            for finished in self.kept:
                self._let_go(finished)
            self.kept = []
        return True

    def check(self) -> None:
        """Raise AssertionError unless, between two steps, every request and KV block is where it must be.

        INV-1: a running request is in the decode group, scheduled on its own, or about to leave.
        INV-2: free, held and cached blocks make up the capacity.
        """
        last = {r for r in self.running if r.generated_tokens == r.output_tokens}
        if len(self.running) != len(self.prefilling) + self.decoders.size + len(last):
            raise AssertionError("INV-1: the running list is not the decode group and the others")
        held = []
        for request in self.running:
            computed = request.computed_tokens
            if request not in self.prefilling and request not in last:
                computed = request.lead + self.decoders.clock
            held.append((request, computed))
        self.kv.check(held)
        if self.held_tokens(0) != self._in_memory(sum(tokens for _, tokens in held)) + self.parked_tokens:
            raise AssertionError("INV-2: the tokens held are not those of the running requests")

    def decodes(self, request: Request) -> bool:
        """Whether the request is in the decode group."""
        if request not in self.running or request in self.prefilling:
            return False
        return request.generated_tokens < request.output_tokens

    def generated_tokens(self, request: Request) -> int:
        """Tokens that the request has so far, wherever they are counted."""
        if not self.decodes(request):
            return request.generated_tokens
        return request.lead + self.decoders.clock - request.prompt_tokens + 1

    # What a batching policy does to the queues.

    def schedule_decodes(self, plan: StepPlan) -> None:
        """Schedule one token for every member of the decode group."""
        group = self.decoders
        plan.decodes = group.size
        plan.decode_context_tokens = group.context_tokens
        if blocks := group.blocks_needed:
            self.kv.take(blocks)
        if group.named:
            # The token that is computed now came from the step before. If that is under way, nobody knows it yet.
            self._key_named(0 if self.under_way else 1)

    def _key_named(self, ticks: int) -> None:
        """Make findable what named members of the decode group fill within the next ticks."""
        group = self.decoders
        for request in group.named:
            self.kv.key(request, request.lead + group.clock + ticks)

    def admit(self, request: Request, hit: Hit, new_tokens: int, plan: StepPlan) -> None:
        """Move the head of the queue into the running list and schedule its first chunk."""
        self.waiting.pop()
        if request.seat < 0:
            plan.admitted.append(request)
        else:
            plan.resumed.append(request)
        request.seat = self.seats_given
        self.seats_given += 1
        self.running[request] = None
        self.prefilling[request] = None
        self.kv.adopt(request, hit)
        if hit.tokens > request.high_water_tokens:
            # A preempted request that finds its own blocks again is spared work it had done already.
            request.cached_tokens += hit.tokens - request.high_water_tokens
        self.schedule_chunk(request, new_tokens, plan)

    def schedule_chunk(self, request: Request, new_tokens: int, plan: StepPlan) -> None:
        """Schedule tokens of a running request that is not in the decode group."""
        before = request.computed_tokens
        self.kv.grow(request, new_tokens)
        if before < request.high_water_tokens:
            request.recomputed_tokens += min(request.computed_tokens, request.high_water_tokens) - before
        plan.chunks.append(Chunk(request, new_tokens, before))

    def unschedule(self, request: Request, plan: StepPlan) -> int:
        """Take a request's chunk out of the step again; return its tokens, 0 when it had none."""
        for index, chunk in enumerate(plan.chunks):
            if chunk.request is request:
                del plan.chunks[index]
                if chunk.computed_before < request.high_water_tokens:
                    redone = min(request.computed_tokens, request.high_water_tokens)
                    request.recomputed_tokens -= redone - chunk.computed_before
                # The blocks stay registered up to the undone chunk, as in vLLM, but it was not computed.
                request.high_water_tokens = max(request.high_water_tokens, chunk.computed_before)
                return chunk.new_tokens
        request.high_water_tokens = max(request.high_water_tokens, request.computed_tokens)
        return 0

    def preempt(self, request: Request, plan: StepPlan) -> int:
        """Take all blocks from a running request and put it back in the queue.

        Its tokens are kept and will be recomputed. Returns the tokens it had been given in this step.
        """
        given_back = self.unschedule(request, plan)
        valid = request.computed_tokens - given_back
        if request.generated_tokens == request.output_tokens:
            self.leaving -= 1
            self.done_tokens -= request.computed_tokens
        del self.running[request]
        self.prefilling.pop(request, None)
        self.kv.set_aside(request, valid)
        request.computed_tokens = request.keyed_tokens = 0
        request.preemptions += 1
        self.waiting.push(request)
        plan.preempted.append(request)
        return given_back

    def dissolve_decoders(self, plan: StepPlan) -> None:
        """Make every running request one that is scheduled on its own."""
        plan.regrouped = self.decoders.dissolve()
        for request in plan.regrouped:
            self._follow(request)
            self.kv.key(request, request.computed_tokens - request.pending_tokens)
        self.prefilling = {r: None for r in self.running if r.generated_tokens < r.output_tokens}
