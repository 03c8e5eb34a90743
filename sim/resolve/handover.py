"""What a scenario's cluster.disaggregation comes to: pools that hand prompts over to others; and what is refused."""

from collections.abc import Mapping
from dataclasses import replace
from typing import TYPE_CHECKING

from sim.cluster.handover import AfterPrefill, HandoverRules, LayerWise
from sim.cluster.outlet import outlet
from sim.cluster.pool import Pool
from sim.errors import ScenarioError
from sim.kvcache.capacity import HybridMemorySplit
from sim.latency.collectives import island_of
from sim.sections.disaggregation import Disaggregation, Role

if TYPE_CHECKING:
    from sim.resolve import Setup


def handover_rules(said: Disaggregation) -> HandoverRules:
    """When KV is sent, and which requests are handed over."""
    return HandoverRules(LayerWise() if said.overlap == "layerwise" else AfterPrefill(), said.from_prompt_tokens)


def check_roles(setups: Mapping[str, "Setup"], roles: Mapping[str, Role], said: Disaggregation) -> None:
    """Raise ScenarioError unless every prefill pool has decode pools that can go on from its prompts."""
    if not any(roles.values()):
        if said != Disaggregation():
            raise ScenarioError("disaggregation needs pools of role prefill and of role decode; give pools roles")
        return
    if without := [name for name, role in roles.items() if not role]:
        raise ScenarioError(f"pools.{without[0]} has no role, and others have: prefill or decode")
    for model in {setup.model.name: None for setup in setups.values()}:
        mine = {name: setup for name, setup in setups.items() if setup.model.name == model}
        _check_model(model, mine, roles)
    if said.link == "island":
        gpus = sum(setup.gpus_per_replica * setup.scenario.cluster.replicas for setup in setups.values())
        room = min(island_of(setup.profile) for setup in setups.values())
        if gpus > room:
            raise ScenarioError(
                f"disaggregation.link island: the {gpus} GPUs of all replicas do not stand in one island of {room}; "
                "use network, or fewer replicas"
            )


def _check_model(model: str, setups: "Mapping[str, Setup]", roles: Mapping[str, Role]) -> None:
    for role in ("prefill", "decode"):
        if role not in [roles[name] for name in setups]:
            raise ScenarioError(
                f"no pool of role {role} serves {model}: prompts are computed by one and decoded by another"
            )
    if any(isinstance(setup.memory, HybridMemorySplit) for setup in setups.values()):
        raise ScenarioError(f"{model} has layers with a window, whose KV is not modelled on its way between pools")
    kv_dtypes = {name: setup.memory.kv_dtype for name, setup in setups.items()}
    lengths = {name: setup.limits.max_model_len for name, setup in setups.items()}
    for key, found in (("kv_cache_dtype", kv_dtypes), ("max_model_len", lengths)):
        if len(set(found.values())) > 1:
            told = ", ".join(f"{value} in {name}" for name, value in found.items())
            raise ScenarioError(f"engine.{key} must be the same in pools that hand prompts over: {told}")


def handing(pool: Pool, setup: "Setup", role: Role, said: Disaggregation) -> Pool:
    """The pool with its role."""
    if not role:
        return pool
    return replace(
        pool,
        role=role,
        outlet=outlet(setup.profile, setup.gpus_per_replica, said.link),
        kv_bytes_per_block=setup.memory.bytes_per_block * setup.gpus_per_replica,
        layers=setup.model.layers,
    )
