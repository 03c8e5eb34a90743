"""Comparisons: what is equal is a tie, what differs is told with its sureness, and one run claims nothing."""

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

import sim
from sim.insight.comparison_table import best, claims, print_comparison, ties
from sim.insight.difference import Difference, sureness
from sim.paths import data_dir
from tests.commands import servecast

BASE: dict[str, Any] = {
    "name": "small",
    "model": "llama-3.1-8b",
    "workload": {
        "arrivals": {"poisson": {"rate_per_s": 20}},
        "prompt_tokens": {"fixed": {"tokens": 500}},
        "output_tokens": {"uniform": {"low": 20, "high": 100}},
        "requests": 120,
    },
    "cluster": {"gpu": "h100-sxm"},
    "slo": {"ttft": "500ms"},
    "variants": {
        "the same": {"seed": 0},
        "slow host": {"engine": {"host_exposed_s": 0.02}},
        "too large": {"model": "llama-3.1-70b"},
    },
}


def text_of(comparison: sim.Comparison) -> str:
    console = Console(width=140, record=True, file=open("/dev/null", "w"))  # noqa: SIM115
    with console.file:
        print_comparison(comparison, console)
        return console.export_text()


def test_what_is_equal_ties_and_what_is_worse_loses_and_what_fails_is_told() -> None:
    found = sim.compare(BASE, seeds=3, jobs=1)
    assert found.variants == ("as written", "the same", "slow host")
    assert list(found.failed) == ["too large"] and "leaves no room" in found.failed["too large"]
    assert found.replications == 3
    equal = [d for d in found.differences if d.variant == "the same"]
    assert equal and all(d.change == 0 and d.low == d.high == 0 for d in equal)
    assert all(d.better in (None, 0.5) for d in equal)
    slower = {d.metric: d for d in found.differences if d.variant == "slow host"}["mean_tpot_ms"]
    # 20 ms instead of the preset's 0.7 ms in every step, and larger batches for it
    assert slower.change > 19 and slower.low is not None and slower.low > 0
    assert slower.better is not None and slower.better < 0.01
    told = text_of(found)
    assert "as written beats slow host on TPOT p99: " in told
    assert "the same is identical to as written" in told and "the same ties" not in told
    assert "failed: too large" in told


def test_the_interval_is_students() -> None:
    """Three paired changes of mean m and standard deviation s: m +- 4.3027 s / sqrt(3) (two degrees of freedom)."""
    found = sim.compare(BASE, seeds=3, jobs=1, variants=["slow host"], model_error=False)
    each = found.runs.pivot(index="seed", columns="variant", values="mean_ttft_ms")
    changes = each["slow host"] - each["as written"]
    difference = {d.metric: d for d in found.differences}["mean_ttft_ms"]
    reach = 4.302653 * changes.std(ddof=1) / 3**0.5
    assert difference.change == pytest.approx(changes.mean())
    assert difference.low == pytest.approx(changes.mean() - reach)
    assert difference.high == pytest.approx(changes.mean() + reach)


def test_one_run_claims_nothing(tmp_path: Path) -> None:
    trace = tmp_path / "t.csv"
    trace.write_text("arrival_s,prompt_tokens,output_tokens\n" + "".join(f"{i},100,5\n" for i in range(30)))
    replayed = {**BASE, "workload": {"trace": {"csv": {"path": str(trace)}}}}
    for scenario, seeds in ((BASE, 1), (replayed, 3)):
        found = sim.compare(scenario, seeds=seeds, jobs=1, variants=["slow host"], model_error=False)
        assert found.replications == 1
        assert all(d.better is None and d.low is None for d in found.differences)
        assert "beats" not in text_of(found)
        assert any("nothing is said of how sure" in note for note in found.notes)


def test_a_difference_within_the_models_error_is_a_tie(tmp_path: Path) -> None:
    """A GPU with 3% more bandwidth than the H100, whose profile may be 3.4% off in a decode step (one sigma)."""
    folder = tmp_path / "h100-faster"
    shutil.copytree(data_dir("hwprofiles") / "h100-sxm", folder)
    facts = (folder / "device.yaml").read_text()
    faster = facts.replace("name: h100-sxm", "name: h100-faster").replace(
        "{value: 3350000000000", "{value: 3450000000000"
    )
    (folder / "device.yaml").write_text(faster)
    variants = {"faster GPU": {"cluster": {"gpu": str(folder)}}, "slow host": BASE["variants"]["slow host"]}
    scenario = {**BASE, "variants": variants}

    def tpot(model_error: bool) -> dict[str, Difference]:
        found = sim.compare(scenario, seeds=5, jobs=1, model_error=model_error)
        return {d.variant: d for d in found.differences if d.metric == "mean_tpot_ms"}

    sure, unsure = tpot(False), tpot(True)
    assert sure["faster GPU"].better > 0.99
    assert unsure["faster GPU"].better < 0.95
    assert unsure["faster GPU"].change == sure["faster GPU"].change
    # An error of one GPU's curves is the same for all variants on it, and cancels.
    assert 1 - unsure["slow host"].better > 0.99


def test_other_requests_are_said() -> None:
    other = {**BASE, "variants": {"more": {"workload": {"requests": 130}}}}
    assert "not the same requests as under 'as written': more" in sim.compare(other, jobs=1).notes


