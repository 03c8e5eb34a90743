"""The plan: which points to measure, in which order; a JSON file that needs nothing but this module to be
read.

{"format": 1, "models": [...], "curves": [{"op", "rank", "fixed": {column: value}, "axes": [column, ...],
"how": [name, ...], "points": [[value per axis..., value per how..., level, held out], ...]}, ...]}. `fixed`
and `axes` are columns of the raw table; `how` tells how to reach a point whose place on its curve is a number
of bytes (rows, width, ...).
"""

import gzip
import json
from bisect import bisect_left
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from calibrate.gpu.errors import MeasureError
from calibrate.rawpoints import SHAPE_COLUMNS

FORMAT = 1
DEFAULT = Path(__file__).resolve().parent.parent / "plan.json.gz"
"""All built-in models on 1, 2, 4 and 8 GPUs; made by `calibrate/planning.py`, which a test repeats."""

Value = str | int
_LATER = (1, 8, 30)
"""Curves of a rank beyond these wait one level longer each: the first model on one GPU, those after it, most."""


@dataclass(frozen=True, slots=True)
class PlanPoint:
    """One shape to measure.

    shape: the raw table's cells; detail: how to reach it, where the cells do not say. Lower levels are
    coarser, lower ranks matter more.
    """

    op: str
    shape: Mapping[str, Value]
    detail: Mapping[str, int]
    level: int
    rank: int
    held_out: bool

    def number(self, name: str) -> int:
        """A whole number of its shape or detail."""
        value = self.shape.get(name, self.detail.get(name))
        if not isinstance(value, int):
            raise MeasureError(f"the plan's point {self} does not say {name!r}; make the plan again")
        return value

    @property
    def turn(self) -> tuple[int, int, int]:
        """When it is measured: coarse before fine, but what matters less some levels later.

        So ten minutes give the first model its fine points, the next ones coarser ones, and all of them some.
        """
        return self.level + bisect_left(_LATER, self.rank), self.level, self.rank

    @property
    def dtype(self) -> str:
        """Format of the weights or of the KV cache."""
        return str(self.shape["dtype"])

    @property
    def key(self) -> tuple[Value | None, ...]:
        """The same as RawPoint.shape: what a row must show to be this point."""
        cells = (self.shape.get(name) for name in SHAPE_COLUMNS[2:])
        return (self.op, str(self.shape.get("dtype", "")), *cells)

    def __str__(self) -> str:
        return " ".join([self.op, *(f"{name}={value}" for name, value in self.shape.items())])


@dataclass(frozen=True)
class Plan:
    """Points in the order in which they are to be measured, and the models whose shapes they cover."""

    points: tuple[PlanPoint, ...]
    models: tuple[str, ...]


def read_plan(file: Path) -> Plan:
    """The plan of a .json or .json.gz file.

    Raises MeasureError naming the file if it is not there, not readable or no plan.
    """
    try:
        raw = file.read_bytes()
        content = json.loads(gzip.decompress(raw) if file.suffix == ".gz" else raw)
    except (OSError, EOFError, ValueError) as error:
        raise MeasureError(f"{file}: not a readable plan ({error})") from error
    return parse_plan(content, str(file))


def parse_plan(content: Any, source: str) -> Plan:
    """The plan in decoded JSON, its points in the order in which they are to be measured."""
    if not isinstance(content, dict) or content.get("format") != FORMAT:
        raise MeasureError(f"{source}: no plan of format {FORMAT}; make one with `servecast calibrate plan`")
    try:
        curves = [list(_points(curve)) for curve in content["curves"]]
        models = tuple(str(name) for name in content["models"])
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise MeasureError(f"{source}: a curve of the plan is broken ({error!r}); make the plan again") from error
    points = [point for curve in curves for point in curve]
    if not points:
        raise MeasureError(f"{source}: the plan holds no point to measure")
    return Plan(tuple(sorted(points, key=lambda point: point.turn)), models)


def _points(curve: Mapping[str, Any]) -> Iterable[PlanPoint]:
    fixed, axes, how = dict(curve["fixed"]), list(curve["axes"]), list(curve["how"])
    if unknown := {*fixed, *axes} - set(SHAPE_COLUMNS):
        raise ValueError(f"the raw table has no column {sorted(unknown)}")
    for *values, level, held_out in curve["points"]:
        shape: dict[str, Any] = {**fixed, **dict(zip(axes, values, strict=False))}
        detail = dict(zip(how, values[len(axes) :], strict=True))
        for name, value in {**shape, **detail}.items():
            if not isinstance(value, str if name == "dtype" else int) or isinstance(value, bool):
                raise ValueError(f"{name} is {value!r}")
        yield PlanPoint(
            op=str(curve["op"]),
            shape={name: shape[name] for name in SHAPE_COLUMNS if name in shape},
            detail=detail,
            level=int(level),
            rank=int(curve["rank"]),
            held_out=bool(held_out),
        )
