"""What notebooks show."""

import re
from html.parser import HTMLParser

import pytest
from matplotlib import pyplot

import sim
from tests.export import results


class Balanced(HTMLParser):
    """Refuses tags that do not close in their order."""

    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []
        self.text = ""

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        if tag != "br":
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.text += data


@pytest.mark.parametrize(
    ("shown", "words"),
    [
        (results.run, ("believe these numbers", "TTFT", "decode", "60 requests")),
        (results.comparison, ("three GPUs", "believe these numbers", "goodput/s", "one seed: differences")),
        (results.sweep, ("2 points", "engine.max_num_seqs", "64")),
        (results.diagnosis, ("What holds it back", "What would help", "today")),
        (results.sizes, ("replicas", "meet the SLO", "l40s", "h100-sxm", "note: believe with care")),
        (results.capacities, ("requests/s", "above it fails", "as written", "three GPUs")),
        (results.validation, ("60 of 60 requests compared", "mean TTFT", "+0.0%", "not diverged")),
        (results.check, ("quickstart: ", "the same to the last bit; passed")),
    ],
)
def test_objects_show_themselves_small_and_whole(shown: object, words: tuple[str, ...]) -> None:
    html = shown()._repr_html_()  # type: ignore[operator]
    page = Balanced()
    page.feed(html)
    assert page.open == []
    assert len(html) < 20_000
    assert "<script" not in html and "http" not in html
    for word in words:
        assert word in page.text
    colours = set(re.findall(r"[^-]color: ([^;]+);", html))
    assert colours == {"inherit", "white", "var(--faint)", "var(--good)", "var(--bad)"}  # none is of one theme


@pytest.mark.parametrize(
    "shown",
    [
        results.run,
        results.comparison,
        results.sweep,
        results.diagnosis,
        results.validation,
        results.sizes,
        results.capacities,
    ],
)
def test_figures_show_themselves_without_pyplot(shown: object) -> None:
    figure = shown().plot()  # type: ignore[operator]
    png = figure._repr_png_()
    assert png.startswith(b"\x89PNG")
    assert int.from_bytes(png[16:20]) == figure.get_figwidth() * figure.dpi
    assert pyplot.get_fignums() == []


def test_a_metric_of_a_comparison_is_drawn_as_bars() -> None:
    comparison = results.comparison()
    axes = comparison.plot_metric("p99_ttft_ms")
    assert [bar.get_width() for bar in axes.patches] == comparison.table["p99_ttft_ms"].tolist()  # type: ignore[attr-defined]
    assert [label.get_text() for label in axes.get_yticklabels()] == [*comparison.variants]
    with pytest.raises(sim.ServecastError, match="did you mean 'p99_ttft_ms'"):
        comparison.plot_metric("p99_ttft")
    pyplot.close("all")
