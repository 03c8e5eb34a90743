"""What a serving engine does when its user sets nothing: one YAML file per engine in presets/."""

from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from sim import document, layering
from sim.choice import nearest
from sim.errors import ScenarioError
from sim.quantity import Bytes

_NEUTRAL: dict[str, Any] = {
    "max_num_scheduled_tokens": None,
    "enable_chunked_prefill": True,
    "long_prefill_token_threshold": 0,
    "long_prefill_token_threshold_adaptive": False,
    "kv_cache": "paged",
    "watermark": 0.0,
    "scheduler_reserve_full_isl": True,
    "dtype": "bf16",
    "quantization": "none",
    "kv_cache_dtype": "auto",
    "enforce_eager": False,
    "uncompiled_launch_s": 64e-6,  # vLLM's, see presets/vllm-v1.yaml
}
"""What an engine has whose preset does not name the key: nothing of it, paged memory, the checkpoint's formats."""

DEFAULT = "vllm-v1"
"""The preset of an engine that names none."""

_FOLDER = Path(__file__).resolve().parent / "presets"


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, populate_by_name=True)


class Default(_Strict):
    """One default and where it is from: measured, imported (read elsewhere), datasheet or assumed."""

    value: Any
    origin: Literal["measured", "imported", "datasheet", "assumed"] = Field(alias="from")
    source: str


class MemoryRule(_Strict):
    """The batch limits of GPUs that report at least so much memory."""

    at_least: Bytes
    except_named: str | None = None
    max_num_batched_tokens: Annotated[int, Field(ge=1)]
    max_num_seqs: Annotated[int, Field(ge=1)]


class _File(_Strict):
    stands_for: str
    engine: dict[str, Default]
    by_gpu_memory: tuple[MemoryRule, ...] = ()


@dataclass(frozen=True)
class Preset:
    """An engine's defaults: under the keys of a scenario's `engine:` section, and by the GPU's memory."""

    name: str
    stands_for: str
    engine: dict[str, Default]
    by_gpu_memory: tuple[MemoryRule, ...]

    def defaults(self, gpu: str, memory_bytes: int) -> dict[str, Any]:
        """Values by key for a GPU of that name and memory (as reported); the first rule that fits counts."""
        values = _NEUTRAL | {key: default.value for key, default in self.engine.items()}
        for rule in self.by_gpu_memory:
            excepted = rule.except_named is not None and rule.except_named in gpu.lower()
            if memory_bytes >= rule.at_least and not excepted:
                values["max_num_batched_tokens"] = rule.max_num_batched_tokens
                values["max_num_seqs"] = rule.max_num_seqs
                break
        return values


def names() -> list[str]:
    """The presets that ship with the package."""
    return sorted(path.stem for path in _FOLDER.glob("*.yaml"))


@cache
def load(name: str) -> Preset:
    """The preset of that name; raises ScenarioError with the nearest name when there is none."""
    if name not in names():
        raise ScenarioError(f"there is no preset {name!r}{nearest(name, names())}")
    read = document.read(_FOLDER / f"{name}.yaml")
    try:
        file = _File.model_validate(read.data)
    except ValidationError as error:
        raise layering.explain(_File, error, [read]) from None
    return Preset(name, file.stands_for, file.engine, file.by_gpu_memory)
