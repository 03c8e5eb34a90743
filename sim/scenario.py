"""What a scenario may say: the YAML's sections as frozen pydantic models, and how a file becomes one."""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Annotated, Any, ClassVar, Literal, Self

import yaml
from pydantic import (
    BeforeValidator,
    Field,
    PlainSerializer,
    SerializerFunctionWrapHandler,
    ValidationError,
    model_serializer,
    model_validator,
)

from sim import document, layering
from sim.autoscaling import Autoscaling
from sim.choice import Choice, nearest
from sim.cold_start import ColdStart
from sim.disaggregation import Disaggregation, Role
from sim.document import Document
from sim.engineparts import KVOffload, Lora, Speculative
from sim.errors import ScenarioError
from sim.fielddocs import add_examples
from sim.paths import data_dir
from sim.quantity import Bytes, Seconds
from sim.section import Count, Section
from sim.workload.spec import Workload


class Placement(Section):
    """What one replica runs on, and how many there are."""

    gpu: str = ""
    """A hardware profile by name (`servecast gpus` lists them), or the path of a profile folder. E.g. `h100-sxm`."""
    replicas: Annotated[int, Field(ge=1, le=100_000)] = 1
    """Copies of the model, each with its own engine."""
    tensor_parallel: Count = 1
    """GPUs that share every layer of one copy."""
    pipeline_parallel: Count = 1
    """Stages that the layers of one copy are spread over, each on its own tensor_parallel GPUs."""
    data_parallel: Count = 1
    """Ranks of one copy of a mixture: each has the attention, the queue and the KV cache of its own requests, on
    tensor_parallel GPUs; they share the experts and take every step together. Routers choose among ranks."""
    all2all_backend: Annotated[Any, Choice("sim.alltoall")] = "allgather_reducescatter"
    """How tokens get from the ranks to their experts and back (vLLM: --all2all-backend)."""
    overlap_communication: Annotated[float, Field(ge=0, le=1)] = 0.0
    """Share of the tensor-parallel collectives' time that runs behind matrix products (vLLM's async TP, SGLang's two
    batches); your engine's, not known here."""
    enable_expert_parallel: bool = False
    """Put whole experts of a mixture on each GPU, instead of cutting every expert."""
    expert_load: Annotated[Any, Choice("sim.expertload")] = "uniform"
    """How evenly tokens spread over the experts; the busiest GPU sets the pace."""
    gpus_per_node: Count | None = None
    """GPUs of one machine; larger groups talk over the network. Default: the profile's. E.g. `8`."""
    gpus_per_island: Count | None = None
    """GPUs of a node joined by the GPU's fast link (NVLink), the others over PCIe; default: all of a node. E.g. `2`."""
    network: str | None = None
    """What joins the nodes: a shipped network (infiniband-ndr, roce-400g, ethernet-100g, ...), or the path of a file
    like theirs; default: the GPU profile's. E.g. `roce-400g`."""
    nics_per_node: Count | None = None
    """Network cards of a node, shared evenly by its GPUs; default: the profile's, mostly one for each GPU. E.g. `4`."""
    gpu_price_per_hour: Annotated[float, Field(ge=0)] | None = None
    """US dollars for one GPU for one hour; default: the profile's price, if it has one. E.g. `2.5`."""
    autoscaling: Autoscaling | None = None
    """When replicas are added or go; default: never. E.g. `{rule: queue_length, max_replicas: 8}`."""
    cold_start: ColdStart = ColdStart()
    """How long a replica that starts during the run takes to serve; those at the start are there already."""


def _dtype(value: Any) -> Any:
    """vLLM's long names of number formats, as ours."""
    names = {"bfloat16": "bf16", "float16": "fp16", "half": "fp16", "fp8_e4m3": "fp8", "awq": "int4", "gptq": "int4"}
    return names.get(value, value) if isinstance(value, str) else value


SETTINGS_OF_SOME_BATCHINGS = (
    "enable_chunked_prefill", "long_prefill_token_threshold", "long_prefill_token_threshold_adaptive",
    "scheduler_reserve_full_isl", "watermark",
)  # fmt: skip
"""Settings that only some batching policies have: those that name them in `reads`."""


