"""What every measurement shares: the device, its buffers, and what a kernel that can be measured looks
like."""

import importlib.util
import math
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch

from calibrate.gpu.buffers import DTYPES, Arena
from calibrate.gpu.errors import UnavailableError
from calibrate.gpu.timing import Call

BLOCK_SIZE = 16
"""Tokens per block of the paged KV cache."""


@dataclass(frozen=True)
class Candidate:
    """One implementation of a point's operation.

    prepare: makes a call on buffers of its own, ready to be timed. check: runs the kernel on a small input
    and tells its relative error (norm of the difference over norm) against float32; run once per check_key.
    hot: inputs may come from the cache, as those that the kernel before has just written. graph: can be
    captured into a CUDA graph. host: timed with the host's clock. fallback: measured only where no kernel before
    it could be.
    """

    kernel: str
    prepare: Callable[[], Call]
    check: Callable[[], float] | None = None
    check_key: tuple[Any, ...] = ()
    hot: bool = False
    graph: bool = True
    host: bool = False
    fallback: bool = False
    tolerance: float = 0.02


@dataclass
class Bench:
    """The device under test and buffers of random numbers on it."""

    device: torch.device
    processors: int
    capability: tuple[int, int]
    arena_bytes: int
    triton: bool
    rng: np.random.Generator = field(default_factory=lambda: np.random.default_rng(0))
    _arenas: dict[tuple[str, bool], Arena] = field(default_factory=dict)
    _kept: dict[Any, Any] = field(default_factory=dict)

    @property
    def cuda(self) -> bool:
        """Whether the device is a GPU."""
        return self.device.type == "cuda"

    def random(self, dtype: str, *shape: int) -> torch.Tensor:
        """Random numbers to be read; every call gives another part of a large buffer."""
        return self._arena(dtype, written=False).take(*shape)

    def scratch(self, dtype: str, *shape: int) -> torch.Tensor:
        """Random numbers that may be written over; never those that `random` gives."""
        return self._arena(dtype, written=True).take(*shape)

    def integers(self, values: Any, dtype: torch.dtype = torch.int32) -> torch.Tensor:
        """Whole numbers on the device."""
        return torch.as_tensor(np.ascontiguousarray(values), device=self.device).to(dtype)

    def normal(self, dtype: str, *shape: int) -> torch.Tensor:
        """Fresh random numbers, for checks."""
        return torch.randn(shape, device=self.device).to(DTYPES[dtype])

    def kept(self, key: Any, make: Callable[[], torch.Tensor]) -> torch.Tensor:
        """What all calls of one point share, made once: tables of positions and the like."""
        if key not in self._kept:
            self._kept[key] = make()
        tensor: torch.Tensor = self._kept[key]
        return tensor

    def forget(self) -> None:
        """Let go of what was kept for a point."""
        self._kept.clear()

    def _arena(self, dtype: str, written: bool) -> Arena:
        key = (dtype, written)
        if key not in self._arenas:
            size = self.arena_bytes // (4 if written else 1)
            self._arenas[key] = Arena(self.device, DTYPES[dtype], size)
        return self._arenas[key]


def lacking(why: str) -> Candidate:
    """In place of a kernel that nobody has."""

    def prepare() -> Call:
        raise UnavailableError(why)

    return Candidate("none", prepare)


def has_triton() -> bool:
    """Whether Triton is installed."""
    return importlib.util.find_spec("triton") is not None


def relative_error(out: torch.Tensor, reference: torch.Tensor) -> float:
    """Norm of the difference over the norm of the reference; infinite for anything that is not a number."""
    want = reference.double()
    error = float(((out.double() - want).norm() / want.norm()).item())
    return error if math.isfinite(error) else math.inf


def poisoned(*shape: int, device: torch.device, dtype: torch.dtype = torch.bfloat16) -> torch.Tensor:
    """An output that shows what nobody wrote."""
    return torch.full(shape, float("nan"), device=device, dtype=dtype)
