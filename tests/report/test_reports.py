"""What a person sees: the terminal table, the picture, the files."""

import io
import json
import math
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow.parquet as pq
import pytest
from matplotlib.figure import Figure
from rich.console import Console

import sim
from sim.errors import ServecastError
from sim.metrics import Slo, requests_frame, steps_frame, summarize, timeline
from sim.record import pauses_table
from sim.report.overview import finding, overview
from sim.report.save import FILES, TABLES, save, save_png, summary_json
from sim.report.targets import verdict
from sim.report.terminal import print_report
from sim.report.words import duration, money, number, percent, tick
from tests.metrics.queues import Tables, context, requests_table, steps_table
from tests.report.toy import chat, serve


def summary_of(tables: Tables) -> dict:
    return summarize(tables.requests, tables.steps, tables.bins, tables.counts, tables.context)


def draw(tables: Tables) -> Figure:
    frame = timeline(tables.requests, tables.steps, tables.context)
    return overview(summary_of(tables), requests_frame(tables.requests, ("default",)), frame)


def printed(summary: dict, width: int = 90, **more: float) -> str:
    console = Console(width=width, record=True, color_system=None, file=io.StringIO())
    print_report(summary, console, **more)
    return console.export_text()


@pytest.fixture(scope="module")
def light() -> Tables:
    return chat(3, 300, name="chat", slo=Slo(ttft_s=0.5, tpot_s=0.02), warnings=("a tenth is extrapolated",))


@pytest.fixture(scope="module")
def heavy() -> Tables:
    return chat(60, 1500, name="overload", slo=Slo(ttft_s=0.5, e2e_s=5.0))


def test_a_saturated_run_says_so_in_its_first_line(heavy: Tables, light: Tables) -> None:
    summary = summary_of(heavy)
    first = printed(summary).splitlines()[0]
    assert first.startswith("SATURATED: queue still growing")
    assert f"{summary['saturation']['backlog']:,} waiting" in first
    assert "SATURATED" not in printed(summary_of(light))


@pytest.mark.parametrize("width", [80, 90, 100, 140])
def test_the_table_fits_and_holds_the_figures(light: Tables, width: int) -> None:
    summary = summary_of(light)
    text = printed(summary, width, wall_s=0.5)
    assert max(map(len, text.splitlines())) <= width
    assert "…" not in text
    for label in (
        "TTFT",
        "TPOT",
        "ITL",
        "E2E",
        "queue wait",
        "goodput/s",
        "KV cache",
        "MFU",
        "starved",
        "p99",
    ):
        assert label in text, label
    assert "step times: datasheet roofline, not measured" in text
    assert "warning: a tenth is extrapolated" in text
    assert "600 requests per second" in text
    assert duration(summary["p99_ttft_ms"] / 1e3) in text


def test_without_slo_there_is_no_goodput() -> None:
    summary = summary_of(chat(3, 50))
    assert "goodput" not in printed(summary) + finding(summary)


def test_the_picture_leaves_pyplot_alone(light: Tables) -> None:
    import matplotlib.pyplot as plt

    figure = draw(light)
    assert plt.get_fignums() == []
    assert len(figure.axes) == 10


def nothing_ran() -> Tables:
    gone = np.full(3, np.nan)
    requests = requests_table(np.array([0.0, 1.0, 2.0]), gone, gone, gone)
    requests["status"] = np.full(3, "rejected")
    none = np.zeros(0, dtype=np.int64)
    return Tables(requests, steps_table(0), none, none, context(0.0))


@pytest.mark.parametrize(
    "tables",
    [
        serve(np.array([0.0]), np.array([500]), np.array([100])),
        serve(np.array([0.0, 0.1]), np.array([500, 20]), np.array([1, 1])),
        serve(np.array([0.0, 90000.0]), np.array([500, 20]), np.array([5, 7]), slo=Slo(ttft_s=1e-6)),
        nothing_ran(),
    ],
    ids=["one request", "one token each", "a day of idling", "all rejected"],
)
def test_odd_runs_are_drawn_and_printed(tables: Tables, tmp_path: Path) -> None:
    save_png(draw(tables), tmp_path / "overview.png")
    assert (tmp_path / "overview.png").stat().st_size > 10_000
    assert "GPU time" in printed(summary_of(tables), 80)


def saved(tables: Tables, folder: Path) -> Path:
    return save(
        folder,
        summary=summary_of(tables),
        tables={
            "requests": requests_frame(tables.requests, ("default",)),
            "steps": steps_frame(tables.steps),
            "pauses": pd.DataFrame(pauses_table([])),
            "timeline": timeline(tables.requests, tables.steps, tables.context),
        },
        resolved_yaml="name: chat\n",
        figure=draw(tables),
    )


def test_files_hold_the_run_and_are_the_same_bytes_twice(light: Tables, tmp_path: Path) -> None:
    one, two = saved(light, tmp_path / "deep/one"), saved(light, tmp_path / "two")
    assert sorted(path.name for path in one.iterdir()) == sorted(FILES)
    for name in FILES:
        assert (one / name).read_bytes() == (two / name).read_bytes(), name
    frame = pd.read_parquet(one / "requests.parquet")
    assert len(frame) == 300
    assert set(frame["status"]) == {"finished"}
    np.testing.assert_array_equal(frame["ttft_s"], frame["first_token_s"] - frame["arrival_s"])
    assert pq.read_schema(one / "steps.parquet").metadata is None
    summary = json.loads((one / "summary.json").read_text())
    assert summary["mean_ttft_ms"] == pytest.approx(float(frame["ttft_s"].mean()) * 1e3)
    assert [path.name for path in tmp_path.iterdir() if path.name.startswith(".")] == []


