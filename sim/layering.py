"""Lay one scenario's data over another's, and word what is wrong with the result."""

import re
from collections.abc import Iterator, Mapping, Sequence
from types import NoneType
from typing import Annotated, Any, NamedTuple, get_args, get_origin

from pydantic import BaseModel, ValidationError

from sim.choice import Choice, nearest
from sim.document import Document, KeyPath
from sim.errors import ScenarioError
from sim.wording import sentence

_OTHER_NAMES = {
    "scheduling_policy": "engine.ordering",
    "policy": "engine.ordering",
    "tensor_parallel_size": "cluster.tensor_parallel",
    "tp": "cluster.tensor_parallel",
    "pipeline_parallel_size": "cluster.pipeline_parallel",
    "pp": "cluster.pipeline_parallel",
    "data_parallel_size": "cluster.data_parallel",
    "dp": "cluster.data_parallel",
    "expert_parallel": "cluster.enable_expert_parallel",
    "ep": "cluster.enable_expert_parallel",
    "interconnect": "cluster.network",
    "gpus_per_server": "cluster.gpus_per_node",
    "kv_cache_blocks": "engine.num_gpu_blocks_override",
    "num_gpu_blocks": "engine.num_gpu_blocks_override",
    "gpu_kv_blocks": "engine.num_gpu_blocks_override",
    "gpu_blocks": "engine.num_gpu_blocks_override",
    "kv_blocks": "engine.num_gpu_blocks_override",
    "prefix_caching": "engine.enable_prefix_caching",
    "chunked_prefill": "engine.enable_chunked_prefill",
    "speculative_config": "engine.speculative",
    **{name: f"engine.lora.{name}" for name in ("max_loras", "max_lora_rank", "max_cpu_loras")},
    **dict.fromkeys(("enable_lora", "lora_config"), "engine.lora"),
    "lora_modules": "workload.adapters",
    **dict.fromkeys(("num_beams", "use_beam_search"), "workload.beam_width"),
    "request_timeout_s": "cluster.request_timeout",
    "e2e": "slo.e2el",
    "itl": "slo.tpot",
}

_MOST_PROBLEMS = 10
_WORDS = ("True", "False")

_NOT_MODELLED = {
    "best_of": "the best of several answers is",
}
"""Keys of engines that users may look for, and what they stand for."""


