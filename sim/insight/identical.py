"""Variants that are one and the same under two names, and seeds that are."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from sim.errors import ServecastError
from sim.measure import asked_sha256
from sim.resolve import resolve_cluster
from sim.scenario import Scenario


def alike(named: Mapping[str, Scenario]) -> dict[str, str]:
    """Names of scenarios that resolve to the same configuration as one before them, and that one's name."""
    resolved: dict[str, dict[str, Any]] = {}
    found = {}
    for name, scenario in named.items():
        try:
            mine = resolve_cluster(scenario).scenario.written() | {"name": "", "variants": {}}
        except ServecastError:  # its run will say why
            continue
        before = next((other for other, theirs in resolved.items() if theirs == mine), None)
        if before is None:
            resolved[name] = mine
        else:
            found[name] = before
    return found


def replays(scenario: Scenario) -> bool:
    """Whether a trace gives the same requests under every seed, so that seeds say nothing of chance.

    Reads the trace twice. Raises TraceError for one that cannot be read.
    """
    if scenario.workload.trace is None:
        return False
    folder = Path(scenario.base_dir)
    one, other = (asked_sha256(scenario.workload.table(scenario.seed + number, folder)) for number in range(2))
    return one == other