class Engine(Section):
    """The serving engine: a preset, and what differs from it. Keys without a value take the preset's.

    A variant (or --set) that names a preset gets that engine's batching and KV cache, whatever the scenario itself
    says; limits, sizes and times that the scenario sets hold under every preset, as does all that --set says.
    """

    brings: ClassVar[dict[str, tuple[str, ...]]] = {"preset": ("batching", "kv_cache", *SETTINGS_OF_SOME_BATCHINGS)}

    preset: str | None = None
    """Which engine and version the defaults stand for (`servecast engines` lists them); default: vllm-v1. E.g.
    `sglang`."""
    batching: Annotated[Any, Choice("sim.batching")] | None = None
    """How a step is put together. E.g. `{sarathi: {chunk_tokens: 512}}`."""
    ordering: Annotated[Any, Choice("sim.ordering")] | None = None
    """Which waiting request is next (vLLM: --scheduling-policy). E.g. `shortest_job`."""
    max_num_seqs: Count | None = None
    """Most requests in one step. E.g. `256`."""
    max_num_batched_tokens: Count | None = None
    """Most tokens in one step. E.g. `8192`."""
    max_num_scheduled_tokens: Count | None = None
    """A lower limit on the tokens that the scheduler hands out in one step; default: none. E.g. `4096`."""
    enable_chunked_prefill: bool | None = None
    """Split prompts over steps. E.g. `true`."""
    long_prefill_token_threshold: Annotated[int, Field(ge=0)] | None = None
    """Most tokens of one prompt in one step while other requests exist; 0: no limit. E.g. `2048`."""
    long_prefill_token_threshold_adaptive: bool | None = None
    """Raise that threshold to the token budget divided by the number of requests."""
    kv_cache: Annotated[Any, Choice("sim.kvcache")] | None = None
    """How KV memory is handed out and shared. E.g. `radix`."""
    block_size: Count | None = None
    """Tokens in one KV block. E.g. `16`."""
    disable_hybrid_kv_cache_manager: bool | None = None
    """Keep the whole context in layers with a sliding window too, instead of freeing what leaves the window."""
    num_gpu_blocks_override: Annotated[int, Field(ge=2)] | None = None
    """KV blocks of a replica as a real engine logged them; default: derived from the memory. E.g. `27000`."""
    enable_prefix_caching: bool | None = None
    """Keep the KV blocks of finished requests and reuse them for equal beginnings. E.g. `true`."""
    preemption: Literal["recompute", "swap"] | None = None
    """What becomes of a request that loses its blocks: computed again, or kept in the host's memory."""
    swap_space: Bytes | None = None
    """Host memory for swapped requests, for each GPU (vLLM 0.6: --swap-space); default: 4GiB. E.g. `4GiB`."""
    kv_offload: KVOffload | None = None
    """Memory beyond the GPU's for prefixes that were evicted; default: none. E.g. `{host: 64GiB}`."""
    watermark: Annotated[float, Field(ge=0, lt=1)] | None = None
    """Share of the KV blocks that an admission must leave free while others run. E.g. `0.01`."""
    scheduler_reserve_full_isl: bool | None = None
    """Admit a request only if its whole prompt fits now."""
    max_model_len: Count | None = None
    """Longest prompt and output together; default: what the model's config says. E.g. `16384`."""
    gpu_memory_utilization: Annotated[float, Field(gt=0, le=1)] | None = None
    """Share of the GPU's memory that the engine may use. E.g. `0.9`."""
    dtype: Annotated[Literal["auto", "bf16", "fp16"], BeforeValidator(_dtype)] | None = None
    """Number format of activations, and of weights unless quantized; auto: bf16."""
    quantization: Annotated[Literal["none", "fp8", "int8", "int4"], BeforeValidator(_dtype)] | None = None
    """Number format of the weight matrices."""
    kv_cache_dtype: Annotated[Literal["auto", "bf16", "fp16", "fp8"], BeforeValidator(_dtype)] | None = None
    """Number format of the KV cache; auto: as dtype."""
    speculative: Speculative | None = None
    """Speculative decoding; default: none. E.g. `{num_speculative_tokens: 4, acceptance_rate: 0.7, draft_token:
    1ms}`."""
    lora: Lora | None = None
    """LoRA adapters; default: the engine takes none. E.g. `{max_loras: 8, max_cpu_loras: 32}`."""
    async_scheduling: bool | None = None
    """Decide a step while the one before it runs: hides the host's work; new requests wait one step more."""
    cudagraph_capture_sizes: tuple[Count, ...] | None = None
    """Batch sizes that steps are padded to; []: no CUDA graphs; default: vLLM's list for these limits. E.g. `[1, 2, 4,
    8, 16, 32]`."""
    host_step_s: Seconds | None = None
    """Host work of one step: scheduling, input preparation, launch, reading tokens back, detokenising. E.g. `500us`."""
    host_seq_s: Seconds | None = None
    """Further host work for every request in the step. E.g. `5us`."""
    host_exposed_s: Seconds | None = None
    """The part of it that never hides behind the GPU. E.g. `700us`."""
    host_request_s: Seconds | None = None
    """Time from a request's arrival at the API server to its arrival in the engine's queue. E.g. `5ms`."""
    host_output_s: Seconds | None = None
    """Time to hand one token to its client; all of a step's tokens wait for each other. E.g. `50us`."""
    moe_first_use_s: Seconds | None = None
    """Stall of a fresh server whenever a mixture's kernel meets a new range of rows; 0: it has served before. E.g.
    `900ms`."""
    eager_launch_s: Seconds | None = None
    """Host time to launch one kernel when no CUDA graph fits the step. E.g. `4us`."""


