"""The notebooks run from their first line to their last, findings included."""

import runpy
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from matplotlib import pyplot

NOTEBOOKS = sorted((Path(__file__).resolve().parent.parent / "notebooks").glob("*.py"))


def test_there_are_five_stories() -> None:
    assert len(NOTEBOOKS) == 5


@pytest.fixture(autouse=True)
def no_window() -> Iterator[None]:
    before = pyplot.get_backend()
    pyplot.switch_backend("agg")
    yield
    pyplot.close("all")
    pyplot.switch_backend(before)


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_a_notebook_runs_and_its_findings_hold(path: Path) -> None:
    if "import ipywidgets" in path.read_text():
        pytest.importorskip("ipywidgets", reason="the extra `notebook` is not installed")
    left = runpy.run_path(str(path))
    if "sliders" in left:
        sliders_serve_again(left["sliders"])


def sliders_serve_again(sliders: Any) -> None:
    """Fewer seats: the same requests are served again, and fewer are in time."""
    seats, before = sliders.children[0], sliders.result
    assert before.scenario.engine.max_num_seqs == seats.value
    seats.value = 4
    after = sliders.result
    assert after is not before and after.scenario.engine.max_num_seqs == 4
    assert after.summary["slo_attainment"]["all"] < before.summary["slo_attainment"]["all"]
    assert after.requests["arrival_s"].equals(before.requests["arrival_s"])
