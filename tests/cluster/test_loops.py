"""Sessions whose turns wait for answers: schedules worked out by hand, and what holds on every run."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest
from hypothesis import assume, given, settings

from sim.errors import TraceError
from sim.latency.linear import Linear
from sim.record import Record
from sim.workload.table import ClosedLoop, RequestTable
from tests.cluster.strategies import Case, cases
from tests.serving import serve

SECOND = Linear(base_s=1.0, per_prefill_token_s=0, per_decode_s=0).build()
"""Every step takes a second, whatever is in it."""


def sessions(rows: Sequence[tuple[int, int, float, float, int]], **columns: Any) -> RequestTable:
    """A table of (session, turn, start of the session, pause, output tokens), with prompts of ten tokens."""
    session, turn, start, pause, output = (np.array(column) for column in zip(*rows, strict=True))
    table = RequestTable(
        arrival_s=start.astype(float), prompt_tokens=np.full(len(rows), 10), output_tokens=output,
        priority=np.zeros(len(rows), np.int64), sessions=session, turns=turn, pause_s=pause.astype(float), **columns,
    )  # fmt: skip
    table.check()
    return table


def by_id(record: Record, *names: str) -> list[tuple[Any, ...]]:
    order = np.argsort(record.requests["id"])
    return list(zip(*(record.requests[name][order].tolist() for name in names), strict=True))


@pytest.mark.parametrize("fast_forward", [True, False])
def test_two_sessions_by_hand(fast_forward: bool) -> None:
    """Steps of one second, on one replica; `a` has turns of 2, 1 and 2 tokens, `b` of 3 and 1.

    ::

        time   0   1   2   3   4   5   6   7   8
        a      |-1---1-|     thinks 3  |-2-|   |-3---3-|     thinks 1: sent at 7
        b        .|-1---1---1-|  thinks 1 |-2-|              sent at 0.5, so it joins at 1
    """
    table = sessions([(0, 1, 0, 0, 2), (0, 2, 0, 3, 1), (0, 3, 0, 1, 2), (1, 1, 0.5, 0, 3), (1, 2, 0.5, 1, 1)])
    record = serve(table, SECOND, fast_forward=fast_forward)
    assert by_id(record, "arrival_s", "scheduled_s", "finish_s") == [
        (0.0, 0.0, 2.0),
        (5.0, 5.0, 6.0),
        (7.0, 7.0, 9.0),
        (0.5, 1.0, 4.0),
        (5.0, 5.0, 6.0),
    ]
    assert by_id(record, "session", "turn") == [(0, 1), (0, 2), (0, 3), (1, 1), (1, 2)]


def test_a_turn_sent_at_the_end_of_a_step_joins_the_step_after() -> None:
    table = sessions([(0, 1, 0, 0, 2), (0, 2, 0, 0, 1), (1, 1, 0, 0, 5)])
    record = serve(table, SECOND)
    assert by_id(record, "arrival_s", "scheduled_s") == [(0.0, 0.0), (2.0, 3.0), (0.0, 0.0)]


def test_fan_out_and_join_by_hand() -> None:
    """The plan is there at 1; three go off side by side, the last of them half a second late; the join waits for all.

    They arrive at 2, 2 and 2.5, with 1, 4 and 2 tokens: answered at 3, 6 and 5 (it joins the step that begins at 3).
    """
    table = sessions([(0, 1, 0, 0, 1), (0, 2, 0, 1, 1), (0, 2, 0, 1, 4), (0, 2, 0, 1.5, 2), (0, 3, 0, 2, 1)])
    record = serve(table, SECOND)
    assert by_id(record, "arrival_s", "finish_s") == [(0, 1), (2, 3), (2, 6), (2.5, 5), (8, 9)]


def test_a_session_ends_with_a_turn_that_is_dropped() -> None:
    """The second turn's client gives up; its third is never sent, nor counted as anything but that."""
    table = sessions(
        [(0, 1, 0, 0, 1), (0, 2, 0, 0, 50), (0, 3, 0, 0, 1), (1, 1, 0, 0, 1), (1, 2, 0, 0, 1)],
        cancel_after_s=np.array([np.inf, 3.0, np.inf, np.inf, np.inf]),
    )
    record = serve(table, SECOND)
    assert by_id(record, "id", "status") == [
        (0, "finished"), (1, "cancelled"), (3, "finished"), (4, "finished"),
    ]  # fmt: skip
    assert record.counters["requests_not_sent"] == 1


