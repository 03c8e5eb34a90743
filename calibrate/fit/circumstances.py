"""measured_on.json: the machine that was measured, and the datasheet of its GPU."""

import json
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from calibrate.gpu.record import NAME
from sim import hardware
from sim.errors import ServecastError
from sim.hardware import Profile

_FORM_FACTORS = {"pcie", "nvl"}
_MEMORY_SHARE = 0.06
"""Drivers differ a little in how much memory they call total."""
_H100_L2_BYTES = 50 * 2**20


@dataclass(frozen=True)
class Circumstances:
    """What measured_on.json says."""

    facts: dict[str, Any]

    @property
    def device(self) -> str:
        """The GPU's (or processor's) name."""
        return str(self.facts["name"])

    @property
    def on_gpu(self) -> bool:
        """Whether a GPU was measured."""
        return str(self.facts["device"]) != "cpu"

    @property
    def date(self) -> str:
        """The day of the first run."""
        return str(self.facts["date"])

    @property
    def memory_bytes(self) -> int:
        """Total memory as torch (on a CPU: the system) reports it."""
        return int(self.facts["memory_bytes"])

    @property
    def l2_bytes(self) -> float:
        """Size of the L2 cache."""
        return float(self.facts.get("l2_bytes") or _H100_L2_BYTES)

    @property
    def clock(self) -> str:
        """The SM clock before the first and after the last run, in words; empty where nobody knows."""
        runs = self.facts.get("runs") or [{}]
        states = (runs[0].get("before") or {}, runs[-1].get("after") or {})
        clocks = [state.get("sm_clock_mhz") for state in states]
        return " to ".join(f"{clock:g} MHz" for clock in clocks if clock)

    def words(self) -> str:
        """Device, driver, torch, CUDA and date, for a source."""
        driver = f", driver {self.facts['driver']}" if self.facts.get("driver") else ""
        cuda = f", CUDA {self.facts['cuda']}" if self.on_gpu and self.facts.get("cuda") else ""
        count = self.facts.get("threads")
        threads = "" if self.on_gpu else f", {count} thread{'' if count == 1 else 's'}"
        return f"{self.device}{driver}{threads}, torch {self.facts['torch']}{cuda}, {self.date}"


def read_circumstances(folder: Path) -> Circumstances:
    """What the folder's measured_on.json says.

    Raises ServecastError naming the file if it is missing, unreadable, or lacks a fact.
    """
    file = folder / NAME
    try:
        facts = json.loads(file.read_text(encoding="utf-8"))
    except OSError:
        raise ServecastError(
            f"{file} is missing: {folder} is no folder of `servecast calibrate gpu`; measure into it first"
        ) from None
    except ValueError as error:
        raise ServecastError(f"{file}: not readable ({error}); measure again") from None
    lacking = [name for name in ("name", "device", "date", "memory_bytes", "torch") if not _has(facts, name)]
    if lacking:
        raise ServecastError(f"{file}: {lacking[0]!r} is missing; measure again")
    return Circumstances(facts)


def _has(facts: Any, name: str) -> bool:
    return isinstance(facts, dict) and facts.get(name) is not None


def datasheet_of(machine: Circumstances, like: str | None) -> Profile | None:
    """The shipped profile of the GPU that was measured, or the one that `like` names; None if there is none.

    A profile is meant if its name's numbers (h100, 4090) and form factor are in the driver's name of the GPU,
    and its memory is that of the GPU. Raises ProfileError for an unknown `like`.
    """
    if like is not None:
        return hardware.load(like)
    if not machine.on_gpu:
        return None
    words = set(re.split(r"[^a-z0-9]+", machine.device.lower()))
    for name in hardware.names():
        own = set(re.split(r"[^a-z0-9]+", name))
        models = {word for word in own if re.search(r"\d", word) and not re.fullmatch(r"\d+gb?", word)}
        if not models <= words or words & _FORM_FACTORS != own & _FORM_FACTORS:
            continue
        profile = hardware.load(name)
        if profile.provenance != "measured" and abs(profile.memory_bytes / machine.memory_bytes - 1) < _MEMORY_SHARE:
            return profile
    return None
