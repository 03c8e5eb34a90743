"""Arrival times of any kind as seconds: numbers on any clock, seconds or milliseconds since 1970, and dates."""

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any, Literal, NamedTuple, Protocol

import numpy as np
import pandas as pd

from sim.errors import TraceError
from sim.workload.naming import Column
from sim.workload.problems import Problem, blank
from sim.workload.rows import Rows
from sim.workload.table import Bools, Floats

MAX_ARRIVAL_S = 366 * 86400.0
"""A later arrival is taken for a mistake of unit or origin (milliseconds, or seconds since 1970)."""

_SINCE_1970 = 1e8
"""Seconds on any other clock are taken to be fewer (three years), on this one they have been more since 1973."""
_WRONG_UNIT = 1e11
"""Seconds since 1970 are fewer (until the year 5138), milliseconds more (since 1973)."""
_EARLIEST, _LATEST = pd.Timestamp("1700-01-01", tz="UTC"), pd.Timestamp("2250-01-01", tz="UTC")
_NO_TIME = np.iinfo(np.int64).min  # pandas' NaT
_ACCESS_LOG = "%d/%b/%Y:%H:%M:%S %z"  # as Apache and nginx write it
_UTC = ("Z", "z", "UTC", "GMT")
_FAR = "over a year from the others"
_BAD_TIME = "no time: neither a number of seconds nor a date such as 2024-05-01T12:00:00Z"


class Times(NamedTuple):
    """Times of a block in seconds, NaN where there is none, and what is wrong with these."""

    seconds: Floats
    problems: list[Problem]


class Clock(Protocol):
    """Reads the arrival times of one file, block by block."""

    shifts: bool
    """Whether the first arrival is at 0 whatever the file says."""

    def read(self, rows: Rows, values: Any) -> Times:
        """The times of a block's column."""
        ...

    def notes(self) -> Iterator[str]:
        """How the times were understood."""
        ...


@dataclass
class PlainSeconds:
    """Numbers of `unit_s` seconds since the trace's beginning, as a format has them."""

    column: str
    bad_time: str = "not a number of seconds"
    unit_s: float = 1.0
    shifts: bool = False

    def read(self, rows: Rows, values: Any) -> Times:
        seconds = rows.numbers(values) * self.unit_s
        return Times(seconds, list(_number_problems(self.column, seconds, rows, values, self.bad_time)))

    def notes(self) -> Iterator[str]:
        return iter(())


def _number_problems(column: str, seconds: Floats, rows: Rows, values: Any, bad_time: str) -> Iterator[Problem]:
    odd = ~np.isfinite(seconds)
    yield from _blanks(column, odd, rows, values, bad_time)
    yield Problem(column, odd, bad_time)
    yield Problem(column, seconds < 0, "negative; times start at 0")
    late = ~odd & (seconds > MAX_ARRIVAL_S)
    yield Problem(column, late, "over a year after 0; give seconds since the trace began")


def _blanks(column: str, odd: Bools, rows: Rows, values: Any, what: str) -> Iterator[Problem]:
    if odd.any():
        yield Problem(column, odd & blank(rows.values(values)), what, "with a blank")


