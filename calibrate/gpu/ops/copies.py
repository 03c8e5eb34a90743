"""Copies of plain bytes: within the device's memory, and between it and the host's, pinned or pageable."""

import torch

from calibrate.gpu.bench import Bench, Candidate
from calibrate.gpu.errors import UnavailableError
from calibrate.gpu.planfile import PlanPoint
from calibrate.gpu.timing import Call

_CHECKED_BYTES = 4096


def candidates(point: PlanPoint, bench: Bench) -> list[Candidate]:
    """`bytes` of payload, one way."""
    if point.op == "copy_d2d":
        return [_candidate(point, bench, "copy", pinned=False)]
    return [_candidate(point, bench, name, pinned) for name, pinned in (("pinned", True), ("pageable", False))]


def _candidate(point: PlanPoint, bench: Bench, name: str, pinned: bool) -> Candidate:
    within = point.op == "copy_d2d"

    def host(count: int) -> torch.Tensor:
        if not bench.cuda:
            raise UnavailableError("the host's memory is the device's")
        return torch.empty(count, dtype=torch.bfloat16, pin_memory=pinned).normal_()

    def ends(count: int) -> tuple[torch.Tensor, torch.Tensor]:
        """(from, to)"""
        if point.op == "copy_h2d":
            return bench.kept(("host", pinned), lambda: host(count)), bench.scratch("bf16", count)
        if point.op == "copy_d2h":
            return bench.random("bf16", count), bench.kept(("host", pinned), lambda: host(count))
        return bench.random("bf16", count), bench.scratch("bf16", count)

    def prepare() -> Call:
        source, target = ends(max(1, point.number("bytes") // 2))
        # A pageable copy returns when it is done; a pinned one is queued like a kernel.
        return lambda: target.copy_(source, non_blocking=within or pinned)

    def check() -> float:
        source, target = ends(_CHECKED_BYTES // 2)
        target.zero_()
        target.copy_(source)
        return float((target.cpu() != source.cpu()).float().mean().item())

    return Candidate(name, prepare, check, (point.op, name), graph=within, host=not within and not pinned)
