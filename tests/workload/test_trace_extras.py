"""Tenants, predictions and patience from a trace."""

from pathlib import Path

import numpy as np
import pytest

from sim.errors import TraceError
from sim.workload.table import MAX_TOKENS
from sim.workload.traces.csv import Csv
from sim.workload.traces.jsonl import Jsonl

HEADER = "arrival_s,prompt_tokens,output_tokens,tenant,predicted_tokens,cancel_after_s,cancel_after_tokens\n"


def written(folder: Path, text: str, name: str = "t.csv") -> str:
    path = folder / name
    path.write_text(text)
    return str(path)


def test_csv(tmp_path: Path) -> None:
    rows = "0,10,20,acme,,,\n1,10,20,,30,1.5,\n2,10,20,bell,,,7\n"
    table = Csv(written(tmp_path, HEADER + rows)).read()
    assert table.tenants == ("acme", "default", "bell")
    assert table.tenant is not None
    assert table.tenant.tolist() == [0, 1, 2]
    assert table.predicted_tokens is not None
    assert table.predicted_tokens.tolist() == [20, 30, 20]
    assert table.cancel_after_s is not None
    assert table.cancel_after_s.tolist() == [np.inf, 1.5, np.inf]
    assert table.cancel_after_tokens is not None
    assert table.cancel_after_tokens.tolist() == [MAX_TOKENS, MAX_TOKENS, 7]


def test_jsonl_and_a_slice(tmp_path: Path) -> None:
    lines = [f'{{"arrival_s": {k}, "prompt_tokens": 5, "output_tokens": 6, "tenant": {k}}}' for k in range(4)]
    table = Jsonl(written(tmp_path, "\n".join(lines), "t.jsonl"), offset=2).read()
    assert table.tenants == ("2", "3")
    assert table.predicted_tokens is None
    assert table.cancel_after_s is None


def test_a_trace_without_them(tmp_path: Path) -> None:
    table = Csv(written(tmp_path, "arrival_s,prompt_tokens,output_tokens\n0,1,1\n")).read()
    assert (table.tenant, table.tenants) == (None, ("default",))


@pytest.mark.parametrize(
    ("row", "message"),
    [
        ("0,10,20,a,0,,", "line 2: predicted_tokens is '0', not a whole number of tokens"),
        ("0,10,20,a,,-1,", "line 2: cancel_after_s is '-1', not a time above 0"),
        ("0,10,20,a,,,x", "line 2: cancel_after_tokens is 'x', not a whole number of tokens"),
    ],
)
def test_bad_cells(tmp_path: Path, row: str, message: str) -> None:
    with pytest.raises(TraceError, match=message):
        Csv(written(tmp_path, HEADER + row + "\n")).read()


def test_a_tenant_that_is_a_list(tmp_path: Path) -> None:
    line = '{"arrival_s": 0, "prompt_tokens": 5, "output_tokens": 6, "tenant": ["a"]}'
    with pytest.raises(TraceError, match=r"tenant is .* neither text nor a whole number"):
        Jsonl(written(tmp_path, line, "t.jsonl")).read()
