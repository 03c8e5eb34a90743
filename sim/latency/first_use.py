"""Kernels that are compiled when they are first used: a fresh server stalls for them.

vLLM's fused mixture kernel is compiled by Triton for each of its tuned configurations, which go by the number of
rows, and again for row counts whose picks are a multiple of 16. Capturing CUDA graphs and the profile run of the
largest step use some of them up at start-up; the others are met by the first prefill steps.
Source: vLLM, fused_moe.py (the configuration nearest to the rows) and its tuned files; Triton specialises integers.
"""

from sim.models.model import Model

_TUNED_ROWS = (1, 2, 4, 8, 16, 24, 32, 48, 64, 96, 128, 256, 512, 1024, 1536, 2048, 3072, 4096)
_DIVISOR = 16


class FirstUse:
    """What a fresh replica has compiled so far."""

    __slots__ = ("_graph_limit", "_picks", "_seconds", "_used")

    def __init__(self, seconds: float, picks: int, graph_limit: int, largest_rows: int) -> None:
        self._seconds = seconds
        self._picks = picks
        self._graph_limit = graph_limit
        self._used = {self._variant(largest_rows)}

    def stall_s(self, rows: int) -> float:
        """Seconds that a step of `rows` rows waits for its kernels to be compiled."""
        if rows <= self._graph_limit:
            return 0.0
        variant = self._variant(rows)
        if variant in self._used:
            return 0.0
        self._used.add(variant)
        return self._seconds

    def _variant(self, rows: int) -> tuple[int, bool]:
        nearest = min(_TUNED_ROWS, key=lambda tuned: abs(tuned - rows))
        return nearest, rows * self._picks % _DIVISOR == 0


def first_use(model: Model, seconds: float, cudagraph_sizes: tuple[int, ...], largest_rows: int) -> FirstUse | None:
    """A fresh replica's; None for a model or an engine that compiles nothing while it serves."""
    if not seconds or not model.moe_layers:
        return None
    return FirstUse(seconds, model.experts_per_token, max(cudagraph_sizes, default=0), largest_rows)