class Pool(Placement):
    """Replicas of one kind, beside others. What is left out is the cluster's, the model's and the engine's."""

    model: str = ""
    """The model that it serves; default: the scenario's."""
    engine: Engine = Engine()
    """What differs from the scenario's engine."""
    role: Role = ""
    """prefill: it computes prompts for the pools of role decode; default: all of a request."""

    @model_serializer(mode="wrap")
    def _only_what_is_set(self, dump: SerializerFunctionWrapHandler) -> dict[str, Any]:
        return {name: value for name, value in dump(self).items() if name in self.model_fields_set}


class Cluster(Placement):
    """The GPUs and how requests are spread over them."""

    router: Annotated[Any, Choice("sim.routing")] = "round_robin"
    """Which replica gets a request. E.g. `least_outstanding`."""
    router_staleness: Annotated[Seconds, Field(ge=0)] = 0.0
    """How often the router learns the replicas' state: it sees them as they were then; 0: as they are."""
    request_timeout: Annotated[Seconds, Field(gt=0)] | None = None
    """The server gives up a request that has not finished so long after a replica got it; default: never. E.g.
    `2min`."""
    queue_timeout: Annotated[Seconds, Field(gt=0)] | None = None
    """The server gives up a request that no step has begun for by then; default: never. E.g. `30s`."""
    faults: tuple[Annotated[Any, Choice("sim.faults")], ...] = ()
    """What goes wrong, and when. E.g. `[{crash: {at: 10min, restart_after: 1min}}]`."""
    on_crash: Literal["requeue", "fail"] = "requeue"
    """A crashed replica's requests: others go on with them, from the tokens that their clients have; or they fail."""
    max_requeues: Count = 10
    """A request that has lost so many replicas, and loses one more, fails."""
    max_gateway_queue: Annotated[int, Field(ge=0)] | None = None
    """Most requests that wait while no replica takes any, further ones fail; default: no limit. E.g. `1000`."""
    pools: dict[str, Pool] = Field(default={})
    """Replicas of several kinds, by name; what a pool leaves out is as said here. Default: one kind. E.g. `{h100:
    {replicas: 2}, l40s: {gpu: l40s, replicas: 4}}`."""
    disaggregation: Disaggregation = Disaggregation()
    """How prompts' KV gets from pools of role prefill to pools of role decode."""

    def role(self, pool: str) -> Role:
        """What a pool of that name does; "" is the name of the only one."""
        return self.pools[pool].role if self.pools else ""

    @model_validator(mode="after")
    def _every_pool_has_a_gpu(self) -> Self:
        without = [f"pools.{name}." for name, pool in self.pools.items() if not (pool.gpu or self.gpu)]
        if without or not (self.pools or self.gpu):
            raise ValueError(f"{without[0] if without else ''}gpu is missing: `servecast gpus` lists the profiles")
        for name in getattr(self.router, "pools", ()):
            if name not in self.pools:
                raise ValueError(f"router names a pool {name!r} that is not in pools{nearest(name, self.pools)}")
        if self.pools and "replicas" in self.model_fields_set and self.replicas != 1:
            raise ValueError("replicas beside pools: give each pool its own")
        return self


