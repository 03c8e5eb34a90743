"""Which adapter each request wants."""

import dataclasses
from pathlib import Path

import numpy as np
import pytest

from sim.errors import ScenarioError, TraceError
from sim.insight.traces.convert import plain_rows
from sim.request import NO_ADAPTER
from sim.workload.adapters.zipf import Zipf
from sim.workload.adapting import with_adapters
from sim.workload.traces.csv import Csv
from tests.serving import table
from tests.workload.test_spec import table as drawn


def test_shares_as_asked_for() -> None:
    zipf = drawn(requests=20_000, adapters={"zipf": {"count": 4, "base_share": 0.25}})
    shares = np.bincount(zipf.adapter + 1) / 20_000
    weights = np.array([1, 1 / 2, 1 / 3, 1 / 4])
    assert shares == pytest.approx([0.25, *(0.75 * weights / weights.sum())], abs=0.01)
    named = drawn(requests=20_000, adapters={"named": {"weights": {"sql": 3, "legal": 1}}})
    assert named.adapters == ("sql", "legal")
    assert np.mean(named.adapter) == pytest.approx(0.25, abs=0.01)
    assert (np.bincount(drawn(requests=20_000, adapters={"uniform": {"count": 5}}).adapter) > 3_800).all()


def test_nothing_else_shifts() -> None:
    without, under = drawn(requests=50), drawn(requests=50, adapters={"uniform": {"count": 3}})
    assert without.arrival_s.tolist() == under.arrival_s.tolist()
    assert without.prompt_tokens.tolist() == under.prompt_tokens.tolist()
    assert without.adapter is None


def test_all_answers_and_all_of_a_session_have_one() -> None:
    answers = drawn(requests=30, n=2, adapters={"uniform": {"count": 5}}).adapter
    assert (answers[::2] == answers[1::2]).all()
    sessions = np.array([0, 1, 0, -1, 1, -1] * 20)
    several = dataclasses.replace(table(np.zeros(120), 5, 5), sessions=sessions)
    requests = with_adapters(several, Zipf(50), np.random.default_rng(1))
    assert requests.adapter is not None
    assert all(len(set(requests.adapter[sessions == session].tolist())) == 1 for session in (0, 1))
    assert len(set(requests.adapter[sessions == -1].tolist())) > 5


def test_a_trace_may_name_them(tmp_path: Path) -> None:
    file = tmp_path / "t.csv"
    file.write_text("arrival_s,prompt_tokens,output_tokens,adapter\n0,5,5,sql\n1,5,5,\n2,5,5,7\n3,5,5,sql\n")
    requests = Csv(str(file)).read()
    assert requests.adapters == ("sql", "7")
    assert requests.adapter is not None
    assert requests.adapter.tolist() == [0, NO_ADAPTER, 1, 0]
    assert [row["adapter"] for row in plain_rows(requests, "csv")] == ["sql", None, "7", "sql"]
    with pytest.raises(ScenarioError, match=r"t\.csv brings its own adapters"):
        with_adapters(requests, Zipf(2), np.random.default_rng(1))


def test_an_index_without_a_name_is_refused() -> None:
    requests = dataclasses.replace(table([0.0], 5, 5), adapter=np.array([2]), adapters=("a", "b"))
    with pytest.raises(TraceError, match="column adapter, row 0: 2 is not -1 or the index of one of 2 adapters"):
        requests.check()
