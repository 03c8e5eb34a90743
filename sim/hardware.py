"""GPU and link facts: one folder per device, each number with its source."""

import hashlib
import math
from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

import yaml

from sim.errors import ProfileError
from sim.paths import data_dir

_Loader = getattr(yaml, "CSafeLoader", yaml.SafeLoader)  # libyaml's is ten times as fast, where it is
_POINT_FILES = ("points.csv.gz", "points.csv")
_MAY_LACK = "grouped_gemm_flops"
_PROVENANCE = ("datasheet", "imported", "measured")


@dataclass(frozen=True)
class Derates:
    """The share of a datasheet peak that one class of operation sustains, each in (0, 1]."""

    gemm_flops: float
    """Large matrix products, of the dense peak FLOP/s."""
    gemm_bandwidth: float
    """Matrix products of few rows, which wait for the weights, of the memory bandwidth."""
    attention_flops: float
    """Prefill attention, of the dense bf16 peak."""
    decode_attention_bandwidth: float
    """Decode attention, which waits for the KV cache, of the memory bandwidth."""
    elementwise_bandwidth: float
    """Norms, activations, rotary, sampling, of the memory bandwidth."""
    link_bandwidth: float
    """Collectives, of the bandwidth between the GPUs of a node; also copies to the host, of PCIe's."""
    grouped_gemm_flops: float | None = None
    """The experts' matrix products of a mixture, of the dense peak FLOP/s; None: as gemm_flops."""


@dataclass(frozen=True)
class Profile:
    """One device: what its folder in hwprofiles/ says, in plain units.

    memory_bytes is what the driver and frameworks report as total, less than the label on the box.
    Bandwidths are bytes/s (links: one direction of one GPU; between nodes, of one network card); peak_flops are dense,
    per number format.
    `sources` tells for each fact where it is from; `digest` is the SHA-256 of the folder's files, for the
    record of a result.
    """

    name: str
    folder: Path
    provenance: str
    date: str
    memory_bytes: int
    memory_bandwidth_bytes_per_s: float
    peak_flops: Mapping[str, float]
    intra_node_bandwidth_bytes_per_s: float
    intra_node_latency_s: float
    inter_node_bandwidth_bytes_per_s: float
    inter_node_latency_s: float
    pcie_bandwidth_bytes_per_s: float
    all_reduce_one_shot_s: float | None
    """Start and barriers of an all-reduce in which every GPU reads all others' data; None: rings alone."""
    all_reduce_two_shot_s: float | None
    """The same of one that reduces and gathers in two passes over a share each."""
    all_reduce_shot_bandwidth_bytes_per_s: float | None
    """What these two read and write over the links, per GPU."""
    gpus_per_node: int
    gpus_per_island: int | None
    """GPUs of a node that the fast link joins, the others being reached over PCIe; None: all of a node."""
    nics_per_node: int | None
    """Network cards of a node, which its GPUs share evenly; None: one for each GPU."""
    power_w: float
    price_usd_per_hour: float | None
    kernel_latency_s: float
    derates: Derates
    sources: Mapping[str, str]
    digest: str
    step_error: tuple[float, float] | None = None
    """Relative standard deviations of the times of a step with a prefill and of one without, if runs told them."""

    @property
    def points_file(self) -> Path | None:
        """The table of measured points, if this device was measured."""
        return next((self.folder / name for name in _POINT_FILES if (self.folder / name).is_file()), None)

    def peak(self, dtype: str) -> float:
        """Dense FLOP/s in `dtype`; a chip without that format computes in bf16 (fp16 runs at bf16's rate)."""
        return self.peak_flops.get(dtype, self.peak_flops["bf16"])

    def __hash__(self) -> int:
        return hash(self.digest)


def names() -> list[str]:
    """The devices that ship with the package."""
    return sorted(path.parent.name for path in data_dir("hwprofiles").glob("*/device.yaml"))


def load(name_or_path: str | Path) -> Profile:
    """The profile of that name, or of a folder that holds a device.yaml.

    Raises ProfileError naming the file and the fact for an unknown device or a missing or impossible fact.
    """
    folder = data_dir("hwprofiles") / str(name_or_path)
    if not (folder / "device.yaml").is_file():
        folder = Path(name_or_path).expanduser()
    file = folder / "device.yaml"
    if not file.is_file():
        from sim.choice import nearest  # pydantic is only needed to word this error

        hint = nearest(str(name_or_path), names())
        raise ProfileError(f"there is no GPU profile {str(name_or_path)!r}, and no {file}{hint}")
    read = sorted(path for path in (file, *(folder / name for name in _POINT_FILES)) if path.is_file())
    return _known(file, tuple((path, path.stat().st_mtime_ns, path.stat().st_size) for path in read))


@lru_cache(maxsize=32)
def _known(file: Path, _as_read: tuple[tuple[Path, int, int], ...]) -> Profile:
    """The profile in a file, parsed once as long as neither it nor its points change."""
    return _parse(file)


