"""Runs that were made before, by what decides them: the scenario, the files it names, and the program."""

import json
from collections.abc import Iterator, Mapping
from functools import cache
from hashlib import sha256
from pathlib import Path
from typing import Any

from sim.errors import ServecastError
from sim.insight.runs import Outcome
from sim.report.folder import write_whole
from sim.resolve.naming import gpu_profile
from sim.scenario import Scenario

_KEPT = ("summary", "requests", "error")


class Kept:
    """A folder of outcomes, one JSON file each, whole or not there; None keeps nothing."""

    def __init__(self, folder: Path | None) -> None:
        self.folder = folder

    def get(self, key: str) -> Outcome | None:
        """The outcome of that key, if it is there and can be read."""
        if self.folder is None:
            return None
        try:
            found = json.loads((self.folder / f"{key}.json").read_text(encoding="utf-8"))
            return Outcome(*(found[name] for name in _KEPT))
        except (OSError, ValueError, KeyError, TypeError):
            return None

    def put(self, key: str, outcome: Outcome) -> None:
        """Keep an outcome. Raises ServecastError when it cannot be written."""
        if self.folder is not None:
            write_whole(self.folder / f"{key}.json", json.dumps({name: vars(outcome)[name] for name in _KEPT}))


def key_of(scenario: Scenario) -> str:
    """What a run depends on, as 32 hex digits: everything the scenario says, its files' contents, and the program's."""
    total = sha256(_program().encode())
    total.update(scenario.to_yaml().encode())
    for path in _files(scenario):
        total.update(_content(path, path.stat().st_mtime_ns).encode())
    return total.hexdigest()[:32]


def _files(scenario: Scenario) -> Iterator[Path]:
    """The files that the scenario names, and those of its GPUs."""
    for text in _texts(scenario.written()):
        path = scenario.path(text)
        if path.is_file():
            yield path
    placements = [scenario.cluster, *scenario.cluster.pools.values()]
    for gpu in sorted({placement.gpu for placement in placements if placement.gpu}):
        try:
            profile = gpu_profile(scenario, gpu)
        except ServecastError:
            continue  # the run will say it
        yield from sorted(path for path in profile.folder.iterdir() if path.is_file())


def _texts(value: Any) -> Iterator[str]:
    if isinstance(value, str) and value and len(value) < 1024:
        yield value
    elif isinstance(value, Mapping):
        for inner in value.values():
            yield from _texts(inner)
    elif isinstance(value, list):
        for inner in value:
            yield from _texts(inner)


@cache
def _content(path: Path, _changed_ns: int) -> str:
    total = sha256()
    with path.open("rb") as file:
        while block := file.read(1 << 20):
            total.update(block)
    return total.hexdigest()


@cache
def _program() -> str:
    """The program's source and its presets and models."""
    total = sha256()
    root = Path(__file__).parents[2]
    for path in sorted(root.rglob("*")):
        if path.suffix in (".py", ".yaml", ".json"):
            total.update(str(path.relative_to(root)).encode() + b"\0" + path.read_bytes())
    return total.hexdigest()