def merge(model: type[BaseModel], layers: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """The layers laid over each other, later ones on top, along the fields of `model`.

    Sections merge key by key. A choice is replaced, but keeps its parameters where the upper layer names the
    same option. Everything else is replaced. A key that brings others along (`brings` of a section) takes away what
    lower layers say of these.
    """
    result: dict[str, Any] = {}
    for layer in layers:
        for key in brought(model, layer):
            result.pop(key, None)
        for key, value in layer.items():
            result[key] = _over(_kinds(model, key), result.get(key), value)
    return result


def brought(model: type[BaseModel], layer: Mapping[str, Any]) -> list[str]:
    """Keys that others in the layer bring along, so that lower layers have no say in them."""
    brings: Mapping[str, Sequence[str]] = getattr(model, "brings", {})
    return [key for bringer in brings if layer.get(bringer) is not None for key in brings[bringer]]


def _over(kinds: list[Any], below: Any, above: Any) -> Any:
    if above is None and NoneType not in kinds and not all(isinstance(kind, Choice) for kind in kinds):
        return below or {}  # a section whose keys are all commented out
    kinds = [kind for kind in kinds if kind is not NoneType]
    if not isinstance(above, Mapping) or below is None:
        return above
    for kind in kinds:
        if isinstance(kind, Named):
            together = {**below}
            for name, section in above.items():
                together[name] = merge(kind.section, [below.get(name) or {}, section or {}])
            return together
        if isinstance(kind, Choice):
            old = {below: {}} if isinstance(below, str) else below
            if isinstance(old, Mapping) and len(above) == 1 and set(old) == set(above):
                (name,) = above
                if isinstance(above[name], Mapping):
                    return {name: {**(old[name] or {}), **above[name]}}
            return above
        if isinstance(below, Mapping):
            return merge(kind, [below, above])
    return above


class Named(NamedTuple):
    """Sections of one kind, each under a name of the user's."""

    section: type[BaseModel]


def _kinds(model: type[BaseModel], key: str) -> list[Any]:
    """What may stand at `key`: the Choices, sections and Named in its annotation, and NoneType where null may."""
    field = model.model_fields.get(key)
    return [] if field is None else [*_inside(field.annotation), *(m for m in field.metadata if isinstance(m, Choice))]


def _sections(model: type[BaseModel], key: str) -> Iterator[type[BaseModel]]:
    """The section models that may stand at `key`."""
    return (kind for kind in _kinds(model, key) if isinstance(kind, type) and kind is not NoneType)


def _inside(annotation: Any) -> Iterator[Any]:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        yield annotation
    elif annotation is NoneType:
        yield NoneType
    elif get_origin(annotation) is Annotated:
        yield from (m for m in annotation.__metadata__ if isinstance(m, Choice))
        yield from _inside(annotation.__origin__)
    elif get_origin(annotation) is dict:
        yield from (Named(kind) for kind in _inside(get_args(annotation)[1]) if isinstance(kind, type))
    elif get_origin(annotation) not in (list, tuple):
        for argument in get_args(annotation):
            yield from _inside(argument)


def explain(
    model: type[BaseModel], error: ValidationError, documents: Sequence[Document], where: str = ""
) -> ScenarioError:
    """All that is wrong, one line each with its place and its mend; a typo explains what is missing because of it."""
    found = []
    for problem in error.errors(include_url=False):
        path = tuple(str(part) for part in problem["loc"])
        found.append((path, problem["type"], _sentence(model, path, problem)))
    typos = [(path[:-1], text) for path, kind, text in found if kind == "extra_forbidden"]
    found = [one for one in found if not (one[1] == "missing" and _is_meant(one[0], typos))]
    found.sort(key=lambda one: one[1] != "extra_forbidden")
    return ScenarioError(listed([f"{_place(path, documents)}: {where}{text}" for path, _, text in found]))


def listed(problems: Sequence[str]) -> str:
    """Problems, one line each, and how many more there are."""
    more = len(problems) - _MOST_PROBLEMS
    return "\n".join([*problems[:_MOST_PROBLEMS], *([f"and {more} more like these"] if more > 0 else [])])


def _is_meant(missing: KeyPath, typos: Sequence[tuple[KeyPath, str]]) -> bool:
    """Whether an unknown key beside the missing one was meant to be it."""
    return any(beside == missing[:-1] and f"did you mean {missing[-1]!r}?" in text for beside, text in typos)


def _sentence(model: type[BaseModel], path: KeyPath, problem: Any) -> str:
    if path[-1:] == ("[key]",):
        name = str(problem["input"])
        return f"{'.'.join(path[:-2])}: a name must be text; quote it: '{name.lower() if name in _WORDS else name}'"
    key = ".".join(path) or "the scenario"
    if problem["type"] == "extra_forbidden":
        return f"{key} is not a known key{_mend(model, path)}"
    return sentence(key, problem["type"], str(problem["msg"]), problem["input"])


_PERCENTILE = re.compile(r"(p\d+|mean|median)_(ttft|tpot|itl|e2el)|(ttft|tpot|itl|e2el)_(p\d+|mean|median)")


def _mend(model: type[BaseModel], path: KeyPath) -> str:
    """A closing remark on an unknown key: the key that was meant, here or in another section."""
    *parents, key = path
    key = key.replace("-", "_")
    if parents[-1:] == ["slo"] and (found := _PERCENTILE.fullmatch(key)):
        statistic, latency = (found[1], found[2]) if found[1] else (found[4], found[3])
        return (
            ": slo holds targets for each request (ttft, tpot, e2el); what a statistic must be is asked of `servecast "
            f"size` and `capacity` with --limit '{statistic}_{latency}_ms <= 1000'"
        )
    if key in _NOT_MODELLED:
        return f": {_NOT_MODELLED[key]} not modelled"
    if key in _OTHER_NAMES:
        return f"; here it is called {_OTHER_NAMES[key]}"
    section: type[BaseModel] | None = model
    named: Named | None = None
    for parent in parents:
        if named is not None:
            section, named = named.section, None
        elif section is not None:
            named = next((kind for kind in _kinds(section, parent) if isinstance(kind, Named)), None)
            section = section if named else next(_sections(section, parent), None)
    if section is None or path[-1] in section.model_fields:
        return ""
    hint = nearest(key, section.model_fields)
    for name in model.model_fields if "did you mean" not in hint else ():
        for other in _sections(model, name):
            if key in other.model_fields:
                return f"; it belongs under {name}:"
    return hint


def _place(path: KeyPath, documents: Sequence[Document]) -> str:
    """Where the faulty part was written: the layer that says most about it, the topmost of equals."""
    reach = [(_depth(document.data, path), index) for index, document in enumerate(documents)]
    return documents[max(reach)[1] if max(reach)[0] else 0].where(path)


def _depth(data: Any, path: KeyPath) -> int:
    """How many parts of `path` exist in `data`."""
    for depth, part in enumerate(path):
        if data == part:  # a choice given as its bare name
            return depth + 1
        if not isinstance(data, Mapping) or part not in data:
            return depth
        data = data[part]
    return len(path)