def _parse(file: Path) -> Profile:
    facts = Facts(file)
    provenance = facts.text("provenance")
    if provenance not in _PROVENANCE:
        raise ProfileError(f"{file}: 'provenance' is {provenance!r}; it must be one of {', '.join(_PROVENANCE)}")
    peaks = {dtype: facts.number(f"peak_flops.{dtype}") for dtype in facts.keys_of("peak_flops")}
    if "bf16" not in peaks:
        raise ProfileError(f"{file}: fact 'peak_flops.bf16' is missing")
    given = facts.keys_of("derates")
    shares = {n: facts.share(f"derates.{n}") for n in Derates.__dataclass_fields__ if n in given or n != _MAY_LACK}
    counts = {name: facts.count(name) for name in ("gpus_per_node", "gpus_per_island", "nics_per_node")}
    if counts["gpus_per_node"] is None:
        raise ProfileError(f"{file}: fact 'gpus_per_node' is missing")
    profile = Profile(
        name=facts.text("name"),
        folder=file.parent,
        provenance=provenance,
        date=facts.text("date"),
        memory_bytes=int(facts.number("memory_bytes")),
        memory_bandwidth_bytes_per_s=facts.number("memory_bandwidth_bytes_per_s"),
        peak_flops=peaks,
        intra_node_bandwidth_bytes_per_s=facts.number("intra_node_bandwidth_bytes_per_s"),
        intra_node_latency_s=facts.number("intra_node_latency_s", zero=True),
        inter_node_bandwidth_bytes_per_s=facts.number("inter_node_bandwidth_bytes_per_s"),
        inter_node_latency_s=facts.number("inter_node_latency_s", zero=True),
        pcie_bandwidth_bytes_per_s=facts.number("pcie_bandwidth_bytes_per_s"),
        all_reduce_one_shot_s=facts.optional("all_reduce_one_shot_s"),
        all_reduce_two_shot_s=facts.optional("all_reduce_two_shot_s"),
        all_reduce_shot_bandwidth_bytes_per_s=facts.optional("all_reduce_shot_bandwidth_bytes_per_s"),
        gpus_per_node=counts["gpus_per_node"],
        gpus_per_island=counts["gpus_per_island"],
        nics_per_node=counts["nics_per_node"],
        power_w=facts.number("power_w"),
        price_usd_per_hour=facts.optional("price_usd_per_hour"),
        kernel_latency_s=facts.number("kernel_latency_s", zero=True),
        derates=Derates(**shares),
        sources=facts.sources,
        digest=_digest(file.parent),
        step_error=_step_error(facts),
    )
    facts.reject_unread()
    return profile


def _step_error(facts: "Facts") -> tuple[float, float] | None:
    if not facts.keys_of("step_error"):
        return None
    return facts.share("step_error.prefill"), facts.share("step_error.decode")


class Facts:
    """Reads a file of {value, source} entries; remembers the sources, and what nobody read.

    Raises ProfileError naming the file and the fact for whatever is unreadable, missing or impossible.
    """

    def __init__(self, file: Path) -> None:
        try:
            content = yaml.load(file.read_text(encoding="utf-8"), Loader=_Loader)
        except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
            raise ProfileError(f"{file}: not readable as YAML ({error})") from error
        if not isinstance(content, dict):
            raise ProfileError(f"{file}: must hold a mapping of facts")
        self.file, self.content = file, content
        self.sources: dict[str, str] = {}
        self.read: set[str] = set()

    def text(self, name: str) -> str:
        self.read.add(name)
        value = self.content.get(name)
        if value is None:
            raise ProfileError(f"{self.file}: {name!r} is missing")
        return str(value)

    def keys_of(self, name: str) -> list[str]:
        inner = self.content.get(name)
        return list(inner) if isinstance(inner, dict) else []

    def number(self, name: str, zero: bool = False) -> float:
        self.read.add(name)
        entry: Any = self.content
        for part in name.split("."):
            entry = entry.get(part) if isinstance(entry, dict) else None
        if not isinstance(entry, dict) or "value" not in entry or not entry.get("source"):
            raise ProfileError(f"{self.file}: fact {name!r} must be given as {{value: ..., source: ...}}")
        value = entry["value"]
        good = isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)
        if not good or value < 0 or (value == 0 and not zero):
            raise ProfileError(f"{self.file}: fact {name!r} must be a positive number, not {value!r}")
        self.sources[name] = str(entry["source"])
        return float(value)

    def optional(self, name: str) -> float | None:
        self.read.add(name)
        return self.number(name) if self.content.get(name) else None

    def count(self, name: str) -> int | None:
        value = self.optional(name)
        if value is not None and value != int(value):
            raise ProfileError(f"{self.file}: fact {name!r} must be a whole number, not {value}")
        return None if value is None else int(value)

    def share(self, name: str) -> float:
        value = self.number(name)
        if value > 1:
            raise ProfileError(f"{self.file}: fact {name!r} is a share of the peak, at most 1, not {value}")
        return value

    def reject_unread(self) -> None:
        for key, entry in self.content.items():
            grouped = isinstance(entry, dict) and "value" not in entry
            wanted = [f"{key}.{inner}" for inner in entry] if grouped else [key]
            for name in wanted:
                if name not in self.read:
                    raise ProfileError(f"{self.file}: unknown fact {name!r}; check its spelling")


def _digest(folder: Path) -> str:
    """SHA-256 over the names and contents of what decides the numbers: facts and points."""
    total = hashlib.sha256()
    for name in ("device.yaml", *_POINT_FILES):
        path = folder / name
        if path.is_file():
            total.update(name.encode() + b"\0" + path.read_bytes() + b"\0")
    return total.hexdigest()
