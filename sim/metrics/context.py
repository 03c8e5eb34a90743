"""What the metrics must know about a run beyond its record tables."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from math import inf, nan
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sim.record import Record, waits_table

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

    def under(self, own: "Slo") -> "Slo":
        """These targets, but for those that a tenant has of its own."""
        both = {name: getattr(own, name) for name in ("ttft_s", "tpot_s", "e2e_s")}
        return Slo(**{name: getattr(self, name) if value is None else value for name, value in both.items()})

    def targets(self) -> dict[str, float]:
        """The targets that are set, in seconds, by vLLM's names."""
        named = {"ttft": self.ttft_s, "tpot": self.tpot_s, "e2el": self.e2e_s}
        return {name: value for name, value in named.items() if value is not None}


def uniform(
    replicas: int, makespan_s: float, *, gpus: int = 1, kv_blocks: int, block_size: int, kv_grows: bool = True,
    **facts: float,
) -> dict[str, Any]:  # fmt: skip
    """The first fields of a RunContext in which all replicas are alike and serve from 0 to the makespan.

    `facts` are further columns: price_usd_per_gpu_hour, peak_flops, peak_bytes_per_s.
    """
    columns = {
        "pool": 0, "gpus": gpus, "kv_blocks": kv_blocks, "block_size": block_size, "kv_grows": kv_grows,
        **UNKNOWN, **facts,
    }  # fmt: skip
    index = np.arange(replicas)
    return {
        "replicas": {name: np.full(replicas, value) for name, value in columns.items()},
        "lives": {
            "replica": index,
            "state": np.zeros_like(index),
            "start_s": np.zeros(replicas),
            "end_s": np.full(replicas, makespan_s),
        },
        "makespan_s": makespan_s,
    }


UNKNOWN = {"price_usd_per_gpu_hour": nan, "peak_flops": nan, "peak_bytes_per_s": nan}
"""Columns of the replicas table that the record does not have: a GPU's price, FLOP/s and bandwidth."""


@dataclass(frozen=True, eq=False)
class RunContext:
    """The cluster, prices and labels that turn record tables into a report."""

    replicas: Columns
    """One row for each replica that ever was: `pool` (an index of `pools`), `gpus`, `kv_blocks` that requests can
    hold, `block_size` in tokens, `kv_grows` (a request takes blocks as it grows; otherwise all at once when it is
    admitted), and of one GPU, NaN where unknown, `price_usd_per_gpu_hour`, `peak_flops` (FLOP/s at the dtype the
    model computes in, dense) and `peak_bytes_per_s`."""
    lives: Columns
    """One row for each stretch of a replica's life, up to the makespan: `replica`, `state` (an index of
    `sim.record.LIFE`), `start_s`, `end_s`. Stretches of one replica do not overlap."""
    makespan_s: float
    """Virtual time from 0 to the last finish on any replica."""
    waits: Columns = field(default_factory=lambda: waits_table([]))
    """Stretches in which a replica (`replica`, `start_s`, `end_s`) could do nothing before KV had been moved between
    replicas."""
    links: Columns = field(default_factory=dict)
    """The ports that this KV went through: `bytes_per_s`, `carried_bytes`, `busy_s`."""
    pools: tuple[str, ...] = ("",)
    counters: Mapping[str, int] = field(default_factory=dict)
    """What was counted beside the tables: tokens whose KV moved between GPU and host, requests never sent."""
    slo: Slo = field(default_factory=Slo)
    tenant_slo: Mapping[str, Slo] = field(default_factory=dict)
    """Targets of single tenants, by name, each in place of the run's."""
    closed_loop: bool = False
    """Users wait for answers, so the queue cannot grow without bound."""
    last_start_s: float = inf
    """Where turns wait for answers: when the last session starts; after that the load only falls."""
    name: str = ""
    model: str = ""
    gpu: str = ""
    provenance: str = ""
    """Where the step times come from: "measured ...", "datasheet ..."."""
    tenants: tuple[str, ...] = ()
    """The names that the column tenant indexes."""
    warnings: tuple[str, ...] = ()
    step_flops: Floats | None = None
    """FLOPs of each row of the steps table, the whole row, over all GPUs of the replica."""
    step_bytes: Floats | None = None
    """Bytes moved from and to GPU memory in each row of the steps table, likewise."""


def context_of(record: Record, **facts: Any) -> RunContext:
    """What a record says by itself; `facts` are further fields of the context."""
    unknown = {name: np.full(len(record.replicas["pool"]), nan) for name in UNKNOWN}
    known: dict[str, Any] = {
        "replicas": {**record.replicas, **unknown},
        "lives": record.lives,
        "waits": record.waits,
        "links": record.links,
        "makespan_s": record.makespan_s,
        "pools": record.pools,
        "counters": record.counters,
        "tenants": record.tenants,
    }
    return RunContext(**(known | facts))
