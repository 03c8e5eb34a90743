"""Shipped scenarios, copied to where people can change them, with the files that they read."""

import shutil
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import yaml

from sim.choice import nearest
from sim.errors import ScenarioError
from sim.report.folder import probe
from sim.scenario import shipped


def copy_scenario(name: str, folder: Path, *, force: bool = False) -> list[Path]:
    """Copy a shipped scenario into `folder`, and the files that it names into the same places beside it.

    Returns what was written, the scenario first. Raises ScenarioError for an unknown name, and for files that are
    there already unless `force`; then nothing is written.
    """
    known = shipped()
    if name not in known:
        raise ScenarioError(f"there is no shipped scenario {name!r}{nearest(name, known)}")
    source = known[name]
    probe(folder / source.name)
    if folder.exists() and not folder.is_dir():
        raise ScenarioError(f"{folder} is a file; name a folder")
    pairs = {folder / source.name: source}
    data = yaml.safe_load(source.read_text(encoding="utf-8"))
    for text in _words(data):
        place = source.parent / text
        if place.is_file():
            if ".." in Path(text).parts:
                raise ScenarioError(f"{name} reads {text}, outside its folder; run it where it is, with --set")
            pairs[folder / text] = place
    there = [target for target in pairs if target.exists()]
    if there and not force:
        raise ScenarioError(f"{there[0]} is there already; name another folder, or give --force to replace it")
    try:
        for target, place in pairs.items():
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(place, target)
    except OSError as error:
        raise ScenarioError(f"cannot write to {folder}: {error.strerror or error}") from error
    return list(pairs)


def _words(value: Any) -> Iterator[str]:
    """Every text in the data that may be a path."""
    if isinstance(value, str) and "." in value and "\n" not in value:
        yield value
    elif isinstance(value, Mapping):
        for inner in value.values():
            yield from _words(inner)
    elif isinstance(value, list):
        for inner in value:
            yield from _words(inner)
