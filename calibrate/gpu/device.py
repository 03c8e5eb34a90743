"""The machine under measurement: what it is, and in what state its GPU was before, meanwhile and after."""

import csv
import os
import platform
import shutil
import subprocess
from dataclasses import dataclass, field
from typing import Any

import torch

_QUERY_S = 10.0
_FIELDS = (
    "name", "driver_version", "clocks.sm", "clocks.mem", "clocks.max.sm", "clocks.max.mem", "temperature.gpu",
    "power.draw", "power.limit", "utilization.gpu",
)  # fmt: skip
_REASONS_FIELDS = ("clocks_event_reasons.active", "clocks_throttle_reasons.active")
"""The newer and the older name of the same bit mask."""
_REASONS = {  # nvml.h, nvmlClocksEventReasons
    0x4: "sw_power_cap",
    0x8: "hw_slowdown",
    0x20: "sw_thermal_slowdown",
    0x40: "hw_thermal_slowdown",
    0x80: "hw_power_brake_slowdown",
}
_POWER_CAP = "sw_power_cap"
_CAPPED_SHARE = 0.25
_UNITS = {
    "clocks.sm": "sm_clock_mhz",
    "clocks.mem": "memory_clock_mhz",
    "clocks.max.sm": "max_sm_clock_mhz",
    "clocks.max.mem": "max_memory_clock_mhz",
    "temperature.gpu": "temperature_c",
    "power.draw": "power_w",
    "power.limit": "power_limit_w",
    "utilization.gpu": "utilization_percent",
}


@dataclass
class Watch:
    """Looks at the GPU's clocks from time to time; null wherever nvidia-smi does not say."""

    device: torch.device
    before: dict[str, Any] | None = None
    after: dict[str, Any] | None = None
    reasons: dict[str, int] = field(default_factory=dict)
    """Why clocks were held down -> in how many looks"""
    looks: int = 0

    def look(self) -> dict[str, Any] | None:
        """Note the state of the moment."""
        state = query(self.device)
        if state is not None:
            self.looks += 1
            for reason in state["slowed_by"] or ():
                self.reasons[reason] = self.reasons.get(reason, 0) + 1
        return state

    def throttled(self) -> str | None:
        """Why the run must be called throttled, if it must: heat or hardware at any time, power often."""
        hard = sorted(reason for reason in self.reasons if reason != _POWER_CAP)
        if hard:
            return f"the GPU slowed down for {', '.join(hard)}"
        capped = self.reasons.get(_POWER_CAP, 0)
        if self.looks and capped > _CAPPED_SHARE * self.looks:
            return f"the power limit held the clocks down in {capped} of {self.looks} looks"
        return None


def query(device: torch.device) -> dict[str, Any] | None:
    """The GPU's state as nvidia-smi tells it; None where there is no GPU or no nvidia-smi."""
    if device.type != "cuda" or shutil.which("nvidia-smi") is None:
        return None
    for reasons in _REASONS_FIELDS:
        row = _smi((*_FIELDS, reasons), device)
        if row is not None:
            state: dict[str, Any] = {"name": row[0], "driver": row[1]}
            state |= {_UNITS[name]: _number(cell) for name, cell in zip(_FIELDS[2:], row[2:-1], strict=True)}
            state["slowed_by"] = _slowed_by(row[-1])
            return state
    return None


def facts(device: torch.device) -> dict[str, Any]:
    """What does not change while it is measured: names, versions, sizes (bytes)."""
    found: dict[str, Any] = {
        "device": device.type,
        "python": platform.python_version(),
        "torch": torch.__version__,
        "triton": _triton_version(),
        "cuda": torch.version.cuda,
        "platform": platform.platform(),
        "processor": _processor(),
    }
    if device.type != "cuda":
        memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
        threads = torch.get_num_threads()
        return {**found, "name": _processor(), "gpus": 0, "memory_bytes": memory, "threads": threads}
    properties = torch.cuda.get_device_properties(device)
    major, minor = torch.cuda.get_device_capability(device)
    return {
        **found,
        "name": properties.name,
        "gpus": torch.cuda.device_count(),
        "capability": f"{major}.{minor}",
        "memory_bytes": properties.total_memory,
        "multiprocessors": properties.multi_processor_count,
        "l2_bytes": l2_bytes(device),
        "cudnn": torch.backends.cudnn.version(),
    }


def l2_bytes(device: torch.device) -> int:
    """Size of the L2 cache; that of an H100 where torch does not say."""
    size = getattr(torch.cuda.get_device_properties(device), "L2_cache_size", 0)
    return int(size) or 50 * 2**20


def _smi(fields: tuple[str, ...], device: torch.device) -> list[str] | None:
    command = ["nvidia-smi", f"--query-gpu={','.join(fields)}", "--format=csv,noheader,nounits"]
    uuid = str(getattr(torch.cuda.get_device_properties(device), "uuid", ""))
    if uuid:
        command.append(f"--id={uuid if uuid.startswith('GPU-') else 'GPU-' + uuid}")
    elif torch.cuda.device_count() > 1:
        return None  # which of them is ours is not known
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=_QUERY_S, check=False)
    except (OSError, subprocess.TimeoutExpired):
        return None
    rows = list(csv.reader(done.stdout.splitlines(), skipinitialspace=True))
    good = done.returncode == 0 and len(rows) == 1 and len(rows[0]) == len(fields)
    return rows[0] if good else None


def _slowed_by(mask: str) -> list[str] | None:
    try:
        bits = int(mask, 16)
    except ValueError:
        return None
    return [reason for bit, reason in _REASONS.items() if bits & bit]


def _number(cell: str) -> float | None:
    try:
        return float(cell)
    except ValueError:  # "[N/A]"
        return None


def _triton_version() -> str | None:
    try:
        import triton
    except ImportError:
        return None
    return str(triton.__version__)


def _processor() -> str:
    """The host processor's name."""
    try:
        with open("/proc/cpuinfo", encoding="utf-8") as lines:
            return next(line.split(":", 1)[1].strip() for line in lines if line.startswith("model name"))
    except (OSError, StopIteration):
        return platform.processor() or platform.machine()
