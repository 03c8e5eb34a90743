"""The workloads of a validation, none of which anything is fitted to."""

from dataclasses import dataclass
from typing import Any

from calibrate.gpu.bench import BLOCK_SIZE

_BURST = 4.0
"""How many times the mean rate a burst has; a quarter of the time it bursts, the rest is quiet."""
_LONGEST = 3
"""The longest prompt or answer, in means."""


@dataclass(frozen=True)
class Kind:
    """A kind of traffic: what it is for, mean lengths in units of a device's `unit_tokens`, and how hard it presses.

    load: the arrival rate as a share of the rate at which the engine would be busy all the time. kv_requests:
    room for so many requests of mean length in the KV cache; None: for all that may run.
    """

    asks: str
    prompt: float
    output: float
    load: float
    bursty: bool = False
    kv_requests: float | None = None

    def max_model_len(self, unit_tokens: int) -> int:
        """Tokens of the longest request."""
        prompt, output = self._means(unit_tokens)
        return _LONGEST * (prompt + output)

    def num_gpu_blocks(self, unit_tokens: int) -> int | None:
        """KV blocks, the null block included, if they are to be scarce; room for the longest request at least."""
        if self.kv_requests is None:
            return None
        tokens = max(self.kv_requests * sum(self._means(unit_tokens)), self.max_model_len(unit_tokens))
        return 1 + -(-round(tokens) // BLOCK_SIZE) + 1

    def lengths(self, unit_tokens: int) -> dict[str, Any]:
        """The lengths of a scenario's workload: log-normal, cut off at three times the mean."""
        prompt, output = self._means(unit_tokens)
        return {
            name: {"lognormal": {"mean": mean, "p99": round(2.5 * mean), "min": 2, "max": _LONGEST * mean}}
            for name, mean in (("prompt_tokens", prompt), ("output_tokens", output))
        }

    def arrivals(self, rate_per_s: float, seconds: float) -> dict[str, Any]:
        """The arrivals of a scenario's workload at that mean rate, some bursts within `seconds` if they are to be."""
        if not self.bursty:
            return {"poisson": {"rate_per_s": rate_per_s}}
        period_s = seconds / 5
        burst = {"burst_rate_per_s": _BURST * rate_per_s, "burst_s": period_s / _BURST}
        return {"on_off": {**burst, "idle_s": period_s * (1 - 1 / _BURST), "phases": "fixed"}}

    def _means(self, unit_tokens: int) -> tuple[int, int]:
        return max(4, round(self.prompt * unit_tokens)), max(4, round(self.output * unit_tokens))


KINDS: dict[str, Kind] = {
    "light": Kind("requests that seldom meet", 0.8, 0.3, 0.04),
    "heavy": Kind("full batches that admit and finish all the time", 0.8, 0.4, 0.8),
    "long_prompt": Kind("prompts that take several steps each, between decodes", 8.0, 0.25, 0.6),
    "long_output": Kind("large batches that only decode", 0.25, 1.5, 0.6),
    "bursty": Kind("queues that build up and drain", 0.8, 0.3, 0.5, bursty=True),
    "kv_starved": Kind("too few KV blocks: waiting for blocks and preemptions", 0.4, 1.0, 0.9, kv_requests=5),
}
