"""The fit: a made-up device is recovered, held-out points stay out, unphysical points are flagged."""

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from calibrate.fit.build import Fitted, fit
from calibrate.fit.circumstances import Circumstances, datasheet_of
from calibrate.rawpoints import RawPoint
from sim import hardware, run
from sim.errors import ServecastError
from sim.latency import roofline
from sim.latency.curves import Curves
from sim.models.operations import Heads, gemm
from tests.calibrate.fit.synthetic import BANDWIDTH, HEADS, LATENCY_S, PEAK, folder, rows, true_s


@pytest.fixture(scope="module")
def fitted(tmp_path_factory: pytest.TempPathFactory) -> Fitted:
    return fit(folder(tmp_path_factory.mktemp("made") / "made-up", rows()))


@pytest.fixture
def no_pictures(monkeypatch: pytest.MonkeyPatch) -> None:
    """They take most of the time."""
    monkeypatch.setattr("calibrate.fit.build.picture", lambda *_: SimpleNamespace(savefig=lambda _: None))


def places(rng: np.random.Generator, low: int, high: int) -> list[int]:
    return [int(x) for x in np.exp(rng.uniform(np.log(low), np.log(high), 200))]


def median_error(pairs: list[tuple[float, float]]) -> float:
    return float(np.median([abs(found / true - 1) for found, true in pairs]))


def test_matrix_products_are_recovered_to_one_per_cent(fitted: Fitted) -> None:
    curves = Curves(fitted.profile)
    for n, k in ((6144, 4096), (4096, 14336), (128256, 4096)):
        ms = places(np.random.default_rng(n), 1, 1024)
        times, outside = curves.seconds(gemm("", 1, np.array(ms, dtype=float), n, k, "bf16"))
        truth = [true_s(RawPoint("gemm", dtype="bf16", m=m, n=n, k=k)) for m in ms]
        assert median_error(list(zip(times.tolist(), truth, strict=True))) < 0.01
        assert not outside.any()


def test_attention_is_recovered_to_one_per_cent(fitted: Fitted) -> None:
    curves, rng = Curves(fitted.profile), np.random.default_rng(1)
    heads = Heads(32, 8, 128)
    grid = curves.prefill(heads.prefill(1, 0, 1, "bf16"))
    assert grid is not None

    def roof(new: float, context: float) -> float:
        pairs = new * context + new * (new + 1) / 2
        return float(roofline.seconds(heads.prefill(new, context, pairs, "bf16"), fitted.profile))

    grid.scaled_by(roof)
    prefills, decodes = [], []
    for new, context in zip(places(rng, 32, 4096), places(rng, 64, 8192), strict=True):
        found = grid.ratio(new, context)[0] * roof(new, context)
        prefills.append((found, true_s(RawPoint("attention_prefill", **HEADS, new_tokens=new, context_tokens=context))))
    for batch, context in zip(places(rng, 1, 128), places(rng, 128, 4096), strict=True):
        line = curves.decode(heads.decode(batch, batch, "bf16"))
        true = true_s(RawPoint("attention_decode", **HEADS, batch=batch, context_tokens=context))
        decodes.append((line.at(batch * context), true))
    assert median_error(prefills) < 0.01
    assert median_error(decodes) < 0.01


def test_the_report_tells_the_error_and_that_the_goals_are_reached(fitted: Fitted) -> None:
    held_out = fitted.summary["held_out"]
    for op in ("gemm", "attention_prefill", "attention_decode"):
        assert held_out[op]["reached"], held_out[op]
        assert held_out[op]["points"] >= 5 and held_out[op]["extrapolated"] == 0
    made = fitted.profile.folder
    text = (made / "fit_report.md").read_text()
    assert "NVIDIA H100 80GB HBM3, driver 570.1, torch 2.13.0, CUDA 12.8, 2026-11-25; SM clock 1980 MHz" in text
    assert "all_reduce (2 ranks): not measured, needs 2 GPUs" in text
    assert json.loads((made / "fit_report.json").read_text()) == json.loads(json.dumps(fitted.summary))
    assert {file.stem for file in (made / "fit").iterdir()} == set(held_out)