def test_a_rejected_turn_ends_its_session_and_its_user_starts_the_next() -> None:
    table = sessions([(0, 1, 0, 0, 1), (0, 2, 0, 0, 1), (0, 3, 0, 0, 1), (1, 1, 0, 0, 1)])
    table.prompt_tokens[1] = 200
    table = table.take(np.arange(4), closed_loop=ClosedLoop(1, np.array([0.0, 0, 0, 2.5])))
    record = serve(table, SECOND, limits={"max_model_len": 100})
    assert by_id(record, "id", "status", "arrival_s") == [
        (0, "finished", 0.0), (1, "rejected", 1.0), (3, "finished", 3.5),
    ]  # fmt: skip


def test_a_window_ends_before_the_start_of_the_last_session() -> None:
    table = sessions([(0, 1, 0, 0, 1), (0, 2, 0, 1, 1), (0, 3, 0, 10, 1), (1, 1, 8, 0, 1)])
    sent = [0.0, 2.0, 13.0, 8.0]
    everything = serve(table, SECOND)
    assert by_id(everything, "arrival_s", "measured") == [(at, True) for at in sent]
    window = serve(table, SECOND, warmup_s=1.0, cooldown_s=2.0)
    assert by_id(window, "measured") == [(False,), (True,), (False,), (False,)]


@settings(max_examples=150, deadline=None)
@given(cases())
def test_turns_wait_and_none_is_lost(case: Case) -> None:
    """INV-1 with sessions: sent and never sent make up the table; each turn is sent its pause after the one before."""
    table = case.table
    assume(table.turns is not None)
    record = serve(table, case.timer, **case.options)
    rows = record.requests
    assert table.turns is not None and table.pause_s is not None and table.sessions is not None
    assert len(rows["id"]) + record.counters["requests_not_sent"] == len(table)
    assert "unfinished" not in rows["status"]
    where = {int(number): place for place, number in enumerate(rows["id"])}
    begins = table.session_begins().tolist()
    for begin, end in zip(begins, [*begins[1:], len(table)], strict=True):
        turns = [
            [row for row in range(begin, end) if table.turns[row] == turn] for turn in np.unique(table.turns[begin:end])
        ]
        ready_s, alive = table.arrival_s[begin], True
        for turn in turns:
            assert all((row in where) == alive for row in turn)
            if not alive:
                continue
            places = [where[row] for row in turn]
            if table.closed_loop is None:
                assert rows["arrival_s"][places].tolist() == [ready_s + table.pause_s[row] for row in turn]
            finished = rows["status"][places] == "finished"
            alive = bool(finished.all())
            ready_s = rows["finish_s"][places].max() if alive else np.nan


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        ([(0, 1, 0, 0, 1), (0, 3, 0, 0, 1)], r"turns, row 1: 3 is not 1, 2"),
        ([(0, 2, 0, 0, 1)], r"turns, row 0: 2 is not"),
        ([(0, 1, 0, 1, 1)], r"pause_s, row 0: 1.0 is not 0 for the first request"),
        ([(0, 1, 0, 0, 1), (0, 2, 1, 0, 1)], r"arrival_s, row 1: 1.0 is not its session's start"),
        ([(0, 1, 0, 0, 1), (1, 1, 0, 0, 1), (0, 2, 0, 0, 1)], "must stand together"),
        ([(0, 1, 0, 0, 1), (0, 2, 0, -1, 1)], r"pause_s, row 1: -1.0 is not a time"),
    ],
)
def test_wrong_tables(rows: list[tuple[int, int, float, float, int]], message: str) -> None:
    with pytest.raises(TraceError, match=message):
        sessions(rows)
