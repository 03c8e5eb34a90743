"""Which column of a file holds what: the usual names, and the unit at a name's end."""

import re
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from sim.errors import TraceError

_Names = tuple[tuple[str, ...], ...]  # groups of names; a later group counts only where no earlier one is there

_TIMES: dict[str, _Names] = {
    "arrival": (
        ("arrival", "arrivals", "arrival_time", "arrival_timestamp", "arrived", "arrived_at"),
        ("start", "start_time", "send_time", "sent", "sent_at", "request_time", "submit_time"),
        ("timestamp", "time"),
    ),
    "ttft": (("ttft", "time_to_first_token"), ("first_token_latency",)),
    "e2e": (
        ("e2e", "e2el", "e2e_latency", "e2el_latency", "end_to_end", "end_to_end_latency"),
        ("latency", "request_latency", "total_latency", "response_time"),
    ),
    "itl": (("itl", "itls", "inter_token_latency", "inter_token_latencies"),),
    "tpot": (("tpot", "time_per_output_token"),),
    "queued_at": (("queued_at", "queued_ts", "queued_time"),),
    "first_token_at": (("first_token_at", "first_token_ts", "first_token_time", "first_token_timestamp"),),
    "finish_at": (
        ("finish_at", "finished_at", "finish_time", "finish_ts"),
        ("last_token_at", "last_token_ts", "last_token_time"),
        ("end", "end_time", "ended_at", "completed_at", "completion_time"),
    ),
}
_OTHERS: dict[str, _Names] = {
    "prompt_tokens": (
        ("prompt_tokens", "input_tokens", "prompt_len", "input_len", "prompt_length", "input_length"),
        ("num_prompt_tokens", "num_input_tokens", "context_tokens", "input_toks"),
    ),
    "output_tokens": (
        ("output_tokens", "output_len", "output_length"),
        ("num_output_tokens", "completion_tokens", "generated_tokens", "output_toks"),
    ),
    "prompt_id": (("prompt_id",),),
    "prefix_group": (("prefix_group",),),
    "prefix_tokens": (("prefix_tokens",),),
    "priority": (("priority",),),
    "stage": (("stage",),),
    "failed": (("failed", "is_failed"),),
    "success": (("success", "succeeded", "is_success", "ok"),),
    "error": (("error", "errors"),),
}
_REQUIRED = {
    "arrival": "when a request was sent; name one arrival_s, arrival_ms or arrival_us",
    "prompt_tokens": "the length of the prompt; name one prompt_tokens",
    "output_tokens": "the length of the answer; name one output_tokens",
    "ttft": "the time to the first token; name one ttft_s, ttft_ms or ttft_us",
    "e2e": "the time to the last token; name one e2e_s, e2e_ms or e2e_us",
}
_INSTEAD = {"ttft": ("first_token_at",), "e2e": ("finish_at", "tpot")}
"""Other columns from which a needed one follows."""
_PER_SECOND = {
    **dict.fromkeys(("s", "sec", "secs", "second", "seconds"), 1.0),
    **dict.fromkeys(("ms", "msec", "millis", "millisecond", "milliseconds"), 1e3),
    **dict.fromkeys(("us", "usec", "micros", "microsecond", "microseconds"), 1e6),
    **dict.fromkeys(("ns", "nsec", "nanos", "nanosecond", "nanoseconds"), 1e9),
}
_CAMEL = re.compile(r"(?<=[a-z])(?=[A-Z])")
_APART = re.compile(r"[^0-9a-z]+")


class Column(NamedTuple):
    """A column as the file names it, how many of its units make a second (1 for no time), and if it said so."""

    name: str
    per_second: float = 1.0
    says_unit: bool = True


def choose(names: Sequence[str], path: Path) -> dict[str, Column]:
    """What a file's columns hold, by role; names of no known role are left out.

    Raises TraceError when a needed role has no column, or one role has two that are equally likely.
    """
    found = {role: _find(role, groups, names, path, True) for role, groups in _TIMES.items()}
    found |= {role: _find(role, groups, names, path, False) for role, groups in _OTHERS.items()}
    for role, wanted in _REQUIRED.items():
        if all(found[name] is None for name in (role, *_INSTEAD.get(role, ()))):
            raise TraceError(f"{path}: no column tells {wanted} (found: {', '.join(names) or 'none'})")
    return {role: column for role, column in found.items() if column is not None}


def _find(role: str, groups: _Names, names: Sequence[str], path: Path, is_time: bool) -> Column | None:
    for group in groups:
        fitting = [column for name in names if (column := _as(name, group, is_time)) is not None]
        if len(fitting) > 1:
            both = " and ".join(repr(column.name) for column in fitting[:2])
            raise TraceError(f"{path}: the columns {both} may both be the {role}; remove or rename one")
        if fitting:
            return fitting[0]
    return None


def _as(name: str, group: tuple[str, ...], is_time: bool) -> Column | None:
    """The column `name`, if it is called as one of the group, with a unit or without."""
    plain = _APART.sub("_", _CAMEL.sub("_", name.strip()).lower().replace("µ", "u").replace("μ", "u")).strip("_")
    if plain in group:
        return Column(name, says_unit=not is_time)
    stem, _, unit = plain.rpartition("_")
    if is_time and stem in group and unit in _PER_SECOND:
        return Column(name, _PER_SECOND[unit])
    return None
