"""A scenario: its sections together, its variants, and how a file becomes one."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Self

import yaml
from pydantic import Field, ValidationError, model_validator

from sim import document, layering
from sim.choice import Choice, nearest
from sim.document import Document, Overrides
from sim.errors import ScenarioError
from sim.fielddocs import add_examples
from sim.paths import data_dir
from sim.quantity import Name
from sim.sections import Cluster, Engine, Measure, Placement, Slo, Tenant
from sim.sections.section import Section
from sim.workload.guess import refuse_trace
from sim.workload.spec import Workload


class Scenario(Section):
    """One question to the simulator: a workload, a cluster, an engine, and what counts as good."""

    name: Annotated[str, Field(min_length=1)] = "scenario"
    """A name for tables and pictures; default: the file's. E.g. `chat-on-4-h100`."""
    seed: Annotated[int, Field(ge=0)] = 0
    """All random numbers follow from it."""
    model: str
    """A built-in model by name (`servecast models` lists them), or the path of a Hugging Face config.json. E.g.
    `llama-3.1-8b`."""
    workload: Workload
    """Which requests arrive, and when. E.g. `{trace: {azure: {path: conv.csv.gz, limit: 5000}}}`."""
    cluster: Cluster
    """The GPUs, and how requests are spread over them. E.g. `{gpu: h100-sxm, replicas: 4}`."""
    engine: Engine = Engine()
    """The serving engine: a preset, and what differs from it. E.g. `{preset: vllm-v1, max_num_seqs: 128}`."""
    latency: Annotated[Any, Choice("sim.latency")] = "profile"
    """How long a step takes. E.g. `profile`."""
    slo: Slo = Slo()
    """Latency targets; goodput counts the requests that meet all of them. E.g. `{ttft: 500ms, tpot: 50ms}`."""
    tenants: dict[Name, Tenant] = Field(default={})
    """What differs for some of the workload's tenants, by name. E.g. `{batch: {priority: 1}}`."""
    measure: Measure = Measure()
    """Which requests the statistics count. E.g. `{warmup: 1min}`."""
    variants: dict[Name, dict[str, Any]] = Field(default={})
    """Changes to this scenario, by name, to be compared with it. E.g. `{few: {engine: {max_num_seqs: 32}}}`."""
    base_dir: str = "."
    """The folder that relative paths start from, itself relative to the file's folder."""

    @model_validator(mode="after")
    def _no_variants_of_variants(self) -> Self:
        for name, changes in self.variants.items():
            if "variants" in changes:
                raise ValueError(f"variant {name!r} cannot have variants of its own")
        return self

    @property
    def has_targets(self) -> bool:
        """Whether it says what a good request is, for all or for a tenant."""
        slos = (self.slo, *(tenant.slo for tenant in self.tenants.values()))
        return any(target is not None for slo in slos for _, target in slo)

    def replaced(self, name: str) -> list[str]:
        """Engine keys that this scenario sets, and the preset of its variant `name` replaces."""
        changes = self.variants[name].get("engine") or {}
        return [key for key in layering.brought(Engine, changes) if getattr(self.engine, key) is not None]

    def path(self, text: str) -> Path:
        """`text` as a path: relative ones start from base_dir."""
        return Path(self.base_dir) / Path(text).expanduser()

    def variant(self, name: str) -> Scenario:
        """This scenario with the changes of its variant `name`, and no variants.

        Raises ScenarioError when there is no such variant.
        """
        if name not in self.variants:
            hint = nearest(name, self.variants) if self.variants else "; it has none"
            raise ScenarioError(f"scenario {self.name!r} has no variant {name!r}{hint}")
        written = {**self.written(), "variants": {}, "name": f"{self.name}, {name}"}
        return _checked([Document(written, self.name), Document(self.variants[name], f"variant {name!r}")])

    def single(self, pool: str) -> Scenario:
        """One of the cluster's pools as a scenario of its own, with all the traffic."""
        part = self.cluster.pools[pool]
        placement = {name: getattr(self.cluster, name) for name in Placement.model_fields}
        placement |= {name: getattr(part, name) for name in Placement.model_fields if name in part.model_fields_set}
        layers = [self.engine.model_dump(mode="json"), part.engine.model_dump(mode="json")]
        layers = [{key: value for key, value in layer.items() if value is not None} for layer in layers]
        said = {
            "name": f"{self.name}, pool {pool}",
            "model": part.model or self.model,
            "cluster": self.cluster.model_copy(update={**placement, "pools": {}}),
            "engine": Engine.model_validate(layering.merge(Engine, layers)),
        }
        return self.model_copy(update=said)

    def __repr__(self) -> str:
        return f"<Scenario {self.name!r}: {self.model} on {self.cluster.gpu}>"

    __str__ = __repr__

    def written(self) -> dict[str, Any]:
        """This scenario as plain data, as a YAML file would say it."""
        return self.model_dump(mode="json")

    def to_yaml(self, folder: Path | None = None) -> str:
        """YAML that loads to this same scenario; with `folder`, from a file in that folder."""
        written = self.written()
        if folder is not None:
            written["base_dir"] = os.path.relpath(self.base_dir, folder.resolve())
        return yaml.safe_dump(written, sort_keys=False, allow_unicode=True, width=110)