def test_saved_whole_and_the_same_in_parallel(tmp_path: Path) -> None:
    one = sim.compare(BASE, seeds=2, jobs=1, variants=["slow host"])
    two = sim.compare(BASE, seeds=2, jobs=2, variants=["slow host"])
    one.save(tmp_path / "one"), two.save(tmp_path / "two")
    assert sorted(path.name for path in (tmp_path / "one").iterdir()) == [
        "comparison.json", "comparison.png", "runs.csv",
    ]  # fmt: skip
    for name in ("comparison.json", "comparison.png", "runs.csv"):
        assert (tmp_path / "one" / name).read_bytes() == (tmp_path / "two" / name).read_bytes()
    saved = json.loads((tmp_path / "one" / "comparison.json").read_text())
    assert saved["variants"]["slow host"]["metrics"]["mean_tpot_ms"] == pytest.approx(one.table.mean_tpot_ms.iloc[1])
    shares = saved["variants"]["slow host"]["gpu_time"].values()
    assert sum(shares) == pytest.approx(1)


def test_several_files(tmp_path: Path) -> None:
    plain = {**BASE, "variants": {}}
    found = sim.compare({**plain, "name": "a"}, {**plain, "name": "b", "engine": {"max_num_seqs": 2}}, jobs=1)
    assert found.variants == ("a", "b")


@pytest.mark.parametrize(
    ("sources", "options", "words"),
    [
        ([{**BASE, "variants": {}}], {}, "nothing to compare"),
        ([BASE], {"variants": ["slow hosts"]}, "did you mean 'slow host'"),
        ([BASE], {"seeds": 0}, "at least 1"),
        ([BASE, BASE], {}, "same name"),
        ([BASE, {**BASE, "name": "b"}], {"variants": ["slow host"]}, "several files"),
    ],
)
def test_bad_questions(sources: list[Any], options: dict[str, Any], words: str) -> None:
    with pytest.raises(sim.ServecastError, match=words):
        sim.compare(*sources, jobs=1, **options)


def difference(change: float, low: float, high: float, better: float, metric: str = "p99_tpot_ms", **more: Any) -> Any:
    return Difference("b", metric, 100.0, 100.0 + change, change, low, high, better, **more)


@pytest.mark.parametrize(
    ("found", "told"),
    [
        # the winner's own change against the loser: from 100 to 104 is 4% more, from 104 to 100 3.8% less
        (difference(4, 2, 6, 0.01), "a beats b on TPOT p99: 3.8% lower (95% sure: 1.9% to 5.8%)"),
        (difference(-4, -6, -2, 0.99), "b beats a on TPOT p99: 4.0% lower (95% sure: 2.0% to 6.0%)"),
        (difference(4, 2, 6, 0.99, "request_goodput"), "b beats a on goodput/s: 4.0% higher (95% sure: 2.0% to 6.0%)"),
        # one that is the better with 95.4%, but whose interval holds 0
        (
            difference(-5.5, -13.3, 2.2, 0.954, doubt="model"),
            "b ties with a on TPOT p99 (-5.5% [-13.3%, +2.2%]): step times may be off by more",
        ),
        (
            difference(-48, -148, 52, 0.9, "p99_ttft_ms", doubt="seeds"),
            "b ties with a on TTFT p99 (-48.0% [-148.0%, +52.0%]): the seeds differ by as much (more --seeds may tell)",
        ),
        (difference(0.4, 0.3, 0.5, 0.001), "b ties with a on TPOT p99 (+0.40%): less than 1% apart"),
        (difference(0, 0, 0, 0.5), "b ties with a on TPOT p99: no difference"),
    ],
)
def test_one_rule_for_what_beats_and_what_ties(found: Difference, told: str) -> None:
    assert list(claims(("a", "b"), [found], {})) == [told]
    assert found.sure == (found.low > 0 or found.high < 0) == ("beats" in told or "less than" in told)


def test_what_makes_a_difference_unsure() -> None:
    """Changes 9, 10, 11: 10 +- 4.30 x 0.577 = 2.5 by chance alone; step times that move each by 4 add 4.30 x 4."""
    assert sureness([9, 10, 11], [], True)[3] == ""
    assert sureness([9, 10, 11], [4, -4, 4], True)[3] == "model"
    assert sureness([-9, 10, 29], [], True)[3] == "seeds"


def test_the_best_is_marked_only_where_it_reads_as_better() -> None:
    assert best("p99_ttft_ms", [505.0, 263.0]) == 263.0
    assert best("p99_ttft_ms", [263.01, 263.02, 505.0]) is None
    assert best("slo_attainment", [0.98501, 0.98502]) is None
    assert best("preemptions", [1, 2]) is None
    unsure, sure = difference(-5.5, -13.3, 2.2, 0.954), difference(4, 2, 6, 0.99, "request_goodput")
    assert ties([unsure, sure]) == {("b", "p99_tpot_ms")}


def test_variants_of_several_files_are_not_left_out_in_silence() -> None:
    others = {**BASE, "variants": {"slow host": BASE["variants"]["slow host"]}}
    found = sim.compare({**others, "name": "a"}, {**others, "name": "b", "engine": {"max_num_seqs": 2}}, jobs=1)
    assert any("their variants were not run: a: slow host; b: slow host" in note for note in found.notes)


def test_that_seeds_replay_a_trace_is_said_before(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "t.csv").write_text("arrival_s,prompt_tokens,output_tokens\n0,100,5\n1,100,5\n")
    trace = {"trace": {"csv": {"path": str(tmp_path / "t.csv")}}}
    (tmp_path / "replayed.yaml").write_text(json.dumps({**BASE, "workload": trace}))
    (tmp_path / "drawn.yaml").write_text(json.dumps(BASE))
    for name, said in (("replayed", True), ("drawn", False)):
        line = ["compare", str(tmp_path / f"{name}.yaml"), "--variant", "slow host", "--seeds", "2", "--jobs", "1"]
        assert servecast(monkeypatch, *line) == 0
        assert ("the trace gives every seed the same requests" in capsys.readouterr().err) == said
