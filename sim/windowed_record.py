"""The step log of a model whose layers see a window: what those layers read, beside what the others do."""

from array import array
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sim.engine.plan import StepPlan
from sim.models.windows import window_seen, window_tokens
from sim.record import StepLog

COLUMNS = ("window_tokens", "window_pairs", "window_prefill_tokens")
"""As context_tokens, attention_pairs and prefill_context_tokens, in a layer with a window."""


class WindowedStepLog(StepLog):
    """A step log with three columns more."""

    __slots__ = ("_open", "_seen")

    def __init__(self, replica: int) -> None:
        super().__init__(replica)
        self._seen = array("q")
        self._open = 0  # KV tokens that the decode row which may still grow has read

    def decodes(self, *row: Any, **_: Any) -> None:
        """Note decode steps as any log; the last two items are the first one's window_tokens and window_growing."""
        *plain, seen, growing = row
        super().decodes(*plain)
        steps = row[2]
        self._open += steps * seen + growing * (steps * (steps - 1) // 2)

    def mixed(self, *row: Any, **_: Any) -> None:
        """Note one step that is not a plain decode step."""
        super().mixed(*row)
        plan: StepPlan = row[2]
        read, pairs, keys = plan.window_tokens, 0, 0
        for request, new, before in plan.chunks:
            if request in plan.gained:
                read += window_seen(plan.gained[request], before, plan.window).pairs
            elif new == 1 and before >= request.prompt_tokens:
                read += window_tokens(before + 1, plan.window)
            else:
                seen = window_seen(new, before, plan.window)
                pairs += seen.pairs
                keys += seen.keys
        self._seen.extend((read, pairs, keys))

    def _flush(self) -> None:
        if self._key is not None:
            self._seen.extend((self._open, 0, 0))
            self._open = 0
        super()._flush()

    def columns(self) -> dict[str, NDArray[Any]]:
        """All rows so far, the same with what layers with a window read."""
        columns = super().columns()
        seen = np.array(self._seen, np.int64).reshape(-1, len(COLUMNS))
        return columns | {name: seen[:, i] for i, name in enumerate(COLUMNS)}
