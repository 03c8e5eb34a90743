"""Random data to measure with: views into one large buffer, each call at another place.

A kernel that finds its inputs in the L2 cache is faster than it will be in an engine. So every call gets its
own views, one after the other through a buffer that is several times the cache; a view that does not fit gets
its own memory.
"""

import math

import torch

_ALIGNMENT_BYTES = 512
_SEED_NUMBERS = 2**24
"""Random numbers that are drawn; a larger buffer repeats them."""

DTYPES = {"bf16": torch.bfloat16, "fp16": torch.float16, "fp8": torch.float8_e4m3fn}


class Arena:
    """A buffer of standard normal numbers of one format; `take` walks through it, over and over."""

    def __init__(self, device: torch.device, dtype: torch.dtype, size_bytes: int) -> None:
        self.device, self.dtype = device, dtype
        self.limit = max(1, size_bytes // dtype.itemsize)
        self._buffer = torch.empty(0, dtype=dtype, device=device)
        self._next = 0

    def take(self, *shape: int) -> torch.Tensor:
        """A view of random numbers, different from those of the last calls."""
        count = math.prod(shape)
        if count > self.limit:
            return _random(count, self.dtype, self.device).view(shape)
        if count + self._next > self._buffer.numel():
            self._next = 0
            self._grow(count)
        view = self._buffer[self._next : self._next + count].view(shape)
        step = _ALIGNMENT_BYTES // self.dtype.itemsize
        self._next += -(-count // step) * step
        return view

    def _grow(self, count: int) -> None:
        """Make the buffer as large as it may be, once something is asked of it."""
        if self._buffer.numel() < self.limit:
            self._buffer = torch.empty(0, dtype=self.dtype, device=self.device)
            self._buffer = _random(self.limit, self.dtype, self.device)


def _random(count: int, dtype: torch.dtype, device: torch.device) -> torch.Tensor:
    """Standard normal numbers; the same few million again and again where more are asked for."""
    seed = torch.randn(min(count, _SEED_NUMBERS), device=device).to(dtype)
    if seed.numel() == count:
        return seed
    buffer = torch.empty(count, dtype=dtype, device=device)
    for start in range(0, count, seed.numel()):
        part = buffer[start : start + seed.numel()]
        part.copy_(seed[: part.numel()])
    return buffer
