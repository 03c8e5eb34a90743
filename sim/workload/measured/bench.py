"""The detailed result of `vllm bench serve`, which SGLang's `bench_serving` writes alike.

Lists with one entry per request, in the order in which they were made up: input_lens, output_lens (0 when the
request failed), ttfts, itls (a list of gaps per request), start_times (of the client's own clock), errors, all in
tokens and seconds. The end is not written; it is TTFT plus all gaps.
"""

import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from sim.errors import TraceError

_LISTS = ("input_lens", "output_lens", "ttfts", "itls")
_SUMMARY = ("mean_ttft_ms", "request_throughput", "total_input_tokens")
_AGAIN = "run `vllm bench serve` with --save-result --save-detailed"


def is_bench(data: Any) -> bool:
    """Whether an object is such a result, detailed or not."""
    return isinstance(data, Mapping) and any(key in data for key in (*_LISTS, *_SUMMARY))


def bench_columns(data: Mapping[str, Any], path: Path) -> dict[str, list[Any]]:
    """The lists as columns: arrival_s, prompt_tokens, output_tokens, ttft_s, e2e_s, itl_s, failed.

    A request that failed after its first token counts the tokens that came. Raises TraceError for a result
    without details, or one that does not tell when requests were sent.
    """
    for name in _LISTS:
        if not isinstance(data.get(name), list):
            raise TraceError(f"{path} has no list {name!r}, so it tells nothing of single requests; {_AGAIN}")
    count = len(data["input_lens"])
    starts, errors = _starts(data, path, count), data.get("errors") or [""] * count
    lists = {**{name: data[name] for name in _LISTS}, "start_times": starts, "errors": errors}
    for name, values in lists.items():
        if not isinstance(values, list) or len(values) != count:
            entries = len(values) if isinstance(values, list) else "no"
            raise TraceError(f"{path}: {name} has {entries} entries, input_lens has {count}; {_AGAIN}")
    failed = [bool(e) or not o for e, o in zip(errors, data["output_lens"], strict=True)]
    rows = list(zip(failed, data["output_lens"], data["ttfts"], data["itls"], strict=True))
    return {
        "arrival_s": starts,
        "prompt_tokens": data["input_lens"],
        "output_tokens": [_came(ttft, itl) if bad else out for bad, out, ttft, itl in rows],
        "ttft_s": data["ttfts"],
        "e2e_s": [_end(ttft, itl) for _, _, ttft, itl in rows],
        "itl_s": data["itls"],
        "failed": failed,
    }


def bench_notes(data: Mapping[str, Any]) -> list[str]:
    """What the result's settings mean for a comparison."""
    limit = data.get("max_concurrency")
    if not isinstance(limit, int) or isinstance(limit, bool):
        return []
    return [
        f"the client held at most {limit} requests open, so the measured arrivals waited for the real server; "
        "they are replayed as they were, and do not wait for the simulated one"
    ]


def _starts(data: Mapping[str, Any], path: Path, count: int) -> Any:
    if "start_times" in data:
        return data["start_times"]
    if data.get("request_rate") in ("inf", math.inf) and data.get("max_concurrency", 0) is None:
        return [0.0] * count  # all were sent at once
    raise TraceError(
        f"{path} has no list 'start_times', so nobody can know when its requests were sent: {_AGAIN} of a "
        "version that writes it, or add it (seconds, one entry per request)"
    )


def _came(ttft: Any, itl: Any) -> int:
    """Tokens that a failed request got before it failed."""
    return 1 + len(itl) if _positive(ttft) and isinstance(itl, list) else 0


def _end(ttft: Any, itl: Any) -> Any:
    try:
        return ttft + math.fsum(itl)
    except TypeError:
        return None


def _positive(value: Any) -> bool:
    return isinstance(value, int | float) and value > 0
