"""Sections inside a scenario's engine section: what an engine may do besides, each left out by default."""

from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from sim.quantity import Bytes, Seconds
from sim.sections.section import Count, Section


class Speculative(Section):
    """Speculative decoding: drafts that a step of the model checks all at once (vLLM: --speculative-config)."""

    num_speculative_tokens: Count
    """Tokens that are drafted for a request and step. E.g. `4`."""
    acceptance_rate: Annotated[float, Field(ge=0, le=1)]
    """The chance of each draft to be accepted, if those before it were: of your model and traffic, not known here.
    E.g. `0.7`."""
    draft_model: str | None = None
    """The model that drafts: a built-in by name, or the path of a config.json; on the same GPUs, in the same dtype.
    E.g. `llama-3.2-1b`."""
    draft_token: Seconds | None = None
    """Instead of a model: the time of one draft for the whole batch (a small head; n-gram look-up: 0s). E.g. `1ms`."""

    @model_validator(mode="after")
    def _one_drafter(self) -> Self:
        if (self.draft_model is None) == (self.draft_token is None):
            raise ValueError(
                "give draft_model: (a model that drafts) or draft_token: (the time of a draft), one of them"
            )
        return self


class Lora(Section):
    """LoRA adapters: how many a batch and the memory hold (vLLM: --enable-lora); who wants which is the workload's."""

    max_loras: Count = 1
    """Adapters in one batch, each with a slot on the GPU. E.g. `8`."""
    max_lora_rank: Literal[1, 8, 16, 32, 64, 128, 256, 320, 512] = 16
    """The rank that slots have room for, and that is computed."""
    max_cpu_loras: Count | None = None
    """Adapters in host memory, those in slots included; default: max_loras. E.g. `32`."""
    rank: Count | None = None
    """The adapters' own rank, which decides what is loaded; default: max_lora_rank. E.g. `16`."""
    disk_bytes_per_s: Annotated[Bytes, Field(gt=0)] | None = None
    """How fast an adapter is read from disk, unpacking included; default: all are in host memory from the start. E.g.
    `2GB`."""

    @property
    def adapter_rank(self) -> int:
        """The adapters' own rank."""
        return self.rank or self.max_lora_rank

    @property
    def host_slots(self) -> int:
        """Adapters that host memory has room for."""
        return self.max_cpu_loras or self.max_loras

    @model_validator(mode="after")
    def _room(self) -> Self:
        if self.host_slots < self.max_loras:
            raise ValueError(f"max_cpu_loras {self.max_cpu_loras} is less than max_loras {self.max_loras}; raise it")
        if self.adapter_rank > self.max_lora_rank:
            raise ValueError(f"rank {self.rank} is more than max_lora_rank {self.max_lora_rank}; raise that")
        return self


class KVOffload(Section):
    """Where evicted prefix blocks go, to be loaded instead of computed again; the least recently used leave first."""

    host: Bytes
    """Host memory for each GPU. E.g. `64GiB`."""
    disk: Bytes = 0
    """Disk for each GPU, for what the host's memory has no room for."""
    disk_bytes_per_s: Annotated[Bytes, Field(gt=0)] | None = None
    """How fast the disk of a replica is read, for all its GPUs together: 7GB. E.g. `5GB`."""

    @model_validator(mode="after")
    def _a_disk_has_a_speed(self) -> Self:
        if self.disk and self.disk_bytes_per_s is None:
            raise ValueError("disk needs disk_bytes_per_s, how fast it is read: 7GB for one fast SSD")
        return self
