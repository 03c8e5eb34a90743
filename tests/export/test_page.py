"""The report page: in a real browser, and what it says."""

import json
import re
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pandas as pd
import plotly.graph_objects as go
import pytest

import sim
from sim.errors import ServecastError
from sim.export.page import page
from sim.export.page.requests import MOST_POINTS, thinned
from sim.export.saved import Saved, open_result, saved_run
from tests.commands import servecast
from tests.export import results
from tests.export.browser import look


@pytest.fixture(scope="module")
def everything(tmp_path_factory: pytest.TempPathFactory) -> list[Saved]:
    """A run, a comparison, a diagnosis and a sweep, through their folders."""
    folder = tmp_path_factory.mktemp("results")
    results.run().save(folder / "run")
    results.comparison().save(folder / "compare")
    results.diagnosis().save(folder / "diagnose")
    results.write_sweep(folder / "sweep")
    names = ("run", "compare", "diagnose", "sweep")
    return [saved for name in names for saved in open_result(str(folder / name))]


def specs(html: str) -> list[dict]:
    return [json.loads(text) for text in re.findall(r'<script type="application/json">(.*?)</script>', html)]


@pytest.mark.parametrize(("size", "dark"), [((1300, 900), True), ((390, 844), False)])
def test_a_browser_draws_every_chart_and_complains_of_nothing(
    everything: list[Saved], tmp_path: Path, size: tuple[int, int], dark: bool
) -> None:
    html = page(everything)
    seen = look(html, tmp_path, size=size, dark=dark)
    assert seen.console == []
    assert seen.drawn == len(specs(html)) > 12
    assert seen.loaded == 0  # nothing but the file itself
    assert seen.width <= seen.window  # nothing sticks out of a phone
    assert ("rgb(230, 237, 243)" in seen.dom) == dark  # the ink of axes


def test_the_browser_test_would_see_an_error(tmp_path: Path) -> None:
    broken = '<!doctype html><body><img src="http://example.com/a.png"><script>nothing.such()</script></body>'
    seen = look(broken, tmp_path, size=(600, 400))
    assert any("nothing is not defined" in line for line in seen.console)


def test_every_chart_is_one_that_plotly_knows(everything: list[Saved]) -> None:
    for spec in specs(page(everything)):
        for figure in spec.get("figures", ()):
            go.Figure(data=figure["data"], layout=figure["layout"])  # refuses unknown properties and values


def test_the_page_loads_nothing(everything: list[Saved]) -> None:
    class Links(HTMLParser):
        found: list[str] = []  # noqa: RUF012

        def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
            self.found += [value or "" for name, value in attrs if name in ("src", "href")]

    links = Links()
    links.feed(page(everything))
    assert all(link.startswith(("#", "data:")) for link in links.found)


def test_the_page_says_what_the_summary_says(everything: list[Saved]) -> None:
    html = page(everything)
    summary = results.run().summary
    for words in (
        "believe these numbers", *summary["validity"]["why"], *summary["warnings"], "three GPUs",
        summary["made_with"]["requests_sha256"], "max_num_batched_tokens: 8192", "too &lt;small&gt;",
    ):  # fmt: skip
        assert words in html
    (lives,) = (spec for spec in specs(html) if "lives" in str(spec)[:200])
    waiting = next(trace for trace in lives["figures"][0]["data"] if trace["name"] == "waiting")
    longest = results.run().requests.nlargest(30, "e2e_s").sort_values("arrival_s")
    assert waiting["x"] == pytest.approx(longest["queue_wait_s"].tolist(), rel=1e-5)


def test_the_same_results_are_the_same_bytes(everything: list[Saved]) -> None:
    assert page(everything) == page(everything)


def test_of_many_requests_the_slowest_are_always_drawn() -> None:
    count = 50_000
    ttft = np.random.default_rng(5).exponential(size=count)
    rows, note = thinned(pd.DataFrame({"id": np.arange(count), "ttft_s": ttft}))
    assert MOST_POINTS <= len(rows) <= MOST_POINTS + 300
    assert set(np.argsort(-ttft)[:300]) <= set(rows["id"])
    assert f"{len(rows):,} of 50,000 requests are drawn" in note
    few, said = thinned(rows)
    assert (len(few), said) == (len(rows), "")


def test_a_run_in_which_nothing_ran_has_a_page() -> None:
    nothing = sim.run("quickstart", overrides=["workload.trace.csv.limit=3", "engine.max_model_len=10"])
    assert "NOTHING RAN" in page([saved_run(nothing)])


def test_the_verb_runs_scenarios_and_reads_folders(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    results.run().save(tmp_path / "out")
    target = tmp_path / "two.html"
    assert servecast(monkeypatch, "report", str(tmp_path / "out"), "--out", str(target), "--title", "A <b>") == 0
    assert "written to" in capsys.readouterr().out
    assert "<h1>A &lt;b&gt;</h1>" in target.read_text()
    assert servecast(monkeypatch, "report", "quickstart", "--set", *results.SMALL, "-q", "--out", str(target)) == 0
    assert "60 finished" in target.read_text()


@pytest.mark.parametrize(
    ("source", "overrides", "words"),
    [
        ("empty", (), "holds no results; give a folder written by `servecast run --out`"),
        ("validated", (), "holds the result of `servecast validate`; give a folder written by `servecast run --out`"),
        ("run", ("seed=3",), "has been run already: --set seed=3"),
        ("broken", (), "cannot read"),
        ("nothing-such", (), "no shipped scenario"),
    ],
)
def test_what_cannot_be_reported_is_said(tmp_path: Path, source: str, overrides: tuple[str, ...], words: str) -> None:
    (tmp_path / "empty").mkdir()
    (tmp_path / "broken").mkdir()
    (tmp_path / "broken" / "summary.json").write_text("{")
    results.run().save(tmp_path / "run")
    (tmp_path / "validated").mkdir()
    (tmp_path / "validated" / "validation.png").touch()
    place = source if source == "nothing-such" else str(tmp_path / source)
    with pytest.raises(ServecastError, match=re.escape(words)):
        open_result(place, overrides)


def test_tenants_and_priorities_have_their_tables() -> None:
    said = {
        "model": "llama-3.1-8b", "cluster": {"gpu": "h100-sxm"},
        "workload": {
            "arrivals": {"poisson": {"rate_per_s": 20}}, "prompt_tokens": {"fixed": {"tokens": 50}},
            "output_tokens": {"fixed": {"tokens": 5}}, "requests": 40, "tenants": {"<big>": 3, "small": 1},
        },
    }  # fmt: skip
    html = page([saved_run(sim.run(said))])
    assert "Told apart" in html and "&lt;big&gt;</td>" in html
    assert "Told apart" not in page([saved_run(results.run())])
