"""Whether a run meets its targets, in a sentence."""

from collections.abc import Mapping
from typing import Any

from sim.report.words import known, percent, tick, unfinished

ASKED = 0.99
"""Share of the requests that must meet all targets, as `size` and `capacity` ask unless told otherwise."""
_LABELS = {"ttft": "TTFT", "tpot": "TPOT", "e2el": "E2E"}


def verdict(summary: Mapping[str, Any]) -> tuple[bool, str] | None:
    """Whether at least `ASKED` of the requests meet all their targets, and how; None without targets or requests."""
    met = summary["slo_attainment"]
    if not met or met["all"] is None:
        return None
    share = met["all"]
    if share >= ASKED:
        return True, f"met by {percent(share)} of the requests"
    missed = [_missed(summary, name, met[name]) for name in _LABELS if met.get(name) is not None and met[name] < ASKED]
    lost = unfinished(summary.get("requests") or {})
    missed = [*filter(None, missed), *(f"{many} requests {how}" for many, how in lost)]
    why = f": {', '.join(missed)}" if missed else ", though enough meet each"
    return False, f"missed, {percent(share)} of the requests meet all of them and not {ASKED:.0%}{why}"


def _missed(summary: Mapping[str, Any], name: str, share: float) -> str:
    """A target that too few of those that finished meet, and what its p99 is instead; "" if that is within it."""
    target, tail = (summary["slo"] or {}).get(f"{name}_ms"), known(summary, f"p99_{name}_ms")
    p99_ms = summary[f"p99_{name}_ms"]
    if target is not None and p99_ms is not None and p99_ms <= target:
        return ""
    if target is not None and p99_ms is not None and tail[0].isdigit():
        return f"{_LABELS[name]} p99 {tail}, not {tick(target / 1e3, seconds=True)}"
    return f"{_LABELS[name]} is met by {percent(share)}"
