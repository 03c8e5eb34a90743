"""TGI: a batch of decodes, joined by batches of new prompts when enough wait, each with memory to its end.

New requests join in a step of their own, with whole prompts of up to `max_batch_prefill_tokens`; after it all decode
at least once. They join only if they are at least `waiting_served_ratio` times as many as decode, or if
`max_waiting_tokens` steps have gone by since others joined. Blocks for prompts and all of the answers that clients
allow are set aside from the first step on, within `max_batch_total_tokens`, so that nobody is ever preempted. Right
behind the prompts that start from nothing, others may join at once.

Source: text-generation-inference 2.4, backends/v3/src: backend.rs (batching_task), queue.rs (next_batch). Whether
enough can join is judged in the order of arrival, which is the only one that TGI has. Enough must fit into one step of
prompts, too: where many decode and prompts are long, no such step holds enough of them, and new requests wait for
`max_waiting_tokens` every time.

    requests: A prompt 4, answer 5; B prompt 4, answer 2, comes during step 1; C prompt 2, answer 1, comes during step 2
    waiting_served_ratio 2, so that two must wait for the one that decodes
    step      0    1    2    3    4    5
    A         4    1    1         1    1    done after step 5
    B                        4    1         alone it is too few; done after step 4
    C                        2              done after step 3
"""

from dataclasses import dataclass
from heapq import nsmallest
from typing import Annotated, ClassVar

from pydantic import Field

from sim.batching._shared import blocks_to_end, decode_all, reserved_blocks, steady
from sim.engine import Engine
from sim.engine.plan import StepPlan
from sim.request import Request


class _State:
    """The latest step of prompts, and whether decodes must follow it; whether others were tried, and the head fits."""

    __slots__ = ("head_fits", "joined_at", "must_decode", "tried")

    def __init__(self) -> None:
        self.joined_at = 0
        self.must_decode = False
        self.tried = False
        self.head_fits = False


@dataclass(frozen=True)
class Tgi:
    """Batches of whole prompts join the decodes when enough wait."""

    waiting_served_ratio: Annotated[float, Field(ge=0)] = 0.3
    """How many must wait for each that decodes."""
    max_waiting_tokens: Annotated[int, Field(ge=0)] = 20
    """Steps after which any number may join."""
    max_batch_prefill_tokens: Annotated[int, Field(ge=1)] | None = None
    """Tokens of a step of prompts; default: max_num_batched_tokens. E.g. `4096`."""
    max_batch_total_tokens: Annotated[int, Field(ge=1)] | None = None
    """KV tokens that may be set aside; default: all there are. E.g. `100000`."""
    max_new_tokens: Annotated[int, Field(ge=1)] | None = None
    """Tokens of answer that clients allow; default: exactly what they will get. E.g. `4096`."""

    whole_prompts: ClassVar[bool] = True
    promises_answers: ClassVar[bool] = True

    def plan(self, engine: Engine) -> StepPlan:
        """Decide the next step."""
        plan = StepPlan()
        if engine.policy_state is None:
            engine.policy_state = _State()
        state: _State = engine.policy_state
        state.tried = not (state.must_decode and engine.running)  # all may have been cancelled
        state.must_decode = False
        if state.tried:
            self._join(engine, plan, state)
        if plan.chunks:
            state.must_decode = len(engine.running) > len(plan.chunks)
            state.joined_at = engine.steps_planned
        else:
            decode_all(engine, plan)
        return plan

    def steady_steps(self, engine: Engine, plan: StepPlan) -> int:
        """Until the first is done, or until those who are too few have waited long enough."""
        steps = steady(engine)
        state: _State = engine.policy_state
        if engine.waiting and not state.tried:
            return 1
        if engine.waiting and state.head_fits:
            steps = min(steps, state.joined_at + self.max_waiting_tokens - engine.steps_planned + 1)
        return max(steps, 1)

    def may_disturb(self, engine: Engine, request: Request) -> bool:
        """One more may be enough, and a new head may have room."""
        return engine.has_seat

    def _join(self, engine: Engine, plan: StepPlan, state: _State) -> None:
        """Admit whoever fits, if they are enough."""
        decoding, room, tokens = len(engine.running), self._room(engine, plan), self._tokens(engine)
        enough = int(decoding * self.waiting_served_ratio)
        if not decoding or engine.steps_planned - state.joined_at >= self.max_waiting_tokens:
            enough = 1
        state.head_fits = bool(engine.waiting) and engine.has_seat
        if state.head_fits:
            head = engine.waiting.head
            hit = engine.kv.lookup(head)
            fits = self._needs(engine, head) <= room and head.known_tokens <= tokens
            fits = fits and engine.kv.can_admit(head, hit, head.known_tokens, 0)
            state.head_fits = fits or not decoding
        if not state.head_fits or not self._are_enough(engine, enough, room, tokens):
            return
        while engine.waiting and engine.has_seat:
            request = engine.waiting.head
            room, tokens = room - self._needs(engine, request), tokens - request.known_tokens
            if (room < 0 or tokens < 0) and engine.running:
                return
            hit = engine.kv.lookup(request)
            if engine.running and not engine.kv.can_admit(request, hit, request.known_tokens, 0):
                return
            engine.admit(request, hit, request.known_tokens - hit.tokens, plan)

    def _are_enough(self, engine: Engine, enough: int, room: int, tokens: int) -> bool:
        """Whether so many have seats, room and tokens, in the order of arrival."""
        if enough <= 1:
            return True
        if enough > min(len(engine.waiting), engine.limits.max_num_seqs - len(engine.running)):
            return False
        first = nsmallest(enough, engine.waiting, key=lambda request: (request.arrival_s, request.id))
        blocks = sum(self._needs(engine, request) for request in first)
        return blocks <= room and sum(request.known_tokens for request in first) <= tokens

    def _needs(self, engine: Engine, request: Request) -> int:
        return blocks_to_end(engine, request, self.max_new_tokens)

    def _room(self, engine: Engine, plan: StepPlan) -> int:
        """Blocks that are not set aside."""
        kv, size = engine.kv, engine.limits.block_size
        most = (self.max_batch_total_tokens or kv.num_blocks * size) // size
        return min(kv.free_blocks, most - kv.used_blocks) - reserved_blocks(engine, plan, self.max_new_tokens)

    def _tokens(self, engine: Engine) -> int:
        return min(self.max_batch_prefill_tokens or engine.limits.token_budget, engine.limits.token_budget)
