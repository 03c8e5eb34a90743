"""A cluster of one or several pools, every default filled in."""

from collections.abc import Sequence
from dataclasses import dataclass

from sim import models
from sim.choice import nearest
from sim.cluster.pool import Pool
from sim.errors import ScenarioError
from sim.resolve.handover import check_roles, handing
from sim.resolve.naming import at, named_or_path
from sim.resolve.one_kind import resolve
from sim.resolve.setup import Setup
from sim.scenario import Scenario


@dataclass(frozen=True)
class Cluster:
    """A scenario with every default filled in, and the setup of each of its pools: without pools, of one named ""."""

    scenario: Scenario
    pools: dict[str, Setup]

    @property
    def gpus(self) -> int:
        """GPUs at the start."""
        return sum(setup.gpus_per_replica * setup.scenario.cluster.replicas for setup in self.pools.values())

    @property
    def usd_per_hour(self) -> float | None:
        """What these cost, None if the price of one is not known."""
        total = 0.0
        for setup in self.pools.values():
            if setup.price_usd_per_gpu_hour is None:
                return None
            total += setup.price_usd_per_gpu_hour * setup.gpus_per_replica * setup.scenario.cluster.replicas
        return total

    def parts(self) -> list[Pool]:
        """The pools for the simulation."""
        said = self.scenario.cluster
        return [
            handing(setup.pool(name), setup, said.role(name), said.disaggregation) for name, setup in self.pools.items()
        ]

    def models(self, tenants: Sequence[str]) -> list[str]:
        """The model that each tenant asks for. Raises ScenarioError where nobody serves it, or nobody is the tenant."""
        said = self.scenario
        for name in said.tenants:
            if name not in tenants:
                raise ScenarioError(
                    f"{said.name}, tenants.{name}: the workload has no tenant of that name{nearest(name, tenants)}; "
                    f"it has {', '.join(tenants)}"
                )
        served = {setup.model.name for setup in self.pools.values()}
        asked = []
        for name in tenants:
            model = said.tenants[name].model if name in said.tenants else ""
            key = f"tenants.{name}.model" if model else "model"
            with at(said, key):
                model = models.load(named_or_path(said, model or said.model, models.builtin_names())).name
                if model not in served:
                    raise ScenarioError(f"no pool serves {model}; pools serve {', '.join(sorted(served))}")
            asked.append(model)
        return asked


def resolve_cluster(scenario: Scenario) -> Cluster:
    """`resolve` for each of the cluster's pools; the resolved scenario loads again to the same cluster."""
    if not scenario.cluster.pools:
        setup = resolve(scenario)
        with at(scenario, "cluster"):
            check_roles({}, {}, scenario.cluster.disaggregation)
        return Cluster(setup.scenario, {"": setup})
    setups = {name: resolve(scenario.single(name)) for name in scenario.cluster.pools}
    with at(scenario, "cluster"):
        roles = {name: pool.role for name, pool in scenario.cluster.pools.items()}
        check_roles(setups, roles, scenario.cluster.disaggregation)
    pools = {
        name: scenario.cluster.pools[name].model_copy(update={"engine": setup.scenario.engine})
        for name, setup in setups.items()
    }
    cluster = scenario.cluster.model_copy(update={"pools": pools})
    return Cluster(scenario.model_copy(update={"cluster": cluster}), setups)