def test_what_a_known_gpu_sustains_is_measured_and_the_rest_taken_over(fitted: Fitted) -> None:
    profile, sheet = fitted.profile, hardware.load("h100-sxm")
    assert (profile.name, profile.provenance, profile.date) == ("made-up", "measured", "2026-11-25")
    assert profile.memory_bytes == 85_000_000_000
    assert profile.intra_node_bandwidth_bytes_per_s == sheet.intra_node_bandwidth_bytes_per_s
    assert profile.peak_flops == sheet.peak_flops
    assert profile.derates.gemm_flops == pytest.approx(PEAK / sheet.peak("bf16"), rel=0.02)
    share = BANDWIDTH / sheet.memory_bandwidth_bytes_per_s
    assert profile.derates.decode_attention_bandwidth == pytest.approx(share, rel=0.02)
    assert profile.derates.elementwise_bandwidth == pytest.approx(share, rel=0.02)
    assert profile.kernel_latency_s == pytest.approx(LATENCY_S, rel=0.05)
    assert profile.sources["derates.gemm_flops"].startswith("measured: ")
    assert profile.sources["intra_node_latency_s"] == sheet.sources["intra_node_latency_s"]


@pytest.mark.usefixtures("no_pictures")
def test_an_unknown_gpu_has_the_peaks_that_were_measured(tmp_path: Path) -> None:
    profile = fit(folder(tmp_path / "new", rows(noise=0.0), name="NVIDIA Z900")).profile
    assert profile.peak("bf16") == pytest.approx(PEAK, rel=0.02)
    assert profile.memory_bandwidth_bytes_per_s == pytest.approx(2 * BANDWIDTH, rel=0.05)  # read and written
    assert profile.power_w == 700
    assert profile.sources["inter_node_latency_s"].startswith("assumed: ")


@pytest.mark.parametrize(
    ("name", "memory", "sheet"),
    [
        ("NVIDIA H200", 150_000_000_000, "h200-sxm"),
        ("NVIDIA A100-SXM4-80GB", 85_000_000_000, "a100-80g"),
        ("NVIDIA A100-SXM4-40GB", 42_000_000_000, "a100-40g"),
        ("NVIDIA H100 PCIe", 85_000_000_000, None),  # another bandwidth
        ("NVIDIA GeForce RTX 4090", 25_300_000_000, "rtx-4090"),
        ("NVIDIA L4", 23_700_000_000, "l4"),
    ],
)
def test_the_datasheet_of_a_gpu_by_its_name(name: str, memory: int, sheet: str | None) -> None:
    found = datasheet_of(Circumstances({"device": "cuda", "name": name, "memory_bytes": memory}), None)
    assert (found.name if found else None) == sheet


def test_a_simulation_runs_on_a_fitted_profile(fitted: Fitted) -> None:
    scenario: dict[str, Any] = {
        "model": "llama-3.1-8b",
        "workload": {
            "arrivals": {"poisson": {"rate_per_s": 5}},
            "prompt_tokens": {"fixed": {"tokens": 200}},
            "output_tokens": {"fixed": {"tokens": 20}},
            "requests": 20,
        },
        "cluster": {"gpu": str(fitted.profile.folder)},
        "engine": {"max_num_batched_tokens": 2048, "max_num_seqs": 128},
    }
    result = run(scenario)
    assert result.summary["completed"] == 20


@pytest.mark.usefixtures("no_pictures")
def test_held_out_points_are_never_used(tmp_path: Path) -> None:
    points = rows()
    first = fit(folder(tmp_path / "a" / "gpu", points))
    changed = [replace(row, time_s=3 * (row.time_s or 0.0), kernel="other") if row.held_out else row for row in points]
    assert sum(row.held_out for row in points) > 0.15 * len(points)
    second = fit(folder(tmp_path / "b" / "gpu", changed))
    for name in ("points.csv.gz", "device.yaml"):
        assert (first.profile.folder / name).read_bytes() == (second.profile.folder / name).read_bytes()
    assert second.summary["held_out"]["gemm"]["median"] > 0.5
    assert second.summary["held_out"]["gemm"]["reached"] is False
    assert "the goal of 3% is not reached" in (second.profile.folder / "fit_report.md").read_text()


@pytest.mark.usefixtures("no_pictures")
def test_two_fits_give_the_same_bytes(tmp_path: Path, fitted: Fitted) -> None:
    again = fit(folder(tmp_path / "made-up", rows())).profile.folder
    for name in ("points.csv.gz", "device.yaml", "fit_report.md", "fit_report.json"):
        assert (again / name).read_bytes() == (fitted.profile.folder / name).read_bytes()


GEMM = {"op": "gemm", "dtype": "bf16", "n": 6144, "k": 4096, "m": 512}


