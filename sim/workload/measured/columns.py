"""Which column of a measured run holds what."""

from collections.abc import Mapping, Sequence
from pathlib import Path

from sim.choice import nearest
from sim.errors import OptionError, TraceError
from sim.workload.naming import ARRIVAL, OUTPUT_TOKENS, PROMPT_TOKENS, Column, Names, find, listed, named

_TIMES: dict[str, Names] = {
    "arrival": ARRIVAL,
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
_OTHERS: dict[str, Names] = {
    "prompt_tokens": PROMPT_TOKENS,
    "output_tokens": OUTPUT_TOKENS,
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


def choose(names: Sequence[str], path: Path, said: Mapping[str, str] | None = None) -> dict[str, Column]:
    """What a file's columns hold, by role, where `said` does not say it; names of no known role are left out.

    Raises TraceError when a needed role has no column, or one role has two that are equally likely.
    """
    found: dict[str, Column | None] = {}
    for role, name in (said or {}).items():
        if role not in (*_TIMES, *_OTHERS):
            raise TraceError(f"columns: {role!r} is nothing that is measured{nearest(role, (*_TIMES, *_OTHERS))}")
        found[role] = named(role, name, names, path, is_time=role in _TIMES)
    for role, groups in {**_TIMES, **_OTHERS}.items():
        if role not in found:
            found[role] = find(role, groups, names, path, is_time=role in _TIMES)
    for role, wanted in _REQUIRED.items():
        if all(found[name] is None for name in (role, *_INSTEAD.get(role, ()))):
            told = f"{path}: no column tells {wanted} (found: {listed(names)})"
            if role in _INSTEAD:
                raise TraceError(f"{told}; as traffic alone, without latencies, it is a trace: {as_trace(path)}")
            raise OptionError(told, {"columns": f"{{{role}: NAME}}"})
    return {role: column for role, column in found.items() if column is not None}


def tells_latencies(names: Sequence[str]) -> bool:
    """Whether a file with these columns can be compared with."""
    try:
        return bool(choose(names, Path()))
    except TraceError:
        return False


def as_trace(path: Path) -> str:
    """What to write where a file without latencies is meant as traffic alone."""
    kind = "jsonl" if path.name.removesuffix(".gz").endswith((".jsonl", ".json", ".ndjson")) else "csv"
    return f"`trace: {{{kind}: {{path: {path.name}}}}}`"
