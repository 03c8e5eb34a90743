"""What the metrics must know about a run beyond its record tables."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

Columns = Mapping[str, NDArray[Any]]
"""A record table: columns of equal length by name, as the recorder keeps them."""

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Slo:
    """The latency targets that a good request meets, all of them; None asks nothing.

    The keys are those of `vllm bench serve --goodput` (ttft, tpot, e2el), in seconds.
    """

    ttft_s: float | None = None
    tpot_s: float | None = None
    e2e_s: float | None = None

    def targets(self) -> dict[str, float]:
        """The targets that are set, in seconds, by vLLM's names."""
        named = {"ttft": self.ttft_s, "tpot": self.tpot_s, "e2el": self.e2e_s}
        return {name: value for name, value in named.items() if value is not None}


@dataclass(frozen=True, eq=False)
class RunContext:
    """The cluster, prices and labels that turn record tables into a report."""

    replicas: int
    gpus_per_replica: int
    kv_blocks: int
    """KV blocks that requests can hold, per replica."""
    block_size: int
    """Tokens in one KV block."""
    makespan_s: float
    """Virtual time from 0 to the last finish on any replica."""
    counters: Mapping[str, int] = field(default_factory=dict)
    """What was counted beside the tables: KV blocks moved between GPU and host."""
    kv_grows: bool = True
    """A request takes blocks as it grows; otherwise all at once when it is admitted."""
    slo: Slo = field(default_factory=Slo)
    closed_loop: bool = False
    """Users wait for answers, so the queue cannot grow without bound."""
    name: str = ""
    model: str = ""
    gpu: str = ""
    provenance: str = ""
    """Where the step times come from: "measured ...", "datasheet ..."."""
    tenants: tuple[str, ...] = ()
    """The names that the column tenant indexes."""
    warnings: tuple[str, ...] = ()
    price_usd_per_gpu_hour: float | None = None
    peak_flops: float | None = None
    """FLOP/s of one GPU at the dtype the model computes in, dense."""
    peak_bytes_per_s: float | None = None
    """Memory bandwidth of one GPU."""
    step_flops: Floats | None = None
    """FLOPs of each row of the steps table, the whole row, over all GPUs of the replica."""
    step_bytes: Floats | None = None
    """Bytes moved from and to GPU memory in each row of the steps table, likewise."""

    @property
    def gpus(self) -> int:
        return self.replicas * self.gpus_per_replica
