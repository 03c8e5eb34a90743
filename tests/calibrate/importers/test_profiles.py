"""An imported folder is a profile that the simulator runs with, and its curves give back every imported time."""

import datetime
import importlib.util
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import sim
from calibrate.importers.build import import_profile
from calibrate.importers.options import ImportOptions
from calibrate.importers.sources import names
from sim import hardware
from sim.hardware import Profile
from sim.latency import roofline
from sim.latency.curves import Curves
from sim.latency.points import Key, read_points
from sim.latency.shapes import has_roofline, operation_at
from sim.models.operations import Heads
from tests.calibrate.importers import foreign

DAY = datetime.date(2026, 1, 2)


def seconds(curves: Curves, key: Key, place: tuple[float, ...]) -> float:
    """What the simulator says at a place of a curve."""
    if key[0] == "attention_decode":
        batch, context = int(place[0]), place[1]
        return curves.decode(Heads(*(int(cell) for cell in key[2:])).decode(batch, batch, key[1])).at(batch * context)
    operation = operation_at(key, np.array([place]))
    if key[0] != "attention_prefill":
        return float(curves.seconds(operation)[0][0])

    def roof(new: float, context: float) -> float:
        one: Any = roofline.seconds(operation_at(key, np.array([[new, context]])), curves.profile)
        return float(one[0])

    grid = curves.prefill(operation)
    assert grid is not None
    return grid.scaled_by(roof).ratio(int(place[0]), int(place[1]))[0] * roof(*place)


def assert_reproduced(profile: Profile, every: int = 1) -> None:
    """The simulator's curves go through (every n-th of) the profile's points."""
    assert profile.points_file is not None
    curves = Curves(profile)
    found = [(key, *point) for key, own in read_points(profile.points_file).items() for point in own]
    assert found
    for key, place, time_s in found[::every]:
        if has_roofline(key[0]):
            assert seconds(curves, key, place) == pytest.approx(time_s, rel=1e-6), (key, place)


@pytest.mark.parametrize("tool", foreign.ALL)
def test_the_curves_give_back_every_imported_time(tool: str, tmp_path: Path) -> None:
    folder = foreign.ALL[tool](tmp_path / "in")
    assert_reproduced(import_profile(tool, ImportOptions(folder), tmp_path / "p").profile)


times_ms = st.floats(1.0, 1e3).map(lambda value: float(f"{value:.6g}"))


@settings(deadline=None, max_examples=25)
@given(
    gemm=st.dictionaries(st.integers(1, 512), times_ms, min_size=1, max_size=6),
    decode=st.dictionaries(st.tuples(st.integers(1, 64), st.integers(1, 4096)), times_ms, min_size=1, max_size=8),
    prefill=st.dictionaries(st.integers(1, 4096), times_ms, min_size=1, max_size=6),
)
def test_any_times_are_given_back(
    gemm: dict[int, float], decode: dict[tuple[int, int], float], prefill: dict[int, float], tmp_path_factory: Any
) -> None:
    """Whatever the table says, as long as a GPU could do it."""
    who, heads = "VLLM,0.14.0,NVIDIA H100 80GB HBM3,op,kernel", "32,8,128,1,bfloat16,bfloat16"
    folder = tmp_path_factory.mktemp("any")
    head_gemm, head_attention = (text.partition("\n")[0] for text in (foreign.AIC_GEMM, foreign.AIC_CONTEXT))
    foreign.aiconfigurator(
        folder / "in",
        gemm="\n".join([head_gemm, *(f"{who},bfloat16,{m},6144,4096,{t}" for m, t in gemm.items())]),
        context_attention="\n".join([head_attention, *(f"{who},1,{n},{heads},0,{t}" for n, t in prefill.items())]),
        generation_attention="\n".join(
            [head_attention, *(f"{who},{b},1,{heads},{step},{t}" for (b, step), t in decode.items())]
        ),
    )
    profile = import_profile("aiconfigurator", ImportOptions(folder / "in"), folder / "p").profile
    assert_reproduced(profile)
    found = read_points(folder / "p" / "points.csv.gz")
    assert len(found["gemm", "bf16", "6144", "4096"]) == len(gemm)
    assert len(found["attention_decode", "bf16", "32", "8", "128"]) == len(decode)
    assert len(found["attention_prefill", "bf16", "32", "8", "128"]) == len(prefill)


