"""Several answers to one prompt (n-best, parallel sampling)."""

from typing import Any

import numpy as np

from sim.errors import TraceError
from sim.workload.table import Ints, RequestTable


def with_answers(table: RequestTable, n: int, output_tokens: Ints | None) -> RequestTable:
    """The table with every request `n` times, i8[n * rows] answer lengths (None: those of the table), and `prompts`.

    Each answer is a request of its own, as vLLM V1's scheduler sees it (ParentRequest in its engine front end). All
    hold the same prompt, so that with prefix caching the first computes it and the others find its full blocks,
    which they share; the prompt's last, partly filled block is each one's own, as copy-on-write would make it.
    Raises TraceError for a closed loop, whose users send one request at a time.
    """
    if table.closed_loop is not None:
        raise TraceError("users of a closed loop send one request at a time, so n must be 1")
    rows = np.repeat(np.arange(len(table)), n)
    columns: dict[str, Any] = {"prompts": rows}
    if table.output_names is not None:  # a later prompt repeats one of the answers
        columns["output_names"] = [name for first in table.output_names for name in (first, *[None] * (n - 1))]
    if output_tokens is not None:
        columns["output_tokens"] = output_tokens
        if table.output_names is not None:
            output_tokens[::n] = table.output_tokens  # what the later prompt holds of it
    segments = table.segments or [None] * len(table)
    named = [
        ((("prompt of", row), tokens),) if pieces is None else pieces
        for row, (pieces, tokens) in enumerate(zip(segments, table.prompt_tokens.tolist(), strict=True))
    ]
    columns["segments"] = [named[row] for row in rows]
    return table.take(rows, **columns)
