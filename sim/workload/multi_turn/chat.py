"""Chats: a user asks, reads the answer, thinks, and asks again."""

from dataclasses import dataclass
from typing import Annotated, Any

from sim.choice import Choice
from sim.workload.fields import Tokens
from sim.workload.multi_turn import Plan, Streams, counted, paused


@dataclass(frozen=True)
class Chat:
    """Conversations of `turns` prompts; each is sent `think_time` after the answer before, and repeats all before it.

    The workload's prompt_tokens are what a turn adds. `opening_tokens` come before the first prompt, such as a
    document to talk about. A conversation ends early before prompt and answer would exceed `max_context_tokens`.
    With `turns` halved (vLLM counts both sides) this is `generate_conversations` of vLLM's benchmarks/multi_turn,
    whose prefix_num_tokens is `opening_tokens` and whose common_prefix_num_tokens is `prefix: shared_prefix`.
    """

    turns: Annotated[Any, Choice("sim.workload.lengths")]
    """Prompts of one conversation. E.g. `{uniform: {low: 2, high: 8}}`."""
    think_time: Annotated[Any, Choice("sim.workload.times")]
    """From an answer to the next prompt. E.g. `{exponential: {mean: 20s}}`."""
    opening_tokens: Annotated[Any, Choice("sim.workload.lengths")] | None = None
    """What stands before the first prompt, such as a document. E.g. `{fixed: {tokens: 4000}}`."""
    max_context_tokens: Tokens | None = None
    """A conversation ends before prompt and answer would exceed this. E.g. `32768`."""

    def plan(self, streams: Streams, sessions: int) -> Plan:
        """One request a turn."""
        session, turn = counted(self.turns.draw(streams("turns"), sessions))
        think_s = self.think_time.draw(streams("think_time"), len(turn))
        opening = None if self.opening_tokens is None else self.opening_tokens.draw(streams("opening"), sessions)
        return Plan(session, turn, paused(think_s, turn), opening)
