"""How sessions of several turns go: one file for each kind of session."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

import numpy as np

from sim.workload.table import Floats, Ints

Streams = Callable[[str], np.random.Generator]
"""A stream of random numbers for each purpose."""


@dataclass(frozen=True, eq=False)
class Plan:
    """What sessions will send, session after session, one entry per request.

    session i8[n] counts 0, 0, 1, ...; turn i8[n] counts from 1 within it, requests side by side sharing one, of
    which the first turn has one; pause_s f8[n] is how long after the turn before each is sent. opening_tokens
    i8[sessions] come before the first prompt (None: none do).
    """

    session: Ints
    turn: Ints
    pause_s: Floats
    opening_tokens: Ints | None = None


class MultiTurn(Protocol):
    """A kind of session (a choice of this folder)."""

    @property
    def max_context_tokens(self) -> int | None:
        """A session ends before a prompt and its answer would be longer; None: it does not."""
        ...

    def plan(self, streams: Streams, sessions: int) -> Plan:
        """What so many sessions will send, if no context gets too long."""
        ...


def counted(turns: Ints) -> tuple[Ints, Ints]:
    """For sessions of so many turns each: every turn's session, from 0, and its number, from 1."""
    session = np.repeat(np.arange(len(turns)), turns)
    begins = np.cumsum(turns) - turns
    return session, np.arange(len(session)) - begins[session] + 1


def paused(drawn: Floats, turn: Ints) -> Floats:
    """Pauses before every turn but the first."""
    out: Floats = np.where(turn == 1, 0.0, drawn)
    return out
