"""Curves through measured points: a synthetic device is recovered; bad points are refused."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sim import hardware, models
from sim.errors import ProfileError
from sim.latency import EngineTiming, TimerContext, roofline
from sim.latency.curves import Curves, interpolate
from sim.latency.points import read_points
from sim.latency.profile import Profile
from sim.models import BatchShape
from sim.models.operations import Operation, decode_attention, prefill_attention, sample_operations, token_operations
from tests.latency.devices import decode_s, device, gemm_s, prefill_s

HEADS = {"dtype": "bf16", "heads": 32, "kv_heads": 8, "head_dim": 128}
MODEL = models.load("llama-3.1-8b")


def gemm_rows(ms: list[int]) -> list[dict[str, Any]]:
    return [{"op": "gemm", "dtype": "bf16", "n": 6144, "k": 4096, "m": m, "time_s": gemm_s(m)} for m in ms]


def norm_rows(rows: list[int]) -> list[dict[str, Any]]:
    return [{"op": "norm", "bytes": 8 * 4096 * count, "time_s": gemm_s(count)} for count in rows]


def decode_rows(batches: list[int], contexts: list[int]) -> list[dict[str, Any]]:
    return [
        {"op": "attention_decode", **HEADS, "batch": b, "context_tokens": c, "time_s": decode_s(b, c)}
        for b in batches
        for c in contexts
    ]


def qkv(m: Any) -> Operation:
    return next(op for op in token_operations(MODEL, m) if op.name == "qkv")


def test_gemm_is_linear_between_points_and_exact_on_them(tmp_path: Path) -> None:
    curves = Curves(device(tmp_path, gemm_rows([1, 64, 128, 129, 256, 1024]), compress=True))
    m = np.arange(1, 1025)
    times, outside = curves.seconds(qkv(m))
    np.testing.assert_allclose(times, np.array([gemm_s(x) for x in m.tolist()]), rtol=1e-12)
    assert not outside.any()


def test_gemm_beyond_the_points_is_a_scaled_roofline_and_flagged(tmp_path: Path) -> None:
    curves = Curves(device(tmp_path, gemm_rows([16, 64, 1024])))
    times, outside = curves.seconds(qkv(np.array([1, 8, 16, 1024, 4096])))
    roof: Any = roofline.seconds(qkv(np.array([1, 8, 16, 1024, 4096])), curves.profile)
    np.testing.assert_allclose(times[:2] / gemm_s(16), roof[:2] / roof[2])
    np.testing.assert_allclose(times[4] / gemm_s(1024), roof[4] / roof[3])
    assert outside.tolist() == [True, True, False, False, True]


def test_a_shape_like_no_measured_one_is_the_plain_roofline_flagged(tmp_path: Path) -> None:
    curves = Curves(device(tmp_path, gemm_rows([1, 64])))
    other = next(op for op in sample_operations(MODEL, np.array([5.0])) if op.name == "lm_head")
    times, outside = curves.seconds(other)
    roof: Any = roofline.seconds(other, curves.profile)
    assert times[0] == roof[0]
    assert outside[0]
    assert not Curves(hardware.load("h100-sxm")).seconds(other)[1][0]  # a pure datasheet claims no range


@given(batch=st.integers(1, 64), context=st.integers(16, 8192))
@settings(max_examples=60, deadline=None)
def test_decode_attention_is_bilinear(batch: int, context: int, tmp_path_factory: Any) -> None:
    line = _grid_device(tmp_path_factory).decode(decode_attention(MODEL, batch, batch, 1, "bf16"))
    total = context * batch
    assert line.at(total) == pytest.approx(decode_s(batch, context), rel=1e-9)
    assert total <= line.limit


_cached: list[Curves] = []


def _grid_device(factory: Any) -> Curves:
    if not _cached:
        rows = decode_rows([1, 2, 8, 64], [16, 128, 1024, 8192])
        _cached.append(Curves(device(factory.mktemp("grid"), rows)))
    return _cached[0]


def test_decode_attention_beyond_the_grid_is_flagged_and_grows(tmp_path: Path) -> None:
    curves = Curves(device(tmp_path, decode_rows([1, 64], [16, 8192])))
    inside = curves.decode(decode_attention(MODEL, 64, 64, 1, "bf16"))
    assert inside.limit == 64 * 8192
    assert inside.at(2 * 64 * 8192) == pytest.approx(2 * inside.at(64 * 8192), rel=0.05)  # bandwidth-bound
    larger = curves.decode(decode_attention(MODEL, 128, 128, 1, "bf16"))
    assert larger.limit < 128
    assert larger.at(64 * 8192) == pytest.approx(inside.at(64 * 8192))
    assert inside.at(1) > 0


def test_ragged_grid_where_large_points_ran_out_of_memory(tmp_path: Path) -> None:
    rows = decode_rows([1], [16, 1024, 8192]) + decode_rows([64], [16, 1024])
    curves = Curves(device(tmp_path, rows))
    line = curves.decode(decode_attention(MODEL, 32, 32, 1, "bf16"))
    assert line.at(32 * 512) == pytest.approx(decode_s(32, 512), rel=1e-9)
    assert line.limit == 32 * 1024


def test_prefill_attention_is_recovered_to_two_per_cent(tmp_path: Path) -> None:
    news, contexts = [2**i for i in range(13)], [0, *(2**i for i in range(7, 15))]
    rows = [
        {"op": "attention_prefill", **HEADS, "new_tokens": n, "context_tokens": c, "time_s": prefill_s(n, c)}
        for n in news
        for c in contexts
    ]
    profile = device(tmp_path, rows)
    grid = Curves(profile).prefill(prefill_attention(MODEL, 1, 0, 1, 1, "bf16"))
    assert grid is not None

    def roof(new: float, context: float) -> float:
        op = prefill_attention(MODEL, new, context, new * context + new * (new + 1) / 2, 1, "bf16")
        return float(roofline.seconds(op, profile))

    grid.scaled_by(roof)
    for new, context in [(16, 256), (700, 0), (700, 3000), (2048, 2048), (3000, 10000), (512, 512)]:
        ratio, outside = grid.ratio(new, context)
        assert not outside
        assert ratio * roof(new, context) == pytest.approx(prefill_s(new, context), rel=0.02)
    assert grid.ratio(5000, 0)[1] and grid.ratio(64, 20000)[1]


def test_whole_step_on_a_measured_device(tmp_path: Path) -> None:
    """Replacing the norms by measured points changes the step by exactly their difference."""
    timing = EngineTiming(0.0, 0.0, 0.0, cudagraph_sizes=())
    plain = TimerContext(MODEL, hardware.load("h100-sxm"), max_num_batched_tokens=64, max_num_seqs=8, timing=timing)
    measured = TimerContext(
        MODEL,
        device(tmp_path, norm_rows([1, 64])),
        max_num_batched_tokens=64,
        max_num_seqs=8,
        timing=timing,
    )
    shape = BatchShape([(40, 0)], 0, 0, 1)
    before, after = Profile().build(plain).step(shape), Profile().build(measured).step(shape)
    norm = next(op for op in token_operations(MODEL, 40) if op.name == "norm")
    roof = float(roofline.seconds(norm, plain.profile))
    measured_s = gemm_s(1) + (gemm_s(64) - gemm_s(1)) * 39 / 63
    assert after.total_s - before.total_s == pytest.approx(65 * (measured_s - roof), rel=1e-9)
    assert after.extrapolated and not before.extrapolated  # all other shapes were not measured


@given(
    st.lists(st.tuples(st.floats(0, 1e6), st.floats(1e-9, 1)), min_size=1, max_size=8, unique_by=lambda p: p[0]),
    st.floats(-10, 2e6),
)
def test_interpolate_like_numpy(points: list[tuple[float, float]], x: float) -> None:
    xs, ys = (np.array(column) for column in zip(*sorted(points), strict=True))
    ours = interpolate(np.array([x]), xs, ys)[0]
    assert ours == pytest.approx(np.interp(x, xs, ys), rel=1e-6, abs=1e-12)


HEADER = "op,dtype,m,n,k,time_s\n"


@pytest.mark.parametrize(
    ("rows", "complaint"),
    [
        (
            "gemm,bf16,1,8,8,-1e-6\n",
            "row 2: column 'time_s' must be a finite number of at least 0, not '-1e-6'",
        ),
        ("gemm,bf16,1,8,8,nan\n", "row 2: column 'time_s' must be a finite number"),
        ("gemm,bf16,1,8,8,0\n", "row 2: 'time_s' must be more than 0"),
        ("gemm,bf16,1,8,8,fast\n", "row 2: column 'time_s' must be a number, not 'fast'"),
        ("gemm,bf16,,8,8,1e-6\n", "row 2: column 'm' is missing or empty"),
        ("gemm,,1,8,8,1e-6\n", "row 2: column 'dtype' is missing or empty"),
        ("gemm,bf16,1,8.5,8,1e-6\n", "row 2: column 'n' must be a whole number"),
        ("gem,bf16,1,8,8,1e-6\n", "row 2: unknown op 'gem'"),
        ("gemm,bf16,2,8,8,1e-6\ngemm,bf16,1,8,8,1e-6\n", "row 3: m = .* does not ascend"),
        ("gemm,bf16,2,8,8,1e-6\ngemm,bf16,2,8,8,1e-6\n", "row 3: m = .* does not ascend"),
    ],
)
def test_bad_points_name_file_and_row(rows: str, complaint: str, tmp_path: Path) -> None:
    file = tmp_path / "points.csv"
    file.write_text(HEADER + rows)
    with pytest.raises(ProfileError, match=complaint) as error:
        read_points(file)
    assert str(error.value).startswith(str(file))


def test_bad_files(tmp_path: Path) -> None:
    file = tmp_path / "points.csv.gz"
    file.write_bytes(b"not gzip")
    with pytest.raises(ProfileError, match="not a readable table"):
        read_points(file)
    plain = tmp_path / "points.csv"
    plain.write_text("kernel,seconds\n")
    with pytest.raises(ProfileError, match="first row must name the columns"):
        read_points(plain)
