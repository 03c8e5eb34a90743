"""What is validated: profile, model, device, engine settings, and how long requests are."""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd
import torch

from calibrate.gpu import device as machine
from calibrate.measuring import TINY
from calibrate.validation.workloads import KINDS
from sim import hardware, models
from sim.choice import nearest
from sim.errors import ServecastError
from sim.models import Model


@dataclass(frozen=True)
class Sizes:
    """What fits a device: requests and tokens of the largest step, the unit of `workloads.Kind`, and seconds."""

    model: str
    max_num_seqs: int
    max_num_batched_tokens: int
    unit_tokens: int
    seconds: float


_SIZES = {
    "cuda": Sizes("llama-3.1-8b", 128, 2048, 512, 30.0),
    "cpu": Sizes("tiny", 16, 128, 48, 3.0),
}
_LONGEST_UNITS = 25
"""Tokens of the longest request of all workloads, in units."""


@dataclass(frozen=True)
class Settings:
    """One validation. seconds: how long requests keep arriving, in each workload."""

    profile: hardware.Profile
    model: Model
    model_path: str
    device: torch.device
    workloads: tuple[str, ...]
    seconds: float
    seed: int
    sizes: Sizes
    threads: int | None
    """As many as the CPU was measured with; None on a GPU."""

    @property
    def on_cuda(self) -> bool:
        """Whether the device is a GPU."""
        return self.device.type == "cuda"

    @property
    def prefill_tile(self) -> int:
        """The variant of the prefill kernel that the profile's curves are mostly made of."""
        assert self.profile.points_file is not None
        table = pd.read_csv(self.profile.points_file)
        kernels = table.loc[table["op"] == "attention_prefill", "kernel"]
        return 128 if (kernels == "triton_paged_n128").mean() > 0.5 else 64

    @property
    def unit_tokens(self) -> int:
        """The unit of the workloads' lengths, less where the model takes no longer requests."""
        return min(self.sizes.unit_tokens, self.model.max_position // _LONGEST_UNITS)

    @property
    def graph_sizes(self) -> tuple[int, ...]:
        """Batch sizes with a CUDA graph: 1, 2, 4, and every eighth up to the largest batch."""
        most = self.sizes.max_num_seqs
        return tuple(sorted({1, 2, 4, most, *range(8, most, 8)})) if self.on_cuda else ()

    def scenario(self, name: str, workload: dict[str, Any], engine: dict[str, Any]) -> dict[str, Any]:
        """A scenario of these settings, as the simulator reads it; `engine` adds to its engine section."""
        return {
            "name": name,
            "seed": self.seed,
            "model": self.model_path,
            "workload": workload,
            "cluster": {"gpu": str(self.profile.folder)},
            "engine": {
                "preset": "reference",
                "max_num_seqs": self.sizes.max_num_seqs,
                "max_num_batched_tokens": self.sizes.max_num_batched_tokens,
                "cudagraph_capture_sizes": list(self.graph_sizes),
                **engine,
            },
        }


def make_settings(
    profile: Path,
    model: str | None,
    device: str | None,
    workloads: list[str] | None,
    seconds: float | None,
    seed: int,
) -> Settings:
    """What the command line left open, filled in.

    Raises ServecastError for a device that is not there or not the one that was measured, an unknown workload
    or a time that is not positive; ProfileError and ModelError for what cannot be loaded.
    """
    chosen = _device(device)
    loaded = hardware.load(profile.resolve())
    threads = _check_device(loaded, chosen)
    sizes = _SIZES[chosen.type]
    path = model or sizes.model
    path = str(TINY) if path == "tiny" else path
    known = models.load(path)
    for name in workloads or ():
        if name not in KINDS:
            raise ServecastError(f"--workloads: there is no workload {name!r}{nearest(name, KINDS)}")
    if seconds is not None and not 0 < seconds < float("inf"):
        raise ServecastError(f"--seconds must be more than 0, not {seconds:g}")
    return Settings(
        profile=loaded,
        model=known,
        model_path=path if path in models.builtin_names() else str(Path(path).resolve()),
        device=chosen,
        workloads=tuple(workloads or KINDS),
        seconds=seconds or sizes.seconds,
        seed=seed,
        sizes=sizes,
        threads=threads,
    )


def _device(name: str | None) -> torch.device:
    there = torch.cuda.is_available()
    if name is None:
        name = "cuda" if there else "cpu"
    if name not in _SIZES:
        raise ServecastError(f"--device must be cuda or cpu, not {name!r}")
    if name == "cuda" and not there:
        raise ServecastError("--device cuda: torch sees no CUDA GPU here; use --device cpu, or run on a GPU")
    return torch.device(name)


def _check_device(profile: hardware.Profile, chosen: torch.device) -> int | None:
    """See that the profile was measured, and on such a device; returns the threads that it was measured with."""
    file = profile.folder / "measured_on.json"
    if profile.points_file is None or not file.is_file():
        raise ServecastError(
            f"{profile.folder}: not a profile measured by `servecast calibrate gpu` (measured_on.json and points are "
            "missing); only such a one can be validated on this machine"
        )
    try:
        measured_on = dict(json.loads(file.read_text(encoding="utf-8")))
    except (OSError, ValueError, TypeError) as error:
        raise ServecastError(f"{file}: cannot be read ({error}); measure again") from None
    here = machine.facts(chosen)
    for fact in ("device", "name"):
        if measured_on.get(fact) != here[fact]:
            raise ServecastError(
                f"{file}: the profile was measured on {fact} {measured_on.get(fact)!r}, and this is {here[fact]!r}; "
                "choose --device, or measure this machine with `servecast calibrate gpu`"
            )
    threads = measured_on.get("threads")
    return threads if isinstance(threads, int) else None