def load(
    source: Scenario | str | Path | Mapping[str, Any],
    overrides: Overrides = (),
    workload: Mapping[str, Any] | None = None,
) -> Scenario:
    """The scenario in a YAML file, or in a mapping; `overrides` are like "engine.max_num_seqs=64", or a mapping.

    `workload` replaces the scenario's own, which may then be absent, and drops its variants. Relative paths
    start from the file's folder (for a mapping: the current one). Every variant is checked too. A name without
    a file is that of a shipped scenario. Raises ScenarioError, in one sentence that names file, line and key,
    for whatever cannot be understood.
    """
    if not isinstance(source, Scenario | Mapping | str | Path):
        raise ScenarioError(f"a scenario is a YAML file, a name or a mapping, not {source!r}")
    if isinstance(source, Scenario):
        first, folder = Document(source.written(), source.name), Path()
    elif isinstance(source, Mapping):
        first, folder = Document(dict(source), "scenario"), Path()
    else:
        path = locate(source)
        refuse_trace(path)
        first, folder = document.read(path), path.parent
        first.data.setdefault("name", path.stem)
    documents = [first, *sorted(document.parse_overrides(overrides), key=_names_no_preset)]
    if workload is not None:
        for layer in documents:
            layer.data.pop("variants", None)
            layer.data["workload"] = dict(workload)
    scenario = _checked(documents)
    base_dir = str((folder / scenario.base_dir).resolve())
    said = layering.merge(Scenario, [layer.data for layer in documents[1:]]).get("engine") or {}
    variants = {name: _still_said(said, changes) for name, changes in scenario.variants.items()}
    scenario = scenario.model_copy(update={"variants": variants})
    wrong = []
    for name in variants:
        try:
            _checked([*documents, _variant_document(name, scenario, first)], f"in variant {name!r}, ")
        except ScenarioError as error:
            wrong += str(error).splitlines()
    if wrong:
        raise ScenarioError(layering.listed(wrong))
    return scenario.model_copy(update={"base_dir": base_dir})


def shipped() -> dict[str, Path]:
    """The scenarios that ship with servecast, by name; one in a folder is called "folder/name"."""
    root = data_dir("scenarios")
    paths = sorted(root.rglob("*.yaml"), key=lambda path: (len(path.parts), path))
    return {path.relative_to(root).with_suffix("").as_posix(): path for path in paths}


def json_schema() -> dict[str, Any]:
    """The JSON Schema of a scenario file, with every built-in choice; every field has a description and an example."""
    schema = Scenario.model_json_schema()
    add_examples(schema, schema["$defs"])
    return {"$schema": "https://json-schema.org/draft/2020-12/schema", **schema}


def locate(source: str | Path) -> Path:
    """The file that was meant: a path, or the name of a shipped scenario, whatever folder of results is called so."""
    path = Path(source)
    if path.is_dir() and str(source) in shipped():
        return shipped()[str(source)]
    if path.exists() or path.suffix or path.is_absolute() or path.parts[:1] in ((".",), ("..",), ("~",)):
        return path
    if str(source) not in shipped():
        hint = nearest(str(source), shipped())
        raise ScenarioError(f"there is no file {str(source)!r} and no shipped scenario of that name{hint}")
    return shipped()[str(source)]


def _variant_document(name: str, scenario: Scenario, file: Document) -> Document:
    """The changes of one variant, which stand deeper in the file than the keys they change."""
    lines = {path[2:]: line for path, line in file.lines.items() if path[:2] == ("variants", name)}
    return Document(scenario.variants[name], file.source, lines)


def _still_said(said: Mapping[str, Any], changes: dict[str, Any]) -> dict[str, Any]:
    """A variant's changes, whose preset does not take away what --set says of the engine."""
    engine = changes.get("engine")
    if not isinstance(engine, Mapping):
        return changes
    kept = {key: said[key] for key in layering.brought(Engine, engine) if key in said}
    return {**changes, "engine": {**kept, **engine}}


def _names_no_preset(override: Document) -> bool:
    """Sort key: overrides are laid over all at once, so a preset comes before what shall differ from it."""
    engine = override.data.get("engine")
    return not (isinstance(engine, Mapping) and "preset" in engine)


def _checked(documents: list[Document], where: str = "") -> Scenario:
    try:
        return Scenario.model_validate(layering.merge(Scenario, [d.data for d in documents]))
    except ValidationError as error:
        raise layering.explain(Scenario, error, documents, where) from None
