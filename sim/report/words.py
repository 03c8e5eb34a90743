"""Numbers as people read them: three digits and a unit."""

import math
import re
from collections.abc import Mapping
from typing import Any

_TRAILING_ZEROS = re.compile(r"(?:(\.\d*?[1-9])|\.)0+(?=\D|$)")


def number(value: float | None) -> str:
    """12345 -> "12.3k", 0.0123 -> "0.0123", None -> "-"; three digits, or four for thousands."""
    if value is None or not math.isfinite(value):
        return "-"
    for size, suffix in ((1e12, "T"), (1e9, "G"), (1e6, "M"), (1e4, "k")):
        if abs(value) >= size * 0.9995:
            unit = 1e3 if suffix == "k" else size
            return f"{_three(value / unit)}{suffix}"
    return _three(value)


def tick(value: float, seconds: bool = False) -> str:
    """As `number` or `duration`, without zeros after the point: for axes. No odd seconds beside minutes: 1,000 s."""
    if seconds and value >= 600 and value % 60:
        return f"{value:,.0f} s"
    text = duration(value) if seconds else number(value)
    return _TRAILING_ZEROS.sub(r"\1", text)


def count(value: int | None) -> str:
    """Whole numbers in full with thousands separated: 12345 -> "12,345"."""
    return "-" if value is None else f"{value:,}"


def plural(many: int, noun: str) -> str:
    """1, "seed" -> "1 seed"; 1200, "run" -> "1,200 runs"."""
    return f"{many:,} {noun}{'s' * (many != 1)}"


def duration(seconds: float | None) -> str:
    """0.0123 -> "12.3 ms", 75 -> "75 s", 3725 -> "1 h 02 min"."""
    if seconds is None or not math.isfinite(seconds):
        return "-"
    if seconds >= 3600:
        hours, minutes = divmod(round(seconds / 60), 60)
        return f"{hours:,} h {minutes:02d} min"
    if seconds >= 600:
        minutes, rest = divmod(round(seconds), 60)
        return f"{minutes} min {rest:02d} s"
    if seconds >= 0.9995 or seconds == 0:
        return f"{_three(seconds)} s"
    return f"{_three(seconds * 1e3)} ms" if seconds >= 0.9995e-3 else f"{_three(seconds * 1e6)} µs"


def milliseconds(value: float | None) -> str:
    """A time given in ms, as `duration`."""
    return "-" if value is None else duration(value / 1e3)


def known(summary: Mapping[str, Any], name: str) -> str:
    """A latency of the summary; a percentile that too few requests stand behind is said, not printed."""
    statistic = name.partition("_")[0]
    return "too few" if statistic in summary["validity"]["too_few_for"] else milliseconds(summary[name])


def unfinished(counts: Mapping[str, int]) -> list[tuple[str, str]]:
    """Of the requests' counts by status those that did not finish, where there are any: how many, and what they are."""
    names = ("rejected", "refused", "cancelled", "timed_out", "failed", "unfinished")
    return [(count(counts[name]), name.replace("_", " ")) for name in names if counts.get(name)]


def percent(share: float | None) -> str:
    """0.1234 -> "12.3%"; tiny but not zero -> "<0.1%"."""
    if share is None or not math.isfinite(share):
        return "-"
    return "<0.1%" if 0 < share < 0.0005 else f"{share * 100:.1f}%"


def error(share: float) -> str:
    """0.0123 -> "+1.2%"; never "-0.0%"."""
    return f"{round(share * 100, 1) + 0.0:+.1f}%"


def changed(share: float) -> str:
    """0.0123 -> "+1.2%"; what has become ten times as much or more is told as such: 54.2 -> "55.2x"."""
    return f"{share:+.1%}" if share < 9 else f"{number(share + 1)}x"


def money(usd: float | None) -> str:
    """0.1234 -> "$0.123", 12.3 -> "$12.30"."""
    if usd is None:
        return "-"
    return f"${usd:,.2f}" if usd >= 1 else f"${usd:.3g}"


def _three(value: float) -> str:
    if value == 0:
        return "0"
    if abs(value) >= 999.5:
        return f"{value:,.0f}"
    value = float(f"{value:.2e}")  # so that 9.996 takes the digits of 10.0
    digits = max(0, 2 - math.floor(math.log10(abs(value)) + 1e-9))
    return f"{value:,.{digits}f}"


def nothing_measured(summary: Mapping[str, Any]) -> str:
    """What to say first of a run whose statistics are empty; nothing for any other."""
    counts = summary["requests"]
    if summary["completed"]:
        return ""
    if counts["finished"]:
        return f"NOTHING MEASURED: {counts['finished']:,} requests finished, all outside `measure`'s window"
    return f"NOTHING RAN: of {counts['total']:,} requests {counts['rejected']:,} were rejected, none finished"