_LONGEST_WITHOUT_UNIT_S = 10


def _slo_time(value: Any) -> Any:
    """vLLM's --goodput counts in milliseconds, servecast in seconds: a large bare number must say which."""
    if isinstance(value, int | float) and value > _LONGEST_WITHOUT_UNIT_S:
        raise ValueError(f"{value:g} has no unit and would be seconds; write {value:g}ms or {value:g}s")
    return value


SloTime = Annotated[
    Seconds,
    BeforeValidator(_slo_time),
    Field(gt=0),
    PlainSerializer(lambda seconds: f"{seconds!r}s", return_type=str, when_used="json-unless-none"),
]


class Slo(Section):
    """Latency targets; a request is good if it meets every one that is set (vllm bench serve --goodput)."""

    ttft: SloTime | None = None
    """Time to first token, with a unit: 500ms. E.g. `500ms`."""
    tpot: SloTime | None = None
    """Mean time per output token after the first, with a unit: 50ms. E.g. `50ms`."""
    e2el: SloTime | None = None
    """Arrival to last token, with a unit: 30s. E.g. `30s`."""


class Tenant(Section):
    """What holds for the requests of one tenant; the workload says whose each request is."""

    model: str = ""
    """The model that it asks for, which a pool must serve; default: the scenario's."""
    slo: Slo = Slo()
    """Its own latency targets; default: the scenario's."""
    priority: int | None = None
    """Its requests' priority: lower is more urgent; default: the workload's. E.g. `1`."""


class Measure(Section):
    """Which requests the statistics count; the others are simulated all the same."""

    warmup: Seconds = 0.0
    """Leave out requests that arrive before this time. E.g. `1min`."""
    cooldown: Seconds = 0.0
    """Leave out requests that arrive in this last part of the arrivals. E.g. `1min`."""


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
    tenants: dict[str, Tenant] = Field(default={})
    """What differs for some of the workload's tenants, by name. E.g. `{batch: {priority: 1}}`."""
    measure: Measure = Measure()
    """Which requests the statistics count. E.g. `{warmup: 1min}`."""
    variants: dict[str, dict[str, Any]] = Field(default={})
    """Changes to this scenario, by name, to be compared with it. E.g. `{few: {engine: {max_num_seqs: 32}}}`."""
    base_dir: str = "."
    """The folder that relative paths start from, itself relative to the file's folder."""

    @model_validator(mode="after")
    def _no_variants_of_variants(self) -> Self:
        for name, changes in self.variants.items():
            if "variants" in changes:
                raise ValueError(f"variant {name!r} cannot have variants of its own")
        return self

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
            raise ScenarioError(f"scenario {self.name!r} has no variant {name!r}{nearest(name, self.variants)}")
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
    overrides: Iterable[str] = (),
    workload: Mapping[str, Any] | None = None,
) -> Scenario:
    """The scenario in a YAML file, or in a mapping; `overrides` are like "engine.max_num_seqs=64".

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
        path = _locate(source)
        first, folder = document.read(path), path.parent
        first.data.setdefault("name", path.stem)
    if isinstance(overrides, str):
        overrides = [overrides]
    documents = [first, *sorted((document.parse_override(text) for text in overrides), key=_names_no_preset)]
    if workload is not None:
        for layer in documents:
            layer.data.pop("variants", None)
            layer.data["workload"] = dict(workload)
    scenario = _checked(documents)
    base_dir = str((folder / scenario.base_dir).resolve())
    said = layering.merge(Scenario, [layer.data for layer in documents[1:]]).get("engine") or {}
    variants = {name: _still_said(said, changes) for name, changes in scenario.variants.items()}
    scenario = scenario.model_copy(update={"variants": variants})
    for name in variants:
        _checked([*documents, _variant_document(name, scenario, first)], f"in variant {name!r}, ")
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


def _locate(source: str | Path) -> Path:
    """The file that was meant: a path, or the name of a shipped scenario."""
    path = Path(source)
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