def test_a_scenario_runs_on_an_imported_profile_and_says_so(tmp_path: Path) -> None:
    folder = foreign.llmservingsim(tmp_path / "in")
    import_profile("llmservingsim", ImportOptions(folder), tmp_path / "theirs", today=DAY)
    overrides = [f"cluster.gpu={tmp_path / 'theirs'}", "workload.trace.csv.limit=20"]
    result = sim.run("quickstart", overrides=overrides)
    assert result.summary["completed"] == 20
    assert result.summary["provenance"] == "imported theirs, 2026-01-02"
    assert result.summary["made_with"]["profile"]["provenance"] == "imported"
    said = " ".join(result.warnings)
    assert "not measured but computed from imported figures" in said
    assert "theirs has no points of activation:" in said  # the rest of Llama's element-wise kernels is there


def test_facts_are_those_of_the_base_and_keep_their_sources(tmp_path: Path) -> None:
    made = import_profile("vidur", ImportOptions(foreign.vidur(tmp_path / "in")), tmp_path / "p", today=DAY).profile
    base = hardware.load("h100-sxm")
    assert (made.name, made.provenance, made.date) == ("p", "imported", "2026-01-02")
    for fact in ("memory_bytes", "peak_flops", "derates", "kernel_latency_s", "price_usd_per_hour", "sources"):
        assert getattr(made, fact) == getattr(base, fact)
    text = (tmp_path / "p" / "device.yaml").read_text()
    assert "Vidur" in text
    assert "h100-sxm" in text
    assert text.count(".csv\n") == 3  # each file with its hash


def test_the_report_says_what_was_taken_and_what_was_not(tmp_path: Path) -> None:
    import_profile("aiconfigurator", ImportOptions(foreign.aiconfigurator(tmp_path / "in")), tmp_path / "p", today=DAY)
    text = (tmp_path / "p" / "import_report.md").read_text()
    for words in (
        "imported from AIConfigurator",
        "GPU h100_sxm, vllm 0.14.0; imported on 2026-01-02",
        "| attention_prefill | 1 | 2 | new_tokens 128 to 4,096, context_tokens 0 to 0 |",
        "| gemm_perf.txt | gemm_dtype 'fp8_block': no format of ours | 1 |",
        "experts_sum in the mixture's products",
        "stands for it: embedding, norm,",
        "systems/data/h100_sxm/vllm/0.14.0/gemm_perf.txt",
    ):
        assert words in text.replace(str(tmp_path), ""), words


def test_the_same_source_gives_the_same_bytes(tmp_path: Path) -> None:
    folder = foreign.aiconfigurator(tmp_path / "in")
    for name in ("a", "b"):
        import_profile("aiconfigurator", ImportOptions(folder), tmp_path / name / "p", today=DAY)
    for name in ("points.csv.gz", "device.yaml", "import_report.md"):
        assert (tmp_path / "a/p" / name).read_bytes() == (tmp_path / "b/p" / name).read_bytes()


def _real(tool: str, shared: Path) -> ImportOptions | None:
    """A real source: in the shared folder, or for AIConfigurator where its package is installed."""
    chosen: dict[str, dict[str, Any]] = {
        "aiconfigurator": {"gpu": "h100_sxm", "engine": "vllm"},
        "llmservingsim": {"gpu": "H100"},
        "vidur": {"gpu": "a100", "network": "a100_dgx"},
    }
    folder = shared / "foreign" / tool
    if not folder.is_dir() and tool == "aiconfigurator":
        package = importlib.util.find_spec("aiconfigurator_core")
        if package is not None and package.submodule_search_locations:
            folder = Path(package.submodule_search_locations[0]) / "systems" / "data" / "h100_sxm"
    return ImportOptions(folder, **chosen[tool]) if folder.is_dir() else None


@pytest.mark.parametrize("tool", names())
def test_real_profiles(tool: str, shared: Path, tmp_path: Path) -> None:
    """Real tables are read to the end, their times are near what such a GPU should take, and none is lost."""
    real = _real(tool, shared)
    if real is None:
        pytest.skip(f"no real profile of {tool} at {shared / 'foreign' / tool}")
    imported = import_profile(tool, real, tmp_path / "p", base="a100-80g" if tool == "vidur" else None)
    large = next(one for one in imported.operations if one.op == "gemm")
    assert large.over_roofline is not None
    assert 0.5 < large.over_roofline[0] < 3
    assert_reproduced(imported.profile, every=97)
