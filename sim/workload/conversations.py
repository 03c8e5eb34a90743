"""Sessions of several turns as rows of a request table: what each prompt repeats, and where a session ends."""

from collections.abc import Callable, Hashable
from dataclasses import dataclass
from itertools import pairwise
from math import inf

import numpy as np

from sim.request import Segments
from sim.workload.content import Named
from sim.workload.multi_turn import Plan
from sim.workload.table import Ints


@dataclass(frozen=True, eq=False)
class Conversations:
    """What is left of planned sessions, session after session.

    rows i8[m] indexes the plan's requests; prompt_tokens i8[m] are whole prompts, with all that came before.
    """

    rows: Ints
    prompt_tokens: Ints
    segments: list[Segments | None]
    output_names: list[Hashable | None]


def converse(
    plan: Plan,
    prompt_tokens: Ints,
    output_tokens: Ints,
    share: Callable[[Ints], Named] | None = None,
    max_context_tokens: int | None = None,
    requests: int | None = None,
) -> Conversations:
    """Every prompt after all that its session has said: prompts and answers of the turns before, in their order.

    prompt_tokens and output_tokens i8[n] are what each request adds; `share` says what the first prompts of sessions,
    i8[sessions], have in common. A session ends before the turn of which a prompt with its answer would exceed
    `max_context_tokens`, and all end after `requests` requests.
    """
    begins = np.flatnonzero(np.diff(plan.session, prepend=-1))
    first = prompt_tokens[begins] + (0 if plan.opening_tokens is None else plan.opening_tokens)
    named = Named(first, None) if share is None else share(first)
    opened = dict(zip(begins.tolist(), range(len(begins)), strict=True))
    turns = np.flatnonzero(np.diff(plan.session, prepend=-1) | np.diff(plan.turn, prepend=0))
    own, answers = prompt_tokens.tolist(), output_tokens.tolist()
    longest, most = max_context_tokens or inf, requests or inf
    rows: list[int] = []
    lengths: list[int] = []
    segments: list[Segments | None] = []
    before: Segments = ()
    context, over = 0, False
    for begin, end in pairwise([*turns.tolist(), len(own)]):
        opening: Segments | None = None
        if (session := opened.get(begin)) is not None:
            before, context, over = (), 0, False
            own[begin] = int(named.prompt_tokens[session])
            opening = None if named.segments is None else named.segments[session]
        side_by_side = range(begin, end)
        over = over or max(context + own[row] + answers[row] for row in side_by_side) > longest
        if over:
            continue
        said: Segments = ()
        for row in side_by_side:
            adds: Segments = opening or ((("said", row), own[row]),)
            rows.append(row)
            lengths.append(context + own[row])
            segments.append((*before, *adds))
            said = (*said, *adds, (("reply", row), answers[row]))
        before = (*before, *said)
        context += sum(own[row] + answers[row] for row in side_by_side)
        if len(rows) >= most:
            break
    kept = slice(0, requests)
    replies: list[Hashable | None] = [("reply", row) for row in rows[kept]]
    taken, prompts = np.array(rows[kept], dtype=np.int64), np.array(lengths[kept], dtype=np.int64)
    return Conversations(taken, prompts, segments[kept], replies)
