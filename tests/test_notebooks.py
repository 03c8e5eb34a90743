"""The notebooks run from their first line to their last, findings included."""

import runpy
from pathlib import Path

import pytest
from matplotlib import pyplot

NOTEBOOKS = sorted((Path(__file__).resolve().parent.parent / "notebooks").glob("*.py"))


def test_there_are_five_stories() -> None:
    assert len(NOTEBOOKS) == 5


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_a_notebook_runs_and_its_findings_hold(path: Path) -> None:
    if "import ipywidgets" in path.read_text():
        pytest.importorskip("ipywidgets", reason="the extra `notebook` is not installed")
    before = pyplot.get_backend()
    pyplot.switch_backend("agg")
    try:
        runpy.run_path(str(path))
    finally:
        pyplot.close("all")
        pyplot.switch_backend(before)
