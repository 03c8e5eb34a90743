"""Where GPUs stand: how many to a node and to an island, and which network lies between the nodes."""

from dataclasses import dataclass, replace
from pathlib import Path

from sim.errors import ProfileError, ScenarioError
from sim.hardware import Facts, Profile
from sim.paths import data_dir


@dataclass(frozen=True)
class Network:
    """One network card and what lies behind it: bytes/s in one direction, and seconds of a hop from GPU to GPU."""

    name: str
    bandwidth_bytes_per_s: float
    latency_s: float


def network_names() -> list[str]:
    """The networks that ship with the package."""
    return sorted(path.stem for path in (data_dir("hwprofiles") / "networks").glob("*.yaml"))


def load_network(name_or_path: str | Path) -> Network:
    """The network of that name, or of a YAML file.

    Raises ProfileError naming the file and the fact for an unknown network or a missing or impossible fact.
    """
    file = data_dir("hwprofiles") / "networks" / f"{name_or_path}.yaml"
    if not file.is_file():
        file = Path(name_or_path).expanduser()
    if not file.is_file():
        from sim.choice import nearest  # pydantic is only needed to word this error

        known = network_names()
        hint = nearest(str(name_or_path), known) or f"; known are {', '.join(known)}"
        raise ProfileError(f"there is no network {str(name_or_path)!r}, and no file of that name{hint}")
    facts = Facts(file)
    network = Network(
        name=facts.text("name"),
        bandwidth_bytes_per_s=facts.number("bandwidth_bytes_per_s"),
        latency_s=facts.number("latency_s", zero=True),
    )
    facts.reject_unread()
    return network


def place(
    profile: Profile,
    *,
    gpus_per_node: int | None = None,
    gpus_per_island: int | None = None,
    network: Network | None = None,
    nics_per_node: int | None = None,
) -> Profile:
    """The GPU's profile as it stands in these nodes; what is None stays as the profile says.

    Raises ScenarioError for islands that do not fill a node.
    """
    node = gpus_per_node or profile.gpus_per_node
    island = gpus_per_island or profile.gpus_per_island
    if gpus_per_node is not None and gpus_per_island is None:
        island = min(island or node, node)
    if island is not None and (island > node or node % island):
        raise ScenarioError(f"gpus_per_island {island} does not fill a node of {node} GPUs; give a divisor of {node}")
    cards = nics_per_node or profile.nics_per_node
    if (profile.gpus_per_node, profile.gpus_per_island, profile.nics_per_node) != (node, island, cards):
        profile = replace(profile, gpus_per_node=node, gpus_per_island=island, nics_per_node=cards)
    if network is not None:
        profile = replace(
            profile,
            inter_node_bandwidth_bytes_per_s=network.bandwidth_bytes_per_s,
            inter_node_latency_s=network.latency_s,
        )
    return profile


def check_group(profile: Profile, size: int, key: str) -> None:
    """Raise ScenarioError unless `size` GPUs that work as one fit into an island or fill islands and nodes."""
    node = profile.gpus_per_node
    for name, whole in (("gpus_per_node", node), ("gpus_per_island", profile.gpus_per_island or node)):
        if size > whole and size % whole:
            raise ScenarioError(
                f"{key} {size} does not fill {name} {whole}: GPUs of one group stand in whole ones; "
                f"use {size - size % whole} or {size - size % whole + whole}, or another {name}"
            )


def check_groups(profile: Profile, size: int, groups: int) -> None:
    """Raise ScenarioError if one of several groups of `size` GPUs, one behind the other, would lie in two nodes."""
    node = profile.gpus_per_node
    if groups > 1 and size < node and size * groups > node and node % size:
        raise ScenarioError(
            f"stages of tensor_parallel {size} do not fill nodes of {node} GPUs, so one of {groups} would lie in two; "
            "use a tensor_parallel that divides gpus_per_node, or another gpus_per_node"
        )
