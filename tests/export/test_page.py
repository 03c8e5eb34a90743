"""The report page: in a real browser, and what it says."""

import json
import math
import re
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import plotly.graph_objects as go
import pytest

import sim
from sim.errors import ServecastError
from sim.export.page import charts, page
from sim.export.page.kinds import kinds
from sim.export.page.opening import Opened, open_results, opened_run
from sim.export.page.replicas import picked, replicas_of
from sim.export.page.requests import MOST_POINTS, thinned, why
from sim.export.page.side_by_side import best_of
from sim.export.saved import saved_run
from sim.insight.cards import metrics_table
from sim.insight.comparison import METRICS
from sim.report.folder import MARKS
from tests.commands import servecast
from tests.export import results
from tests.export.browser import look
from tests.export.test_cards import Balanced


@pytest.fixture(scope="module")
def everything(tmp_path_factory: pytest.TempPathFactory) -> list[Opened]:
    """A result of every kind, through its folder."""
    with pytest.MonkeyPatch.context() as monkeypatch:
        folders = results.write_all(tmp_path_factory.mktemp("all results"), monkeypatch)
    return [opened for folder in folders for opened in open_results(str(folder))]


@pytest.fixture(scope="module")
def html(everything: list[Opened]) -> str:
    return page(everything)


