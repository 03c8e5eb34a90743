"""From logits to the next token: the likeliest one, a draw from all, a draw from the likeliest (top-p)."""

from collections.abc import Callable

import torch

from calibrate.gpu.bench import Bench, Candidate
from calibrate.gpu.planfile import PlanPoint
from calibrate.gpu.timing import Call

_TOP_P = 0.9
_CHECKED = (9, 501)
Sample = Callable[[torch.Tensor], torch.Tensor]
"""logits (rows, vocabulary) bf16 -> tokens (rows,)"""


def candidates(point: PlanPoint, bench: Bench) -> list[Candidate]:
    """`rows` rows over a vocabulary of `width`."""
    named: tuple[tuple[str, Sample], ...] = (
        ("softmax_draw", draw),
        ("argmax", argmax),
        ("top_p", draw_top_p),
    )
    return [_candidate(point, bench, name, sample) for name, sample in named]


def argmax(logits: torch.Tensor) -> torch.Tensor:
    """The likeliest token of each row, compared in float32."""
    return logits.float().argmax(-1)


def draw(logits: torch.Tensor) -> torch.Tensor:
    """A token of each row by its probability: the smallest of exponential numbers over the probabilities."""
    return _draw(logits.float().softmax(-1))


def draw_top_p(logits: torch.Tensor) -> torch.Tensor:
    """The same among the likeliest tokens that together have nine tenths of the probability."""
    ordered, tokens = logits.float().sort(-1, descending=True)
    likely = ordered.softmax(-1)
    likely.masked_fill_(likely.cumsum(-1) - likely > _TOP_P, 0.0)
    return tokens.gather(-1, _draw(likely).unsqueeze(-1)).squeeze(-1)


def _draw(likely: torch.Tensor) -> torch.Tensor:
    noise = torch.empty_like(likely).exponential_()
    return likely.div_(noise).argmax(-1)


def _candidate(point: PlanPoint, bench: Bench, name: str, sample: Sample) -> Candidate:
    def prepare() -> Call:
        logits = bench.random("bf16", point.number("rows"), point.number("width"))
        return lambda: sample(logits)

    def check() -> float:
        """The share of rows with a wrong token. One token is made so likely that every draw must take it."""
        rows, width = _CHECKED
        logits = bench.normal("bf16", rows, width)
        places = bench.integers(bench.rng.integers(width, size=rows), torch.int64)
        logits[torch.arange(rows, device=bench.device), places] = 60.0
        return float((sample(logits) != places).float().mean().item())

    return Candidate(name, prepare, check, ("sampling", name))
