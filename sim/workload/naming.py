"""Which column of a file holds what: the usual names, and the unit at a name's end."""

import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple, TypeAlias

from sim.choice import nearest
from sim.errors import OptionError, TraceError

Names: TypeAlias = tuple[tuple[str, ...], ...]
"""Groups of names; a later group counts only where no earlier one is there."""

ARRIVAL: Names = (
    ("arrival", "arrivals", "arrival_time", "arrival_timestamp", "arrived", "arrived_at"),
    (
        "start", "start_time", "start_ts", "started_at", "send_time", "sent", "sent_at", "request_time", "submit_time",
        "received_at", "requested_at", "request_timestamp", "request_start_time", "created", "created_at",
        "request_created_at",
    ),
    ("timestamp", "time", "ts", "datetime", "date_time", "event_time", "log_time"),
)  # fmt: skip
PROMPT_TOKENS: Names = (
    ("prompt_tokens", "input_tokens", "prompt_len", "input_len", "prompt_length", "input_length", "prompt_toks"),
    (
        "num_prompt_tokens", "num_input_tokens", "context_tokens", "input_toks", "request_tokens", "num_prefill_tokens",
        "prefill_tokens", "prompt_token_count", "input_token_count", "tokens_prompt", "tokens_in", "isl",
        "usage_prompt_tokens", "usage_input_tokens", "num_tokens_prompt",
    ),
)  # fmt: skip
OUTPUT_TOKENS: Names = (
    ("output_tokens", "output_len", "output_length"),
    (
        "num_output_tokens", "completion_tokens", "completion_toks", "generated_tokens", "output_toks",
        "response_tokens", "num_completion_tokens", "num_generated_tokens", "num_decode_tokens", "decode_tokens",
        "completion_token_count", "output_token_count", "candidates_token_count", "completion_len",
        "completion_length", "tokens_completion", "tokens_out", "osl", "usage_completion_tokens",
        "usage_output_tokens", "num_tokens_completion",
    ),
)  # fmt: skip
PLAIN: dict[str, Names] = {"arrival": ARRIVAL, "prompt_tokens": PROMPT_TOKENS, "output_tokens": OUTPUT_TOKENS}
"""What every trace must tell."""

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


def find(role: str, groups: Names, names: Sequence[str], path: Path, *, is_time: bool) -> Column | None:
    """The column that holds what a role stands for, None where none does; one that is called as the role comes first.

    Raises OptionError, with the candidates, where two are equally likely.
    """
    for name in (f"{role}_s", role) if is_time else (role,):
        if name in names:
            return _as(name, (role,), is_time)
    for group in groups:
        fitting = [column for name in names if (column := _as(name, group, is_time)) is not None]
        if len(fitting) > 1:
            both = " and ".join(repr(column.name) for column in fitting[:2])
            told = f"{path}: the columns {both} may both be the {role}"
            raise OptionError(told, {"columns": f"{{{role}: {fitting[0].name}}}"}, "remove or rename one")
        if fitting:
            return fitting[0]
    return None


def named(role: str, name: str, names: Sequence[str], path: Path, *, is_time: bool) -> Column:
    """The column that `columns:` names for a role. Raises TraceError where the file has none of that name."""
    if name not in names:
        raise TraceError(f"{path}: columns: {role}: there is no column {name!r}{nearest(name, names)}")
    if not is_time:
        return Column(name)
    _, _, unit = _plain(name).rpartition("_")
    return Column(name, _PER_SECOND.get(unit, 1.0), says_unit=unit in _PER_SECOND)


def plain_columns(names: Sequence[str], said: Mapping[str, str], path: Path) -> dict[str, Column]:
    """The columns of a plain trace by role, those that `said` names, and those that are known by their usual names.

    Raises OptionError for a role that no column, or more than one, is known to hold.
    """
    found = {role: named(role, name, names, path, is_time=role == "arrival") for role, name in said.items()}
    missing = []
    for role, groups in PLAIN.items():
        if role in found:
            continue
        if (column := find(role, groups, names, path, is_time=role == "arrival")) is None:
            missing.append(role)
        else:
            found[role] = column
    if missing:
        roles = " or the ".join(missing)
        written = ", ".join(f"{role}: NAME" for role in missing)
        told = f"{path}: no column is known to be the {roles} (found {listed(names)})"
        raise OptionError(told, {"columns": f"{{{written}}}"})
    return found


def listed(names: Sequence[str]) -> str:
    """The names that a file gives its columns, for an error; not all of very many."""
    words = [" ".join(name.split())[:40] for name in dict.fromkeys(names)]
    return ", ".join([*words[:12], *(["..."] if len(words) > 12 else [])]).strip() or "no names"


def _as(name: str, group: tuple[str, ...], is_time: bool) -> Column | None:
    """The column `name`, if it is called as one of the group, with a unit or without."""
    plain = _plain(name)
    if plain in group:
        return Column(name, says_unit=not is_time)
    stem, _, unit = plain.rpartition("_")
    if is_time and stem in group and unit in _PER_SECOND:
        return Column(name, _PER_SECOND[unit])
    return None


def _plain(name: str) -> str:
    """A name in lower case, its words apart by one underscore."""
    return _APART.sub("_", _CAMEL.sub("_", name.strip()).lower().replace("µ", "u").replace("μ", "u")).strip("_")
