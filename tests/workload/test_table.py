"""RequestTable.check refuses whatever breaks its promises."""

from typing import Any

import numpy as np
import pytest

from sim.errors import TraceError
from sim.workload.table import ClosedLoop, RequestTable


def test_of_accepts_lists() -> None:
    table = RequestTable.of([0, 1.5], [3, 4], [5, 6])
    assert len(table) == 2 and table.arrival_s.dtype == np.float64 and table.prompt_tokens.dtype == np.int64
    assert table.priority.tolist() == [0, 0] and table.segments is None


@pytest.mark.parametrize(
    ("columns", "message"),
    [
        (([], [], []), "has no requests"),
        (([0, 1], [3], [5, 6]), r"prompt_tokens must be int64\[2\], not int64\[1\]"),
        (([1, 0.5], [3, 3], [5, 6]), "arrival_s, row 1: 0.5 is not at or after the time of the row before"),
        (([-1], [3], [5]), "arrival_s, row 0: -1.0 is not a time >= 0"),
        (([np.nan], [3], [5]), "arrival_s, row 0"),
        (([np.inf], [3], [5]), "arrival_s, row 0"),
        (([0, 1], [3, 0], [5, 6]), "prompt_tokens, row 1: 0 is not 1 to"),
        (([0, 1], [3, 1], [5, -6]), "output_tokens, row 1: -6"),
        (([0, 1], [3, 1], [5, 20_000_000]), "output_tokens, row 1: 20000000"),
    ],
    ids=repr,
)
def test_bad_columns(columns: Any, message: str) -> None:
    with pytest.raises(TraceError, match=message):
        RequestTable.of(*columns)


@pytest.mark.parametrize(
    "segments",
    [[(("a", 2),), None], [(("a", 2), ("b", 0)), None], [()], [None, (("a", 4), ("b", 1))]],
    ids=repr,
)
def test_bad_segments(segments: Any) -> None:
    with pytest.raises(TraceError, match="segments"):
        RequestTable.of([0, 1], [3, 4], [5, 6], segments=segments)


def test_closed_loop_shapes() -> None:
    RequestTable.of([0, 0], [3, 4], [5, 6], closed_loop=ClosedLoop(1, np.zeros(2)))
    for loop, arrival, message in [
        (ClosedLoop(0, np.zeros(2)), [0, 0], "at least one user"),
        (ClosedLoop(1, np.zeros(3)), [0, 0], "think_s has 3 entries for 2 requests"),
        (ClosedLoop(1, np.array([0, -1.0])), [0, 0], "think_s, row 1"),
        (ClosedLoop(1, np.zeros(2)), [0, 1], "0 in a closed loop"),
    ]:
        with pytest.raises(TraceError, match=message):
            RequestTable.of(arrival, [3, 4], [5, 6], closed_loop=loop)
