"""Agents: a model is called, tools run, and it is called again with what they found."""

from dataclasses import dataclass
from typing import Annotated, Any

import numpy as np

from sim.choice import Choice
from sim.workload.fields import Share, Tokens
from sim.workload.multi_turn import Plan, Streams, counted, paused


@dataclass(frozen=True)
class Agent:
    """Loops of `turns` calls; each is sent `tool_time` after the one before is answered, and repeats all before it.

    A `fan_out_share` of the turns between the first and the last sends `fan_out` requests side by side, each the
    context so far and a prompt of its own; the turn after comes when all are answered and its tools have run, and
    its context holds all their prompts and answers, one after another. The workload's prompt_tokens are what each
    request adds: the task, then what tools return. `opening_tokens` come before the first prompt, such as the
    descriptions of tools. A loop ends early before prompt and answer would exceed `max_context_tokens`.
    """

    turns: Annotated[Any, Choice("sim.workload.lengths")]
    """Calls of one loop. E.g. `{uniform: {low: 3, high: 12}}`."""
    tool_time: Annotated[Any, Choice("sim.workload.times")]
    """Time that the tools run between an answer and the next call. E.g. `{exponential: {mean: 3s}}`."""
    fan_out: Annotated[Any, Choice("sim.workload.lengths")] | None = None
    """Requests side by side in a wide turn; default: one. E.g. `{fixed: {tokens: 3}}`."""
    fan_out_share: Share = 1.0
    """Part of the turns between the first and the last that are wide."""
    opening_tokens: Annotated[Any, Choice("sim.workload.lengths")] | None = None
    """What stands before the first prompt, such as descriptions of tools. E.g. `{fixed: {tokens: 2000}}`."""
    max_context_tokens: Tokens | None = None
    """A loop ends before prompt and answer would exceed this. E.g. `32768`."""

    def plan(self, streams: Streams, sessions: int) -> Plan:
        """One request a turn, or several side by side."""
        turns = self.turns.draw(streams("turns"), sessions)
        session, turn = counted(turns)
        pause_s = paused(self.tool_time.draw(streams("tool_time"), len(turn)), turn)
        opening = None if self.opening_tokens is None else self.opening_tokens.draw(streams("opening"), sessions)
        if self.fan_out is None:
            return Plan(session, turn, pause_s, opening)
        width = self.fan_out.draw(streams("fan_out"), len(turn))
        wide = streams("fan_out_share").random(len(turn)) < self.fan_out_share
        between = (turn > 1) & (turn < turns[session])
        rows = np.repeat(np.arange(len(turn)), np.where(wide & between, width, 1))
        return Plan(session[rows], turn[rows], pause_s[rows], opening)
