"""Fast-forward and grouped decodes leave the same bytes as one step and one request at a time (INV-6)."""

from hypothesis import given, settings

from sim.record import Record
from tests.cluster.strategies import Case, cases
from tests.serving import serve


def content(record: Record) -> dict[str, bytes]:
    tables = {**record.requests, **{f"steps.{name}": column for name, column in record.steps.items()}}
    tables |= {"itl_bins": record.itl_bins, "itl_counts": record.itl_counts}
    return {name: column.tobytes() for name, column in tables.items()}


@settings(max_examples=300, deadline=None)
@given(cases())
def test_same_bytes(case: Case) -> None:
    plain = serve(case.table, case.timer, fast_forward=False, group_decodes=False, **case.options)
    for fast_forward, group_decodes in ((True, True), (False, True), (True, False)):
        fast = serve(
            case.table, case.timer, fast_forward=fast_forward, group_decodes=group_decodes, **case.options
        )
        assert content(fast) == content(plain)
        assert fast.makespan_s == plain.makespan_s
        assert fast.counters == plain.counters


@settings(max_examples=20, deadline=None)
@given(cases())
def test_same_seed_same_bytes(case: Case) -> None:
    first, again = (serve(case.table, case.timer, **case.options) for _ in range(2))
    assert content(first) == content(again)