def test_saving_again_replaces_results_and_keeps_other_files(light: Tables, heavy: Tables, tmp_path: Path) -> None:
    folder = saved(light, tmp_path / "out")
    (folder / "notes.txt").write_text("mine")
    saved(heavy, folder)
    assert json.loads((folder / "summary.json").read_text())["name"] == "overload"
    assert sorted(path.name for path in folder.iterdir()) == sorted([*FILES, "notes.txt"])


@pytest.mark.parametrize("existing", [False, True])
@pytest.mark.parametrize("failure", [OSError(28, "No space left on device"), KeyboardInterrupt()])
def test_a_write_that_fails_leaves_nothing_behind(
    light: Tables, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, failure: BaseException, existing: bool
) -> None:
    folder = tmp_path / "out"
    if existing:
        folder.mkdir()
        (folder / "summary.json").write_text("old")

    def broken(*_: object, **__: object) -> None:
        raise failure

    figure = draw(light)
    monkeypatch.setattr(figure, "savefig", broken)
    tables = {name: pd.DataFrame({"a": [1]}) for name in TABLES}
    expected = ServecastError if isinstance(failure, OSError) else KeyboardInterrupt
    with pytest.raises(expected) as error:
        save(folder, summary={}, tables=tables, resolved_yaml="", figure=figure)
    if expected is ServecastError:
        assert str(error.value) == f"cannot write results to {folder}: No space left on device"
    assert sorted(path.name for path in tmp_path.rglob("*")) == (["out", "summary.json"] if existing else [])


def test_a_file_in_the_way_is_a_clear_error(light: Tables, tmp_path: Path) -> None:
    (tmp_path / "out").write_text("a file")
    with pytest.raises(ServecastError, match="a file has that name; choose another"):
        saved(light, tmp_path / "out")


def test_summary_json_is_strict() -> None:
    with pytest.raises(ValueError, match="JSON"):
        summary_json({"x": math.nan})


def test_numbers_as_people_read_them() -> None:
    assert [number(x) for x in (0, 1, 0.01234, 999.6, 1234.4, 9996, 12345, 2.5e6, None, math.nan)] == [
        "0", "1.00", "0.0123", "1,000", "1,234", "10.0k", "12.3k", "2.50M", "-", "-",
    ]  # fmt: skip
    assert [duration(x) for x in (0, 2e-6, 0.0123, 0.9999, 75, 754, 3725, None)] == [
        "0 s", "2.00 µs", "12.3 ms", "1.00 s", "75.0 s", "12 min 34 s", "1 h 02 min", "-",
    ]  # fmt: skip
    assert [tick(x) for x in (0, 0.5, 10, 20_000)] == ["0", "0.5", "10", "20k"]
    assert [tick(x, seconds=True) for x in (0.02, 1, 100, 1000)] == ["20 ms", "1 s", "100 s", "1,000 s"]
    assert [percent(x) for x in (0, 0.0001, 0.1234, 1, None)] == ["0.0%", "<0.1%", "12.3%", "100.0%", "-"]
    assert [money(x) for x in (0.1234, 1234.5, None)] == ["$0.123", "$1,234.50", "-"]


def told(attainment: dict[str, float | None] | None, p99_ms: float = 505.0, count: int = 1000) -> str:
    slo = {"ttft_ms": 500.0, "tpot_ms": 50.0}
    few = {"too_few_for": [] if count >= 299 else ["p99"]}
    summary = {"slo": slo, "slo_attainment": attainment, "p99_ttft_ms": p99_ms, "p99_tpot_ms": 20.0, "validity": few}
    found = verdict(summary)
    assert found is None or found[0] == found[1].startswith("met")
    return found[1] if found else ""


def test_a_run_says_whether_its_targets_are_met() -> None:
    assert told(None) == "" and told({"ttft": None, "tpot": None, "all": None}) == ""
    assert told({"ttft": 0.995, "tpot": 1.0, "all": 0.99}) == "met by 99.0% of the requests"
    missed = "missed, 98.5% of the requests meet all of them and not 99%"
    assert told({"ttft": 0.985, "tpot": 1.0, "all": 0.985}) == f"{missed}: TTFT p99 505 ms, not 500 ms"
    assert told({"ttft": 0.985, "tpot": 1.0, "all": 0.985}, count=100) == f"{missed}: TTFT is met by 98.5%"
    assert told({"ttft": 0.992, "tpot": 0.993, "all": 0.985}) == f"{missed}, though enough meet each"


def test_who_is_turned_away_misses_the_targets_and_no_percentile_is_blamed() -> None:
    """A tenth of the prompts are too long; all others are answered at once."""
    summary = sim.run("quickstart", overrides=["engine.max_model_len=2000", "workload.trace.csv.speedup=1"]).summary
    rejected = summary["requests"]["rejected"]
    assert rejected > 0 and verdict(summary) is not None
    assert str(verdict(summary)[1]).endswith(f"and not 99%: {rejected} requests rejected")