@pytest.mark.parametrize(
    ("change", "flaw", "dropped"),
    [
        (lambda time_s: -time_s, "a time that is not positive", True),
        (lambda time_s: 0.0, "a time that is not positive", True),
        (lambda time_s: time_s * 4, "an outlier", True),
        (lambda time_s: time_s / 2.2, "faster than the datasheet's peak", True),
        (lambda time_s: time_s * 1.4, "not monotone", False),
    ],
)
@pytest.mark.usefixtures("no_pictures")
def test_an_unphysical_point_is_flagged(
    change: Callable[[float], float], flaw: str, dropped: bool, tmp_path: Path
) -> None:
    points = [row for row in rows(noise=0.002) if row.op in ("gemm", "norm")]
    hit = [row for row in points if all(getattr(row, name) == value for name, value in GEMM.items())]
    assert len(hit) == 1 and not hit[0].held_out
    points = [replace(row, time_s=change(row.time_s or 0.0)) if row is hit[0] else row for row in points]
    found = fit(folder(tmp_path / "gpu", points))
    flags = [flag for flag in found.summary["flagged"] if flag["shape"] == "gemm bf16 n=6144 k=4096 m=512"]
    assert len(flags) == 1 and flaw in flags[0]["flaw"] and flags[0]["dropped"] is dropped
    assert len(found.summary["flagged"]) == 1
    time_s = Curves(found.profile).seconds(gemm("", 1, np.array([512.0]), 6144, 4096, "bf16"))[0][0]
    true = true_s(RawPoint("gemm", dtype="bf16", n=6144, k=4096, m=512))
    assert time_s == pytest.approx(true, rel=0.02 if dropped else 0.25)  # evened out with those beside it
    assert "n=6144 k=4096 m=512" in (found.profile.folder / "fit_report.md").read_text()


def test_fitted_times_rise_with_size(fitted: Fitted) -> None:
    for key, points in Curves(fitted.profile).measured.items():
        known = dict(points)
        for place, time_s in points:
            assert time_s > 0
            if len(place) == 1:
                continue
            beside = [known[other] for other in known if other[0] >= place[0] and other[1] >= place[1]]
            assert min(beside) == time_s, (key, place)
        if len(points[0][0]) == 1:
            times = [time_s for _, time_s in points]
            assert times == sorted(times), key


@pytest.mark.usefixtures("no_pictures")
def test_the_kernel_of_an_engine_is_chosen(tmp_path: Path) -> None:
    base = [row for row in rows(noise=0.0) if row.op in ("gemm", "sampling", "copy_h2d")]
    points = []
    for row in base:
        time_s = row.time_s or 0.0
        names = {"gemm": ("scaled_mm", "scaled_mm_rowwise"), "sampling": ("argmax", "softmax_draw")}
        for kernel, factor in zip(names.get(row.op, ("pageable", "pinned")), (1.0, 1.3), strict=True):
            points.append(replace(row, kernel=kernel, time_s=time_s * factor))
    found = fit(folder(tmp_path / "gpu", points))
    chosen = {op: list(kernels) for op, kernels in found.summary["kernels"].items()}
    assert chosen == {"gemm": ["scaled_mm"], "sampling": ["softmax_draw"], "copy_h2d": ["pinned"]}


@pytest.mark.usefixtures("no_pictures")
def test_what_cannot_be_fitted_is_told_and_nothing_is_written(tmp_path: Path) -> None:
    with pytest.raises(ServecastError, match=r"measured_on.json is missing: .* is no folder of"):
        fit(tmp_path / "none")
    empty = folder(tmp_path / "empty", [])
    with pytest.raises(ServecastError, match="no point was measured that a fit could use"):
        fit(empty)
    failed = folder(tmp_path / "failed", [replace(row, status="oom", time_s=None) for row in rows()[:50]])
    with pytest.raises(ServecastError, match="no point was measured that a fit could use"):
        fit(failed)
    missing = folder(tmp_path / "missing", rows()[:50])
    (missing / "raw.csv.gz").unlink()
    with pytest.raises(ServecastError, match=r"holds no raw.csv.gz; measure with"):
        fit(missing)
    strange = folder(tmp_path / "strange", rows()[:50], torch=None)
    with pytest.raises(ServecastError, match=r"measured_on.json: 'torch' is missing; measure again"):
        fit(strange)
    for made in (empty, failed, missing, strange):
        assert not [file for file in made.iterdir() if file.name not in ("raw.csv.gz", "measured_on.json")]
