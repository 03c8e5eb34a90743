"""Which key of which scenario an error is about, and what a name in it stands for."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from sim import hardware
from sim.errors import ScenarioError, ServecastError
from sim.scenario import Scenario


@contextmanager
def at(scenario: Scenario, key: str) -> Iterator[None]:
    """Say which key of which scenario an error is about."""
    try:
        yield
    except ServecastError as error:
        raise type(error)(f"{scenario.name}, {key}: {error}") from None


def named_or_path(scenario: Scenario, text: str, known: list[str]) -> str | Path:
    """A built-in name as it is; a path, if there is one, from the scenario's folder."""
    if not text:
        raise ScenarioError("is empty; give a name or a path")
    path = scenario.path(text)
    return path if text.lower() not in known and path.exists() else text


def gpu_profile(scenario: Scenario, gpu: str) -> hardware.Profile:
    """The profile that a scenario means by `gpu`; raises ProfileError when there is none."""
    return hardware.load(named_or_path(scenario, gpu, hardware.names()))
