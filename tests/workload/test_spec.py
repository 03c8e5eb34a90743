"""The `workload:` section: combinations, round trips, separate streams, content, and the shipped sample."""

import runpy
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml
from pydantic import ValidationError

from sim.paths import data_dir
from sim.workload.spec import Workload
from sim.workload.table import RequestTable

BASE: dict[str, Any] = {
    "arrivals": {"poisson": {"rate_per_s": 10}},
    "prompt_tokens": {"uniform": {"low": 100, "high": 200}},
    "output_tokens": {"uniform": {"low": 1, "high": 50}},
    "requests": 500,
}
USERS = {"closed_loop": {"users": 3}}
PAIRS = {"lognormal": {"prompt_mean": 600, "prompt_p99": 3000, "output_mean": 200, "output_p99": 800}}


def workload(**changes: Any) -> Workload:
    """BASE with keys replaced, or removed by None."""
    return Workload.model_validate({k: v for k, v in {**BASE, **changes}.items() if v is not None})


def table(seed: int = 1, **changes: Any) -> RequestTable:
    return workload(**changes).table(seed, Path())


def columns(of: RequestTable) -> list[bytes]:
    return [c.tobytes() for c in (of.arrival_s, of.prompt_tokens, of.output_tokens, of.priority)]


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"arrivals": None}, "give trace: .* arrivals:"),
        ({"trace": {"csv": {"path": "x"}}}, "a trace brings its own requests, so arrivals cannot"),
        ({"requests": None}, "arrivals need an end; give requests: .* or duration:"),
        ({"output_tokens": None}, "output_tokens is missing"),
        ({"prompt_tokens": None}, "prompt_tokens is missing"),
        ({"lengths": PAIRS}, "lengths draws prompts and outputs together, so prompt_tokens cannot"),
        ({"arrivals": USERS, "requests": None, "duration": "1min"}, "ends by requests:"),
        ({"arrivals": USERS, "duration": "1min"}, "ends by requests:"),
        (
            {"lengths": PAIRS, "prompt_tokens": None, "output_tokens": None,
             "prefix": {"repeated_prompts": {"prompts": 3}}},
            "repeated_prompts replaces prompts",
        ),
        ({"requests": 0}, "greater than or equal to 1"),
        ({"duration": 0}, "greater than 0"),
        ({"priorities": {}}, "at least 1"),
        ({"priorities": {0: -1}}, "greater than 0"),
        ({"rate": 3}, "Extra inputs"),
        ({"prefix": {"shared_prefix": {"groups": 3}}}, "shared_tokens"),
    ],
)  # fmt: skip
def test_wrong_combinations(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(ValidationError, match=message):
        workload(**changes)


def test_an_end_by_both_is_the_earlier() -> None:
    assert len(table(duration="1h")) == 500
    short = table(duration=10)
    assert 60 < len(short) < 140 and short.arrival_s[-1] < 10
    assert np.array_equal(short.arrival_s, table().arrival_s[: len(short)])


@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"arrivals": {"piecewise": {"rates": [[0, 1], ["1min", 2]]}}},
        {"arrivals": {"closed_loop": {"users": 8, "think_s": "2s", "think": "exponential"}}},
        {"lengths": PAIRS, "prompt_tokens": None, "output_tokens": None, "duration": "2min"},
        {"prefix": {"shared_prefix": {"groups": 3, "shared_tokens": 64}}, "priorities": {0: 1, 5: 3}},
    ],
    ids=repr,
)
def test_round_trip_and_same_bytes(changes: dict[str, Any]) -> None:
    one = workload(**changes)
    again = Workload.model_validate(yaml.safe_load(yaml.safe_dump(one.model_dump(mode="json"))))
    assert again == one
    assert columns(one.table(3, Path())) == columns(again.table(3, Path()))
    assert columns(one.table(3, Path())) != columns(one.table(4, Path()))


def test_each_part_has_its_own_stream() -> None:
    base = table()
    faster = table(arrivals={"gamma": {"rate_per_s": 99, "cv": 2}})
    assert columns(base)[1:] == columns(faster)[1:]
    longer = table(output_tokens={"fixed": {"tokens": 9}}, priorities={1: 1, 2: 1})
    assert columns(base)[:2] == columns(longer)[:2]
    shared = table(prefix={"shared_prefix": {"groups": 3, "shared_tokens": 64}})
    assert np.array_equal(shared.prompt_tokens, base.prompt_tokens + 64)
    assert columns(base)[0] == columns(shared)[0] and columns(base)[2] == columns(shared)[2]


def test_prompts_and_outputs_are_drawn_apart() -> None:
    alike = table(requests=5000, output_tokens=BASE["prompt_tokens"])
    assert abs(np.corrcoef(alike.prompt_tokens, alike.output_tokens)[0, 1]) < 4 / np.sqrt(5000)


def test_a_closed_loop_table() -> None:
    loop = table(arrivals={"closed_loop": {"users": 8, "think_s": 2}})
    assert loop.closed_loop is not None and loop.closed_loop.users == 8
    assert loop.closed_loop.think_s.tolist() == [2.0] * 500 and not loop.arrival_s.any()


def test_priorities_follow_their_weights() -> None:
    drawn = table(requests=40_000, priorities={0: 1, -7: 3}).priority
    assert set(drawn.tolist()) == {0, -7}
    assert abs((drawn == -7).mean() - 0.75) < 4 * np.sqrt(0.1875 / 40_000)


