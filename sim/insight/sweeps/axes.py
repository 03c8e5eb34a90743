"""What varies in a sweep: a key of the scenario and its values, or the range to search them in."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import product
from typing import TYPE_CHECKING, Any

import yaml

from sim.errors import ScenarioError

if TYPE_CHECKING:
    import optuna


@dataclass(frozen=True)
class Axis:
    """A key and its values, or a range from `low` to `high`: of whole numbers if both are."""

    key: str
    values: tuple[str, ...] = ()
    low: float = 0.0
    high: float = 0.0
    whole: bool = False
    log: bool = False
    """Whether to search it on a logarithmic scale."""

    @property
    def is_range(self) -> bool:
        """Whether values are to be found between two ends."""
        return not self.values

    def suggest(self, trial: optuna.Trial) -> str:
        """The value that a search tries next."""
        if not self.is_range:
            return str(trial.suggest_categorical(self.key, self.values))
        if self.whole:
            return str(trial.suggest_int(self.key, int(self.low), int(self.high), log=self.log))
        return repr(trial.suggest_float(self.key, self.low, self.high, log=self.log))


def axis(text: str) -> Axis:
    """ "engine.max_num_seqs=64,128,256", "engine.max_num_seqs=16:1024:log", "engine.gpu_memory_utilization=0.8:0.95".

    Values are YAML; a comma inside brackets does not part them. Raises ScenarioError for anything else.
    """
    key, equals, right = text.partition("=")
    if not equals or not key.strip() or not right.strip():
        raise ScenarioError(
            f"--grid {text!r} is not like engine.max_num_seqs=64,128 or engine.max_num_seqs=16:1024:log"
        )
    ends = right.split(":")
    if len(ends) in (2, 3) and all(_number(end) is not None for end in ends[:2]):
        return _range(text, key.strip(), ends)
    return Axis(key.strip(), tuple(_parted(right)))


def _range(text: str, key: str, ends: Sequence[str]) -> Axis:
    low, high = (_number(end) for end in ends[:2])
    assert low is not None
    assert high is not None
    log = len(ends) == 3
    if log and ends[2] != "log":
        raise ScenarioError(f"--grid {text!r}: after low:high comes nothing, or :log")
    if not low < high or (log and low <= 0):
        raise ScenarioError(f"--grid {text!r}: the range must rise{', from above 0' if log else ''}")
    whole = all("." not in end and "e" not in end.lower() for end in ends[:2])
    return Axis(key, (), low, high, whole, log)


def grid(axes: Sequence[Axis]) -> list[tuple[str, ...]]:
    """Every combination of the values, as overrides. Raises ScenarioError for a range, which only a search can fill."""
    for one in axes:
        if one.is_range:
            raise ScenarioError(f"--grid {one.key}: a range needs --search; a grid needs values: {one.key}=1,2,4")
    keys = [one.key for one in axes]
    if len(set(keys)) < len(keys):
        raise ScenarioError(f"--grid names {next(key for key in keys if keys.count(key) > 1)} twice; give it once")
    return [
        tuple(f"{key}={value}" for key, value in zip(keys, values, strict=True))
        for values in product(*(one.values for one in axes))
    ]


def read_value(override: str) -> tuple[str, Any]:
    """The key of an override, and its value as YAML has it."""
    key, _, text = override.partition("=")
    return key, yaml.safe_load(text)


def _parted(text: str) -> Iterable[str]:
    found, depth, start = [], 0, 0
    for place, letter in enumerate(text):
        depth += (letter in "[{") - (letter in "]}")
        if letter == "," and depth == 0:
            found.append(text[start:place])
            start = place + 1
    return _stripped([*found, text[start:]])


def _stripped(parts: Iterable[str]) -> Iterator[str]:
    return (part.strip() for part in parts if part.strip())


def _number(text: str) -> float | None:
    try:
        return float(text)
    except ValueError:
        return None
