"""Shapes that were not measured are predicted from those that were."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from sim import hardware, models
from sim.latency import TimerContext, roofline
from sim.latency.curves import Curves
from sim.latency.neighbours import borrow, distance
from sim.latency.profile import Profile
from sim.latency.shapes import operation_at
from sim.models import BatchShape
from sim.models.operations import Heads, gemm
from tests.latency.devices import device

H100 = hardware.load("h100-sxm")
MS = [1, 16, 128, 512, 2048]


def roof_s(key: tuple[str, ...], *places: tuple[float, ...]) -> list[float]:
    seconds: Any = roofline.seconds(operation_at(key, np.array(places, dtype=float)), H100)
    return [float(time_s) for time_s in seconds]


def gemm_rows(n: int, k: int, ratio: float, ms: list[int] = MS) -> list[dict[str, Any]]:
    """A device that takes `ratio` times the roofline."""
    times = roof_s(("gemm", "bf16", str(n), str(k)), *((m,) for m in ms))
    return [
        {"op": "gemm", "dtype": "bf16", "n": n, "k": k, "m": m, "time_s": ratio * time_s}
        for m, time_s in zip(ms, times, strict=True)
    ]


def attention_rows(op: str, heads: Heads, ratio: float, places: list[tuple[int, int]]) -> list[dict[str, Any]]:
    axes = ("batch", "context_tokens") if op == "attention_decode" else ("new_tokens", "context_tokens")
    key = (op, "bf16", *(str(number) for number in heads))
    return [
        {"op": op, "dtype": "bf16", **heads._asdict(), **dict(zip(axes, place, strict=True)), "time_s": ratio * time_s}
        for place, time_s in zip(places, roof_s(key, *places), strict=True)
    ]


def test_the_mean_of_two_neighbours_as_far_away(tmp_path: Path) -> None:
    """By hand: both are a doubling away, so their ratios 1.2 and 1.6 count the same."""
    curves = Curves(device(tmp_path, gemm_rows(1024, 4096, 1.2) + gemm_rows(4096, 4096, 1.6)))
    times, outside = curves.seconds(gemm("", 1, np.array(MS, dtype=float), 2048, 4096, "bf16"))
    roofs = roof_s(("gemm", "bf16", "2048", "4096"), *((m,) for m in MS))
    np.testing.assert_allclose(times, 1.4 * np.array(roofs))
    assert not outside.any()


def test_a_nearer_neighbour_counts_more(tmp_path: Path) -> None:
    """By hand: distances 1.5 and 2 weigh 1 / 0.5^2 = 4 and 1 / 1^2 = 1: (4 * 1.2 + 1.6) / 5 = 1.28."""
    curves = Curves(device(tmp_path, gemm_rows(2000, 4096, 1.2) + gemm_rows(6000, 4096, 1.6)))
    time_s = curves.seconds(gemm("", 1, np.array([128.0]), 3000, 4096, "bf16"))[0][0]
    assert time_s == pytest.approx(1.28 * roof_s(("gemm", "bf16", "3000", "4096"), (128,))[0])


def test_far_shapes_are_flagged_and_then_left_to_the_roofline(tmp_path: Path) -> None:
    curves = Curves(device(tmp_path, gemm_rows(4096, 4096, 1.5)))
    for n, flagged, ratio in ((8192, False, 1.5), (9000, True, 1.5), (16384, True, 1.5), (17000, True, 1.0)):
        times, outside = curves.seconds(gemm("", 1, np.array([128.0]), n, 4096, "bf16"))
        assert times[0] == pytest.approx(ratio * roof_s(("gemm", "bf16", str(n), "4096"), (128,))[0]), n
        assert outside[0] == flagged, n
    assert curves.seconds(gemm("", 1, np.array([4096.0]), 8192, 4096, "bf16"))[1][0]  # more rows than were measured
    assert curves.seconds(gemm("", 1, np.array([128.0]), 4096, 4096, "fp8"))[1][0]  # nothing like it in fp8
    assert distance((2.0, 8.0), (4.0, 4.0)) == 4.0


def test_an_unseen_model_on_a_generic_grid(tmp_path: Path) -> None:
    """A made-up device whose efficiency rises with n and k: shapes between the grid's are right to 3%."""

    def ratio(n: float, k: float) -> float:
        return float(1.15 + 800 / n + 400 / k)

    sizes = (1024, 2048, 4096, 8192, 16384)
    rows = [row for n in sizes for k in sizes for row in gemm_rows(n, k, ratio(n, k))]
    curves = Curves(device(tmp_path, rows))
    for n, k in ((5120, 3072), (3584, 14000), (12288, 1500), (6144, 6144)):
        times, outside = curves.seconds(gemm("", 1, np.array([1.0, 64.0, 2048.0]), n, k, "bf16"))
        truth = ratio(n, k) * np.array(roof_s(("gemm", "bf16", str(n), str(k)), (1,), (64,), (2048,)))
        np.testing.assert_allclose(times, truth, rtol=0.03)  # 64 lies between two points
        assert not outside.any()