@dataclass
class AnyTimes:
    """Numbers or dates, whichever most of the first block are.

    A plain `arrival_s` counts from the trace's beginning and stays as it is, unless it counts from 1970. Everything
    else counts from the first arrival. Dates are exact to the nanosecond before the one division.
    """

    column: str
    source: Column
    shifts: bool = True
    kind: Literal["", "numbers", "dates"] = ""
    per_second: float = 1.0
    zoned: bool = False
    middle: float = 0.0
    first: float = 0.0
    first_ns: int = 0
    told: list[str] = field(default_factory=list)

    def read(self, rows: Rows, values: Any) -> Times:
        if not self.kind:
            self._understand(rows, values)
        if self.kind == "dates":
            return self._dates(rows, values)
        if not self.kind:
            odd = np.ones(len(rows.values(values)), dtype=bool)
            problems = [*_blanks(self.column, odd, rows, values, _BAD_TIME), Problem(self.column, odd, _BAD_TIME)]
            return Times(np.full(len(odd), np.nan), problems)
        counts = rows.numbers(values)
        if not self.shifts:
            seconds = counts / self.per_second
            return Times(seconds, list(_number_problems(self.column, seconds, rows, values, _BAD_TIME)))
        odd, far = ~np.isfinite(counts), np.abs(counts - self.middle) > MAX_ARRIVAL_S * self.per_second
        problems = [*_blanks(self.column, odd, rows, values, _BAD_TIME), Problem(self.column, odd, _BAD_TIME)]
        problems.append(Problem(self.column, ~odd & far, _FAR))
        return Times(np.where(far, np.nan, (counts - self.first) / self.per_second), problems)

    def notes(self) -> Iterator[str]:
        return iter(self.told)

    def _understand(self, rows: Rows, values: Any) -> None:
        """Numbers or dates, in which unit, from when on."""
        numbers = rows.numbers(values)
        finite = numbers[np.isfinite(numbers)]
        given = ~blank(rows.values(values))
        if len(finite) * 2 < given.sum():
            self._understand_dates(rows, values)
            return
        if len(finite) == 0:
            return
        self.kind, self.per_second, self.middle = "numbers", self.source.per_second, float(np.median(finite))
        since_1970 = self.middle >= _SINCE_1970 * self.per_second
        if self.middle >= _WRONG_UNIT * self.per_second:
            name, self.per_second = _unit_by_size(self.middle)
            self.told.append(f"{self.source.name} is taken to count {name} since 1970")
        elif not self.source.says_unit and not since_1970:
            self.told.append(f"{self.source.name} names no unit and is taken as seconds")
        self.shifts = since_1970 or self.source.name != "arrival_s"
        near = finite[np.abs(finite - self.middle) <= MAX_ARRIVAL_S * self.per_second]
        self.first = float(near[0]) if len(near) and self.shifts else self.middle

    def _understand_dates(self, rows: Rows, values: Any) -> None:
        ns, zoned = nanoseconds(rows.values(values))
        good = ns != _NO_TIME
        if not good.any():
            return
        self.kind = "dates"
        self.zoned = bool(zoned[good].mean() >= 0.5)
        self.middle = float(np.median(ns[good]))
        near = good & (zoned == self.zoned) & (np.abs(ns - self.middle) <= MAX_ARRIVAL_S * 1e9)
        self.first_ns = int(ns[near][0])

    def _dates(self, rows: Rows, values: Any) -> Times:
        told = rows.values(values)
        ns, zoned = nanoseconds(told)
        odd, other = ns == _NO_TIME, zoned != self.zoned
        far = np.abs(ns - self.middle) > MAX_ARRIVAL_S * 1e9
        zone = "without a time zone, which the others have" if self.zoned else "in a time zone, and the others in none"
        problems = [
            Problem(self.column, odd & blank(told), _BAD_TIME, "with a blank"),
            Problem(self.column, odd, _BAD_TIME),
            Problem(self.column, ~odd & other, zone),
            Problem(self.column, ~odd & far, _FAR),
        ]
        seconds: Floats = np.where(odd | other | far, np.nan, (ns - self.first_ns) / 1e9)
        return Times(seconds, problems)


def moments(numbers: Floats, values: list[Any], source: Column) -> tuple[Floats, bool]:
    """A whole column of time stamps in seconds on its own clock, and whether their unit is a guess; NaN for none.

    Raises TraceError where some dates name a time zone and others none.
    """
    given, finite = ~blank(values), numbers[np.isfinite(numbers)]
    if len(finite) * 2 >= given.sum():
        middle, per_second = float(np.median(finite)) if len(finite) else 0.0, source.per_second
        if middle >= _WRONG_UNIT * per_second:
            return numbers / _unit_by_size(middle)[1], False
        return numbers / per_second, not source.says_unit and middle < _SINCE_1970 * per_second
    ns, zoned = nanoseconds(values)
    good = ns != _NO_TIME
    if zoned[good].any() and not zoned[good].all():
        raise TraceError(f"some dates in {source.name} name a time zone, and others none; give all one")
    return np.where(good, ns / 1e9, np.nan), False


def _unit_by_size(count: float) -> tuple[str, float]:
    """The unit of which so many lie between 1973 and 5138, or nanoseconds; and how many make a second."""
    for name, per_second in (("milliseconds", 1e3), ("microseconds", 1e6)):
        if count < _WRONG_UNIT * per_second:
            return name, per_second
    return "nanoseconds", 1e9


def nanoseconds(values: list[Any]) -> tuple[Any, Bools]:
    """Dates as i8 nanoseconds since 1970 (the smallest of all where one is none), and whether they name a zone."""
    texts = [value if isinstance(value, str) else "" for value in values]
    zoned = np.array([_zoned(text) for text in texts], dtype=bool)
    column = pd.Series([_spelled(text) for text in texts], dtype=object)
    parsed = pd.to_datetime(column, format="ISO8601", utc=True, errors="coerce")
    if (other := parsed.isna() & (column != "")).any():
        parsed[other] = pd.to_datetime(column[other], format=_ACCESS_LOG, utc=True, errors="coerce")
    parsed = parsed.where((parsed >= _EARLIEST) & (parsed <= _LATEST))
    return parsed.dt.as_unit("ns").to_numpy(dtype="datetime64[ns]").astype(np.int64), zoned


def _zoned(text: str) -> bool:
    """Whether a date says its time zone, behind its day."""
    behind = text[10:]
    return text.endswith(_UTC) or "+" in behind or "-" in behind


def _spelled(text: str) -> str:
    """A date as pandas reads it: a point before fractions of a second, Z for UTC."""
    if text[4:5] == text[7:8] == "/":
        text = text.replace("/", "-")
    if "," in text:
        text = text.replace(",", ".")
    if text.endswith(_UTC) and text[-1] != "Z":
        text = text.rstrip("zUTCGM").rstrip() + "Z"
    return text
