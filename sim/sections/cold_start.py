"""What a replica does before it serves."""

from typing import Annotated, Self

from pydantic import Field, model_validator

from sim.quantity import Bytes, Seconds
from sim.sections.section import Section

_PARTS = ("start", "weights_bytes_per_s", "warm_up")


class ColdStart(Section):
    """From the decision to start a replica to its first step, for those that start or restart during the run.

    The defaults are assumed: what start-up logs of vLLM 0.8 to 0.22 on various GPUs tell lies around them (weights at
    0.5 to 8 GB/s; "init engine (profile, create kv cache, warmup model)" 20 to 90 s).
    """

    time: Seconds | None = None
    """All of it, where it is known; the keys below then play no part. E.g. `90s`."""
    start: Seconds = 10.0
    """Until the process runs: to find a machine, fetch the image, import the engine."""
    weights_bytes_per_s: Annotated[Bytes, Field(gt=0)] = 2_000_000_000
    """How fast the weights are read, by all GPUs of a replica together: 2GB; no faster than PCIe."""
    warm_up: Seconds = 40.0
    """To compile, capture CUDA graphs, and profile the memory."""

    @model_validator(mode="after")
    def _one_way(self) -> Self:
        fields = type(self).model_fields
        if self.time is not None and any(getattr(self, name) != fields[name].default for name in _PARTS):
            raise ValueError("give time: (all of it), or start:, weights_bytes_per_s: and warm_up:, not both")
        return self

    def seconds(self, weight_bytes: int, gpus: int, pcie_bytes_per_s: float) -> float:
        """How long it takes with `weight_bytes` of weights on each GPU."""
        if self.time is not None:
            return self.time
        rate = min(self.weights_bytes_per_s, pcie_bytes_per_s * gpus)
        return self.start + weight_bytes * gpus / rate + self.warm_up
