"""Whether the runs behind an answer can be believed, each doubt told once with the runs that it is about."""

from collections.abc import Mapping
from typing import Any

_MOST_NAMES = 3


def doubts(summaries: Mapping[str, Mapping[str, Any]]) -> list[str]:
    """A sentence for each reason to doubt some of these runs (summaries by name), the gravest first."""
    about: dict[str, list[str]] = {}
    graver: set[str] = set()
    for name, summary in summaries.items():
        found = summary["validity"]
        for why in found["why"]:
            reason = general(why)
            about.setdefault(reason, []).append(name)
            if found["believe"] == "no":
                graver.add(reason)
    ordered = sorted(about, key=lambda reason: reason not in graver)
    return [f"believe with care{of_runs(about[reason], len(summaries))}: {reason}" for reason in ordered]


def general(why: str) -> str:
    """A reason without the figures that differ from run to run."""
    if "is that of few bursts" in why:
        return "its p99 is that of few bursts; simulate longer"
    if "too few for a p99" in why:
        return "too few requests for a p99"
    if "lies outside the profile's measured range" in why:
        return "part of its busy time lies outside the profile's measured range"
    if why.startswith("step times are not measured (datasheet "):
        return "step times are not measured but computed from datasheets"
    return why


def of_runs(names: list[str], all_of_them: int) -> str:
    """Which runs a reason is about, in brackets; nothing if all."""
    if len(names) == all_of_them:
        return ""
    shown = ", ".join(names[:_MOST_NAMES])
    return f" ({shown}{f' and {len(names) - _MOST_NAMES} more' if len(names) > _MOST_NAMES else ''})"