@pytest.fixture(scope="module")
def broken(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Folders that are no results, not whole, or of a version before."""
    place = tmp_path_factory.mktemp("broken")
    for name, file, text in (
        ("empty", "a.txt", ""),
        ("broken", MARKS["run"], "{"),
        ("old", "capacity.json", '{"name": "x"}'),
    ):
        (place / name).mkdir()
        (place / name / file).write_text(text)
    results.run().save(place / "run")
    results.run().save(place / "half")
    (place / "half" / "steps.parquet").write_bytes(b"PAR1")
    return place


def specs(html: str) -> list[dict]:
    return [json.loads(text) for text in re.findall(r'<script type="application/json">(.*?)</script>', html)]


@pytest.mark.parametrize(("size", "dark"), [((1300, 900), True), ((390, 844), False)])
def test_a_browser_draws_every_chart_and_complains_of_nothing(
    html: str, tmp_path: Path, size: tuple[int, int], dark: bool
) -> None:
    seen = look(html, tmp_path, size=size, dark=dark)
    assert seen.console == []  # the names, which look like scripts, have not run either
    assert seen.drawn == len(specs(html)) > 30
    assert seen.loaded == 0  # nothing but the file itself
    assert seen.width <= seen.window  # nothing sticks out of a phone
    assert ("rgb(230, 237, 243)" in seen.dom) == dark  # the ink of axes


_CHOOSE_EVERYTHING = """
const done = setInterval(() => {
  if (!document.body.dataset.drawn) return;
  clearInterval(done);
  let chosen = 0;
  for (const menu of document.querySelectorAll("figure select")) {
    for (const option of [...menu.options].reverse()) {
      menu.value = option.value;
      menu.dispatchEvent(new Event("change"));
      chosen += 1;
    }
  }
  dispatchEvent(new Event("beforeprint"));
  dispatchEvent(new Event("afterprint"));
  document.body.dataset.chosen = chosen;
}, 50);"""


def test_every_choice_can_be_drawn_and_printed(everything: list[Opened], tmp_path: Path) -> None:
    kinds_once = {opened.kind.VERB: opened for opened in everything}
    html = page([kinds_once[verb] for verb in ("run", "compare", "sweep", "validate")])
    menus = sum(len(spec.get("figures", ())) > 1 or 2 * ("explore" in spec) for spec in specs(html))
    seen = look(html, tmp_path, size=(1300, 900), script=_CHOOSE_EVERYTHING)
    assert seen.console == []
    chosen = re.search(r'data-chosen="(\d+)"', seen.dom)
    assert chosen and int(chosen[1]) > 2 * menus > 10


def test_the_browser_test_would_see_an_error(tmp_path: Path) -> None:
    broken = '<!doctype html><body><img src="http://example.com/a.png"><script>nothing.such()</script></body>'
    seen = look(broken, tmp_path, size=(600, 400))
    assert any("nothing is not defined" in line for line in seen.console)


def test_every_kind_is_there(everything: list[Opened], html: str) -> None:
    assert {opened.kind.VERB for opened in everything} == {kind.VERB for kind in kinds()} == set(MARKS)
    for opened in everything:
        assert f'<span class="faint">{opened.kind.NOUN}</span></h2>' in html


def test_every_chart_is_one_that_plotly_knows(html: str) -> None:
    for spec in specs(html):
        for figure in spec.get("figures", ()):
            go.Figure(data=figure["data"], layout=figure["layout"])  # refuses unknown properties and values


def test_who_cannot_see_or_point_is_served_too(html: str) -> None:
    class Tags(Balanced):
        found: list[tuple[str, dict[str, str | None]]] = []  # noqa: RUF012

        def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
            self.found.append((tag, dict(attrs)))

    tags = Tags()
    tags.handle_endtag = lambda tag: None  # type: ignore[method-assign]
    tags.feed(html)
    links = [attrs.get("src") or attrs.get("href") or "" for _, attrs in tags.found]
    assert all(link.startswith(("#", "data:")) for link in links if link)  # the page loads nothing
    anchors = {attrs.get("id") for _, attrs in tags.found}
    assert {link[1:] for link in links if link.startswith("#")} <= anchors
    assert all(attrs.get("scope") in ("col", "row") for tag, attrs in tags.found if tag == "th")
    charts = [attrs for tag, attrs in tags.found if attrs.get("class") == "chart"]
    assert len(charts) == len(specs(html))
    for attrs in charts:
        assert attrs["role"] == "img" and len(attrs["aria-label"] or "") > 20, attrs
    assert all(attrs.get("tabindex") == "0" for _, attrs in tags.found if attrs.get("class") == "wide")


def test_pieces_close_what_they_open(html: str) -> None:
    parsed = Balanced()
    body = re.sub(r"<script.*?</script>", "", html[html.index("<main") : html.index("</main>") + 7], flags=re.S)
    parsed.feed(body)
    assert parsed.open == []


def test_the_page_says_what_the_summary_says(html: str) -> None:
    summary = results.run().summary
    for words in (
        "believe these numbers", *summary["validity"]["why"], *summary["warnings"], "60 requests were served in",
        summary["made_with"]["requests_sha256"], "max_num_batched_tokens: 8192", "too &lt;small&gt;",
        "servecast capacity", "FAILED: of", "the means are off by: TTFT +0.0%", "meet the targets", "50 requests of",
        "carries the most", "in one", "tokens of KV cache",
    ):  # fmt: skip
        assert words in html, words
    lives = next(spec for spec in specs(html) if "lives" in str(spec)[:200])
    waiting = next(trace for trace in lives["figures"][0]["data"] if trace["name"] == "waiting")
    longest = results.run().requests.nlargest(30, "e2e_s").sort_values("arrival_s")
    assert waiting["x"] == pytest.approx(longest["queue_wait_s"].tolist(), rel=1e-5)


def test_gpu_time_over_time_comes_to_the_summary_s() -> None:
    html = page([opened_run(saved_run(results.run()))])
    chart = next(spec for spec in specs(html) if "stackgroup" in str(spec))
    timeline, fraction = results.run().timeline, results.run().summary["gpu_time"]["fraction"]
    for layer in chart["figures"][0]["data"]:
        share = float((np.array(layer["y"]) * timeline["width_s"]).sum()) / results.run().summary["gpu_time"]["total_s"]
        assert share == pytest.approx(fraction[layer["name"]], abs=1e-4), layer["name"]


def test_the_same_results_are_the_same_bytes(everything: list[Opened], html: str) -> None:
    assert page(everything) == html


def test_names_are_shown_as_they_are(html: str) -> None:
    assert results.ODD not in html
    assert "&lt;script&gt;nothing.such()&lt;/script&gt; &amp; &lt;b&gt;co&lt;/b&gt;" in html


def test_of_many_requests_the_slowest_are_always_drawn() -> None:
    count = 50_000
    ttft = np.random.default_rng(5).exponential(size=count)
    rows, note = thinned(pd.DataFrame({"id": np.arange(count), "ttft_s": ttft}))
    assert MOST_POINTS <= len(rows) <= MOST_POINTS + 300
    assert set(np.argsort(-ttft)[:300]) <= set(rows["id"])
    assert f"{len(rows):,} of 50,000 requests are drawn" in note
    few, said = thinned(rows)
    assert (len(few), said) == (len(rows), "")


def test_of_many_replicas_the_ends_are_shown() -> None:
    table = replicas_of(saved_run(results.fleet()))
    shown, note = picked(table)
    assert len(shown) < len(table) == 30
    assert {table["busy"].idxmax(), table["requests"].idxmax(), table["ttft_p99_s"].idxmax()} <= set(shown)
    assert f"{len(shown)} of 30 replicas are shown" in note
    assert table["requests"].sum() == 80
    busy = results.fleet().steps.eval("end_s - start_s").sum()
    assert table["busy_s"].sum() == pytest.approx(busy)


def test_why_a_request_was_slow() -> None:
    """Sent again after 1 s, queued for 2, prefill of 60 tokens for 1, decode for 6, of which 2 to be handed over."""
    row = {
        "arrival_s": 0.0, "sent_s": 1.0, "scheduled_s": 3.0, "first_token_s": 4.0, "finish_s": 10.0, "ttft_s": 4.0,
        "e2e_s": 10.0, "prompt_tokens": 100, "cached_tokens": 40, "generated_tokens": 21, "preemptions": 0,
        "recomputed_tokens": 0, "requeues": 0,
    }  # fmt: skip
    assert why(row) == "50% queued, 25% sent again, 25% prefill of 60 tokens"
    told = why({**row, "decode_scheduled_s": 6.0, "preemptions": 2, "recomputed_tokens": 1500}, until="e2e_s")
    assert told.startswith("40% decode of 21 tokens, 20% queued, 20% handed over, 10%")
    assert told.endswith("preempted 2x, 1,500 tokens computed again")


def test_variants_side_by_side() -> None:
    nothing = dict.fromkeys(METRICS, float("nan"))
    metrics = {
        "first": {**nothing, "request_goodput": 10.0, "p99_ttft_ms": 400.0},
        "other": {**nothing, "request_goodput": 12.0, "p99_ttft_ms": 600.0},
    }
    assert best_of(metrics) == "other has the best goodput/s: 12.0, against 10.0 of first (+20.0%)."
    assert "a tie" in best_of(metrics, {("other", "request_goodput")})
    assert best_of(dict(reversed(metrics.items()))).startswith("No other beats other on goodput/s, 12.0")
    html = metrics_table(metrics, dict.fromkeys(metrics, False), slo={"first": None, "other": {"ttft_ms": 500.0}})
    assert '<td class="better best"><span>12.0</span> <small>+20.0%</small></td>' in html
    assert '<td class="worse miss"><span>600 ms</span> <small>+50.0%, over the SLO</small></td>' in html


def test_several_runs_are_drawn_into_the_same_charts() -> None:
    runs = [opened_run(saved_run(one)) for one in (results.run(), results.fleet())]
    html = page(runs)
    assert "The runs side by side" in html and "did not serve the same requests" in html
    first = specs(html)[0]["figures"]
    assert [figure["label"] for figure in first] == ["TTFT", "TPOT", "E2E"]
    assert [trace["name"] for trace in first[0]["data"]] == ["quickstart", charts.plain(results.ODD)]


def test_a_run_in_which_nothing_ran_has_a_page() -> None:
    nothing = sim.run("quickstart", overrides=["workload.trace.csv.limit=3", "engine.max_model_len=10"])
    assert "NOTHING RAN" in page([opened_run(saved_run(nothing))])


def test_the_verb_runs_scenarios_and_reads_folders(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    folder = tmp_path / "a folder"
    assert servecast(monkeypatch, "run", "quickstart", "--set", *results.SMALL, "-q", "--out", str(folder)) == 0
    target = tmp_path / "two pages.html"
    assert servecast(monkeypatch, "report", str(folder), "--out", str(target), "--title", "A <b>") == 0
    assert "written to" in capsys.readouterr().out
    assert "<h1>A &lt;b&gt;</h1>" in target.read_text()
    assert "servecast run quickstart" in target.read_text()  # how to run it again
    assert servecast(monkeypatch, "report", "quickstart", "--set", *results.SMALL, "-q", "--out", str(target)) == 0
    assert "60 requests were served" in target.read_text()


@pytest.mark.parametrize(
    ("source", "overrides", "words"),
    [
        ("empty", (), "holds no results; give a folder written with --out by one of `run`, `compare`"),
        ("run", ("seed=3",), "has been run already: --set seed=3"),
        ("broken", (), "cannot read"),
        ("half", (), "cannot read the results in"),
        ("old", (), "has no 'capacities': it is not what this version of servecast writes; run again with --out"),
        ("run/summary.json", (), "is a single file of a result, or none; give the folder that --out wrote"),
        ("nothing-such", (), "no shipped scenario"),
    ],
)
def test_what_cannot_be_reported_is_said(broken: Path, source: str, overrides: tuple[str, ...], words: str) -> None:
    place = source if source == "nothing-such" else str(broken / source)
    with pytest.raises(ServecastError, match=re.escape(words)):
        open_results(place, overrides)


def test_what_another_version_wrote_is_said(everything: list[Opened]) -> None:
    run = saved_run(results.run())
    older = type(run)(**{**vars(run), "summary": {key: run.summary[key] for key in run.summary if key != "fleet"}})
    with pytest.raises(ServecastError, match="the result quickstart has no 'fleet': another version of servecast"):
        page([opened_run(older)])
    check = next(opened for opened in everything if opened.kind.VERB == "check")
    with pytest.raises(ServecastError, match=r"has no 'verdicts'.*run `servecast check` again"):
        page([replace(check, saved={key: check.saved[key] for key in check.saved if key != "verdicts"})])


def test_a_sweep_over_two_keys_is_a_map(everything: list[Opened]) -> None:
    sweep = next(opened for opened in everything if opened.kind.VERB == "sweep")
    chart = next(spec for spec in specs(page([sweep])) if "heatmap" in str(spec))
    goodput = chart["figures"][0]
    assert goodput["label"] == "goodput/s"
    (heat,) = goodput["data"]
    assert (heat["x"], heat["y"]) == (["16", "64"], ["1", "2"])
    assert heat["z"] == [[0.5, None], [None, 9.25]]


def test_results_of_before_are_shown_without_what_they_lack(everything: list[Opened]) -> None:
    compared = next(opened for opened in everything if opened.kind.NOUN == "comparison")
    for variant in (old := json.loads(json.dumps(compared.saved)))["variants"].values():
        del variant["slo"], variant["quantiles_ms"]
    del old["made_with"]
    assert "beats as written on goodput/s" in compared.kind.section(old, "x").headline
    run = saved_run(results.run())
    bare = run.timeline[[name for name in run.timeline if not name.startswith("gpus_")]]
    html = page([opened_run(type(run)(**{**vars(run), "timeline": bare}))])
    assert "Queue and batch" in html and "stackgroup" not in str(specs(html))


def test_tenants_and_priorities_have_their_tables() -> None:
    said = {
        "model": "llama-3.1-8b", "cluster": {"gpu": "h100-sxm"},
        "workload": {
            "arrivals": {"poisson": {"rate_per_s": 20}}, "prompt_tokens": {"fixed": {"tokens": 50}},
            "output_tokens": {"fixed": {"tokens": 5}}, "requests": 40, "tenants": {"<big>": 3, "small": 1},
        },
    }  # fmt: skip
    html = page([opened_run(saved_run(sim.run(said)))])
    assert "Told apart" in html and "&lt;big&gt;</th>" in html
    assert "Told apart" not in page([opened_run(saved_run(results.run()))])


def test_a_difference_below_one_per_cent_crowns_nobody() -> None:
    nothing = dict.fromkeys(METRICS, math.nan)
    near = {"first": nothing | {"request_goodput": 1.61}, "other": nothing | {"request_goodput": 1.612}}
    assert "no metric tells them apart" in best_of(near)
    three = near | {"third": nothing | {"request_goodput": 1.0}}
    assert best_of(three).startswith("No other beats first on goodput/s")
    none_good = {"first": nothing | {"request_goodput": 0.0}, "other": nothing | {"request_goodput": 2.0}}
    assert best_of(none_good).startswith("other has the best goodput/s")
