"""The time that a serving run goes by."""

import time
from typing import Protocol

import torch

_SPIN_S = 0.002
"""Before the end of a wait the idle engine stays awake for so long, because sleep may come back late."""


class Clock(Protocol):
    """Seconds since it was made."""

    def now_s(self) -> float:
        """The time of now."""

    def wait_until(self, time_s: float) -> None:
        """Come back when it is that late."""


class WallClock:
    """Real time."""

    def __init__(self) -> None:
        self._zero_s = time.perf_counter()

    def now_s(self) -> float:
        """Seconds that have passed."""
        return time.perf_counter() - self._zero_s

    def wait_until(self, time_s: float) -> None:
        """Sleep."""
        while (left_s := time_s - self.now_s()) > 0:
            if left_s > _SPIN_S:
                time.sleep(left_s - _SPIN_S)


class ThreadClock:
    """The time that the CPU gave to this thread, and the waits, which it skips.

    For a CPU as the device: what other programs on the machine take of it does not count.
    """

    def __init__(self) -> None:
        self._zero_s = time.thread_time()

    def now_s(self) -> float:
        """Seconds of work and of skipped waits."""
        return time.thread_time() - self._zero_s

    def wait_until(self, time_s: float) -> None:
        """Put the clock on."""
        self._zero_s -= max(time_s - self.now_s(), 0.0)


def clock_for(device: torch.device) -> Clock:
    """Real time on a GPU."""
    return WallClock() if device.type == "cuda" else ThreadClock()
