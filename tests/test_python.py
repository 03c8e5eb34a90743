"""The public interface in Python: what it prints, what it takes, what it opens again."""

import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

import sim
from tests.insight.test_size import PROMPTS

SMALL = {"workload.trace.csv.limit": 60}


def test_overrides_may_be_a_mapping() -> None:
    one = sim.load("quickstart", {"cluster.replicas": 3, "engine": {"max_num_seqs": 7}})
    other = sim.load("quickstart", ["cluster.replicas=3", "engine.max_num_seqs=7"])
    assert one == other and one.cluster.replicas == 3
    assert sim.run("quickstart", overrides=SMALL).summary["requests"]["total"] == 60
    found = sim.compare("quickstart", overrides=SMALL, variants=["three GPUs"], jobs=1)
    assert {one["requests"]["total"] for one in found.summaries.values()} == {60}


@pytest.mark.parametrize(
    ("overrides", "words"),
    [
        ({"cluster.replica": 3}, r"^overrides\['cluster.replica'\]: .* did you mean 'replicas'"),
        ({"cluster.replicas": -3}, r"^overrides\['cluster.replicas'\]: .* greater than or equal to 1, not -3"),
        ({3: 4}, "a key is text like"),
        ({"a..b": 4}, "a key is text like"),
    ],
)
def test_a_wrong_key_is_told_as_it_was_written(overrides: Any, words: str) -> None:
    with pytest.raises(sim.ServecastError, match=words):
        sim.load("quickstart", overrides)


def test_what_prints_is_one_line_that_says_what_it_holds() -> None:
    shown = [
        sim.load("quickstart"),
        sim.run("quickstart", overrides=SMALL),
        sim.compare("quickstart", overrides=SMALL, jobs=1),
        sim.diagnose("quickstart", overrides=SMALL, jobs=1),
        sim.sweep("quickstart", ["cluster.replicas=1,2"], overrides=SMALL, jobs=1),
    ]
    for one in shown:
        assert str(one) == repr(one)
        assert repr(one).startswith(f"<{type(one).__name__} ") and "quickstart" in repr(one)
        assert len(repr(one)) < 200 and "\n" not in repr(one)


def test_sizes_and_capacities_are_lists_with_a_table_and_a_picture(tmp_path: Path) -> None:
    scenario = {**PROMPTS, "workload": {**PROMPTS["workload"], "requests": 300}}
    sizes = sim.size(scenario, gpus=["h100-sxm", "l4"], jobs=1)
    rates = sim.capacity(scenario, tolerance=0.5, jobs=1)
    assert repr(sizes[0]).startswith("<Size of l4 TP1: ") and repr(rates[0]).startswith("<Capacity of 'as written': ")
    assert sizes.table["replicas"].tolist() == [one.replicas for one in sizes]
    assert rates.table["rate_per_s"].tolist() == [rates[0].rate_per_s]
    for found in (sizes, rates):
        assert "<table>" in found._repr_html_() and "prompts" in found._repr_html_()
        found.plot(tmp_path / "picture.png")
        assert (tmp_path / "picture.png").read_bytes().startswith(b"\x89PNG")


def test_one_of_several_needs_no_list() -> None:
    scenario = {**PROMPTS, "workload": {**PROMPTS["workload"], "requests": 100}}
    limit = "mean_queue_wait_ms <= 500"
    (found,) = sim.size(scenario, gpus="l4", tensor_parallel=2, limits=limit, jobs=1)
    assert (found.gpu, found.tensor_parallel) == ("l4", 2) and limit.partition(" ")[0] in found.values
    picked = sim.compare("quickstart", overrides="workload.trace.csv.limit=60", variants="three GPUs", jobs=1)
    assert picked.variants == ("as written", "three GPUs")


def test_a_saved_result_opens_again(tmp_path: Path) -> None:
    result = sim.run("quickstart", overrides=SMALL)
    result.save(tmp_path / "run")
    again = sim.open(tmp_path / "run")
    assert isinstance(again, sim.SavedRun) and again.summary == result.summary
    for name in ("requests", "steps", "timeline"):
        assert getattr(again, name).equals(getattr(result, name))
    assert again.warnings == result.warnings
    assert again.plot_gpu_time().get_title(loc="left") == result.plot_gpu_time().get_title(loc="left")
    comparison = sim.compare("quickstart", overrides=SMALL, jobs=1)
    comparison.save(tmp_path / "compared")
    saved = sim.open(tmp_path / "compared")
    assert isinstance(saved, sim.SavedAnswer) and saved.verb == "compare"
    assert saved.summary["differences"] == comparison.summary()["differences"]
    sweep = sim.sweep("quickstart", ["cluster.replicas=1,2"], overrides=SMALL, jobs=1)
    sweep.save(tmp_path / "swept")
    assert sim.open(tmp_path / "swept").table["request_throughput"].tolist() == pytest.approx(
        sweep.table["request_throughput"].tolist()
    )
    for nothing in ("no-folder", "."):
        with pytest.raises(sim.ServecastError, match=r"is no folder|holds no results"):
            sim.open(tmp_path / nothing)


def test_import_is_light_and_knows_its_version() -> None:
    heavy = "('pandas', 'matplotlib', 'rich')"
    code = f"import sys, sim; assert sim.__version__; print([name for name in {heavy} if name in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "[]\n"


def test_ctrl_c_in_a_run_is_a_plain_interrupt(monkeypatch: pytest.MonkeyPatch) -> None:
    """A process of the event loop that is interrupted is accounted for by the loop in many lines: none of them stay."""
    from sim.engine.core import Engine

    def interrupted(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(Engine, "schedule", interrupted)
    with pytest.raises(KeyboardInterrupt) as caught:
        sim.run("quickstart", overrides=SMALL)
    assert caught.value.__cause__ is None and caught.value.__suppress_context__
    assert len(caught.traceback) == 2