def test_shared_prefixes() -> None:
    drawn = table(requests=3000, prefix={"shared_prefix": {"groups": 3, "shared_tokens": 64}})
    assert drawn.segments is not None
    first = [pieces[0] for pieces in drawn.segments if pieces]
    assert {piece for piece in first} == {(("group", g), 64) for g in range(3)}
    assert len({id(piece) for piece in first}) == 3  # interned
    assert len({pieces[1][0] for pieces in drawn.segments if pieces}) == 3000
    counts = [first.count((("group", g), 64)) for g in range(3)]
    assert max(abs(c - 1000) for c in counts) < 4 * np.sqrt(3000 * 2 / 9)


def test_groups_ask_their_questions_in_turn() -> None:
    """As inference-perf does: every prompt once before any comes again."""
    prefix = {"shared_prefix": {"groups": 3, "shared_tokens": 64, "questions": 2}}
    drawn = table(requests=15, prefix=prefix)
    asked = drawn.segments
    assert asked is not None
    assert set(asked[:6]) == set(asked[6:12]) and len(set(asked[:6])) == 6 and asked[:3] == asked[12:]
    groups = [pieces[0] for pieces in asked[:6] if pieces]
    assert {groups.count((("group", g), 64)) for g in range(3)} == {2}
    assert set(drawn.prompt_tokens.tolist()) == set(table(requests=6).prompt_tokens + 64)
    with pytest.raises(ValidationError, match="leave out skew"):
        workload(prefix={"shared_prefix": {**prefix["shared_prefix"], "skew": 1}})


def test_repeated_prompts() -> None:
    drawn = table(requests=6000, prefix={"repeated_prompts": {"prompts": 3, "skew": 1}})
    assert drawn.segments is not None
    assert {p[0][1] for p in drawn.segments if p} <= set(table(requests=3).prompt_tokens.tolist())
    names = [p[0][0] for p in drawn.segments if p]
    counts = [names.count(("prompt", i)) for i in range(3)]  # weights 1, 1/2, 1/3 of 11/6
    assert max(abs(c - 6000 * w * 6 / 11) for c, w in zip(counts, (1, 1 / 2, 1 / 3), strict=True)) < 160


def test_paths_start_at_the_scenario(tmp_path: Path) -> None:
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "t.csv").write_text("arrival_s,prompt_tokens,output_tokens\n0,7,3\n")
    spec = Workload.model_validate({"trace": {"csv": {"path": "data/t.csv"}}})
    assert spec.table(0, tmp_path).prompt_tokens.tolist() == [7]
    pairs = workload(prompt_tokens=None, output_tokens=None, lengths={"empirical": {"path": "data/t.csv"}})
    assert pairs.table(0, tmp_path).prompt_tokens.tolist() == [7] * 500
    assert spec.trace.path == "data/t.csv"  # the scenario itself is unchanged


def test_the_shipped_sample(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = data_dir("scenarios") / "traces"
    sample = Workload.model_validate({"trace": {"csv": {"path": "chat-sample.csv"}}}).table(0, folder)
    assert 1000 <= len(sample) <= 2000 and 290 < sample.arrival_s[-1] < 300
    assert (folder / "chat-sample.csv").stat().st_size < 60_000
    counts = np.histogram(sample.arrival_s, bins=np.arange(0, 301, 10))[0]
    assert counts.max() > 3 * np.median(counts)  # it has bursts
    made = tmp_path / "again.csv"
    monkeypatch.setattr(sys, "argv", ["make_chat_sample.py", str(made)])
    runpy.run_path(str(folder / "make_chat_sample.py"), run_name="__main__")
    assert made.read_bytes() == (folder / "chat-sample.csv").read_bytes()


def test_tenants_come_by_their_weights() -> None:
    drawn = table(tenants={"acme": 3, "bell": 1}, requests=4000)
    assert drawn.tenants == ("acme", "bell")
    assert drawn.tenant is not None
    assert 0.72 < (drawn.tenant == 0).mean() < 0.78  # 4 standard deviations are 0.027
    assert columns(drawn) == columns(table(requests=4000))  # nothing else has moved


def test_predictions_are_log_normal_around_the_truth() -> None:
    lengths = {"fixed": {"tokens": 1000}}
    drawn = table(prediction_error=0.5, requests=4000, output_tokens=lengths)
    assert drawn.predicted_tokens is not None
    off = np.log(drawn.predicted_tokens / 1000)
    assert abs(off.mean()) < 4 * 0.5 / np.sqrt(4000)
    assert off.std() == pytest.approx(0.5, rel=0.05)
    assert columns(drawn) == columns(table(requests=4000, output_tokens=lengths))
    further = table(prediction_error=1.0, requests=4000, output_tokens=lengths)
    assert further.predicted_tokens is not None
    assert np.log(further.predicted_tokens / 1000) == pytest.approx(2 * off, abs=0.02)
    assert table(requests=10).predicted_tokens is None  # schedulers know


def test_a_table_says_who_each_tenant_is() -> None:
    rows = RequestTable.of([0, 1, 2], [1, 1, 1], [1, 1, 1], tenant=["b", "a", "b"])
    assert rows.tenants == ("b", "a")
    assert rows.tenant is not None
    assert rows.tenant.tolist() == [0, 1, 0]
