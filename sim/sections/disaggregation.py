"""The section cluster.disaggregation: pools that compute prompts for other pools, and how the KV gets there."""

from typing import Annotated, Any, Literal

from pydantic import Field

from sim.choice import Choice
from sim.sections.section import Section

Role = Literal["", "prefill", "decode"]


class Disaggregation(Section):
    """How prompts' KV gets from pools of role prefill to those of role decode."""

    link: Literal["network", "island", "pcie"] = "network"
    """Through what: the network cards; or, where all replicas stand together, the GPUs' fast link (NVLink), or PCIe."""
    overlap: Literal["none", "layerwise"] = "none"
    """When: after the prompt has been computed (vLLM's NIXL connector), or layer by layer while it is, with the decode
    replica's memory taken before."""
    from_prompt_tokens: Annotated[int, Field(ge=0)] = 0
    """Prompts shorter than this, less what a decode replica has cached of them, are served there as a whole (Dynamo:
    max_local_prefill_length)."""
    decode_router: Annotated[Any, Choice("sim.routing")] | None = None
    """Which decode replica gets a request; default: as cluster.router."""