def test_attention_of_other_heads(tmp_path: Path) -> None:
    """The rows of a decode line and of a prefill grid are the neighbour's, scaled by the rooflines."""
    known, other, far = Heads(32, 8, 128), Heads(16, 8, 128), Heads(8, 2, 64)
    decodes = [(batch, context) for batch in (1, 8, 64) for context in (128, 1024, 8192)]
    prefills = [(new, context) for new in (16, 256, 2048) for context in (0, 1024, 8192)]
    rows = attention_rows("attention_decode", known, 1.3, decodes)
    rows += attention_rows("attention_prefill", known, 1.7, prefills)
    curves = Curves(device(tmp_path, rows))
    for batch, context in decodes:
        line = curves.decode(other.decode(batch, batch, "bf16"))
        key = ("attention_decode", "bf16", "16", "8", "128")
        assert line.at(batch * context) == pytest.approx(1.3 * roof_s(key, (batch, context))[0])
        assert batch * context <= line.limit
    assert curves.decode(far.decode(8, 8, "bf16")).limit < 8
    for heads, flagged in ((other, False), (Heads(8, 4, 128), True)):
        grid = curves.prefill(heads.prefill(1, 0, 1, "bf16"))
        assert grid is not None
        key = ("attention_prefill", "bf16", *(str(number) for number in heads))
        grid.scaled_by(lambda new, context, key=key: roof_s(key, (new, context))[0])
        ratio, outside = grid.ratio(300, 2000)
        assert ratio == pytest.approx(1.7) and outside == flagged
    assert curves.prefill(far.prefill(1, 0, 1, "bf16")) is None


def test_the_order_of_the_table_does_not_matter(tmp_path: Path) -> None:
    measured = Curves(device(tmp_path, gemm_rows(2048, 2048, 1.3) + gemm_rows(8192, 2048, 1.9))).measured
    key = ("gemm", "bf16", "4096", "2048")
    assert borrow(key, measured, H100) == borrow(key, dict(reversed(measured.items())), H100)
    assert borrow(("norm",), measured, H100) is None


def test_a_whole_model_between_measured_shapes_is_not_extrapolated(tmp_path: Path) -> None:
    """Where all else is measured, a step of an unmeasured model within the grid carries no flag."""
    model = models.load("llama-3.1-8b")
    sizes = (2048, 4096, 8192, 16384, 32768, 131072)
    rows = [row for n in sizes for k in (4096, 16384) for row in gemm_rows(n, k, 1.2)]
    heads = Heads(64, 8, 128)
    rows += attention_rows("attention_decode", heads, 1.2, [(b, c) for b in (1, 64) for c in (16, 8192)])
    rows += attention_rows("attention_prefill", heads, 1.2, [(n, c) for n in (1, 2048) for c in (0, 8192)])
    for op in ("embedding", "norm", "rotary", "kv_write", "activation", "sampling"):
        for size, time_s in ((1e3, 1e-6), (1e9, 1e-3)):
            rows.append({"op": op, "bytes": int(size), "time_s": time_s})
    context = TimerContext(model, device(tmp_path, rows), max_num_batched_tokens=2048, max_num_seqs=64)
    timer = Profile().build(context)
    assert not timer.step(BatchShape([(500, 100)], 8, 8000, 9)).extrapolated
    assert not timer.step(BatchShape([], 8, 8000, 8)).extrapolated
