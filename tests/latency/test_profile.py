"""Step times from a datasheet by hand arithmetic, and the properties every step time has."""

import json
import shutil
from functools import cache
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sim import hardware, models
from sim.errors import ModelError, ProfileError
from sim.latency import EngineTiming, StepTimer, TimerContext, default_cudagraph_sizes, roofline
from sim.latency.error import step_error
from sim.latency.off import Off
from sim.latency.profile import Profile
from sim.models import BatchShape
from sim.models.operations import Operation, token_operations
from sim.paths import data_dir
from tests.latency.devices import decode_s, device

NO_HOST = EngineTiming(0.0, 0.0, 0.0)


def context(name: str = "llama-3.1-8b", gpu: str = "h100-sxm", **settings: object) -> TimerContext:
    return TimerContext(models.load(name), hardware.load(gpu), **settings)  # type: ignore[arg-type]


@cache
def timer(name: str = "llama-3.1-8b", tp: int = 1, overlap: bool = True, size: int = 1024) -> StepTimer:
    timing = EngineTiming(overlap=overlap)
    return Profile().build(
        context(name, tensor_parallel=tp, timing=timing, max_num_batched_tokens=size, max_num_seqs=64)
    )


def test_one_decode_waits_for_the_weights() -> None:
    """Llama-3.1-8B on H100: 15.01e9 bytes (all but the input table) / (0.867 x 3.35e12) = 5.17 ms.

    On top: 32 layers of 10 kernels, one embedding, one norm, LM head, sampler at 2.1 us each, 0.68 ms; and a KV
    cache of 131,072 bytes x 1000 tokens / (0.906 x 3.35e12) = 0.04 ms.
    """
    weights = (8_030_261_248 - 128_256 * 4096) * 2
    expected = weights / (0.867 * 3.35e12) + 324 * 2.1e-6 + 131_072 * 1000 / (0.906 * 3.35e12)
    step = Profile().build(context(timing=NO_HOST)).step(BatchShape([], 1, 1000, 1))
    assert step.total_s == pytest.approx(expected, rel=0.01)


def test_long_prefill_runs_at_the_sustained_peak() -> None:
    """8192 tokens: 2 x 6.98e9 x 8192 FLOPs / (0.77 x 989e12) + attention at half of the peak + the rest.

    The rest moves, per token and layer, 2 norms of 8 x 4096 bytes, 4 x 5120 for rotary, 8 x 1024 for the KV
    cache and 6 x 14336 for the activation, at 0.8 x 3.35e12 bytes/s.
    """
    gemm = 2 * 6_979_321_856 * 8192 / (0.77 * 989e12)
    attention = 32 * 4 * 32 * 128 * (8192 * 8193 / 2) / (0.5 * 989e12)
    step = Profile().build(context(timing=NO_HOST)).step(BatchShape([(8192, 0)], 0, 0, 0))
    rest = 32 * 8192 * (2 * 8 * 4096 + 4 * 5120 + 8 * 1024 + 6 * 14336) / (0.8 * 3.35e12)
    assert step.total_s == pytest.approx(gemm + attention + rest, rel=0.01)


@pytest.mark.parametrize(
    ("rows", "one_s"),
    [
        # A row is 16 KiB, and a kernel takes 2.1 us to start.
        (1, 3e-6 + 16384 * 3 / 207e9 + 2.1e-6),  # one shot: every GPU reads what three others hold
        (31, 3e-6 + 31 * 16384 * 3 / 207e9 + 2.1e-6),
        (32, 12.5e-6 + 32 * 16384 * 1.5 / 207e9 + 2.1e-6),  # 512 KiB: two shots, three quarters in each
        (512, 12e-6 + 512 * 16384 * 1.5 / (0.8 * 450e9) + 2.1e-6),  # 8 MiB: a ring of 6 hops at 2 us
    ],
)
def test_all_reduce_by_hand(rows: int, one_s: float) -> None:
    """4 GPUs: 161 all-reduces, then a gather of the 8000 logits that each GPU has of a row."""
    timing = EngineTiming(0.0, 0.0, 0.0, cudagraph_sizes=())
    four = context("llama-2-70b", tensor_parallel=4, timing=timing)
    step = Profile().build(four).step(BatchShape([], rows, 100 * rows, rows))
    gather = 3 * 2e-6 + 3 * 8000 * 2 * rows / (0.8 * 450e9) + 2.1e-6
    assert step.comm_s == pytest.approx(161 * one_s + gather, rel=1e-9)
    assert Profile().build(context()).step(BatchShape([], 1, 100, 1)).comm_s == 0.0


def test_cuda_graph_padding() -> None:
    """9 rows run as 16: the step costs what 16 rows cost, and the difference is called padding."""
    model = Profile().build(context(timing=NO_HOST))
    nine, sixteen = (model.step(BatchShape([], n, 16, 16)) for n in (9, 16))
    unpadded = Profile().build(context(timing=EngineTiming(0.0, 0.0, 0.0, cudagraph_sizes=(9,))))
    assert sixteen.padding_s == 0.0
    assert nine.padding_s > 0.0
    exact = unpadded.step(BatchShape([], 9, 16, 16))
    assert nine.total_s - exact.total_s == pytest.approx(nine.padding_s)


def test_capture_sizes_of_vllm() -> None:
    sizes = default_cudagraph_sizes(128, 2048)
    assert sizes[:5] == (1, 2, 4, 8, 16)
    assert sizes[-1] == 256 and len(sizes) == 35
    assert default_cudagraph_sizes(1024, 8192)[-3:] == (480, 496, 512)
    assert default_cudagraph_sizes(1024, 100)[-1] == 96


def test_host_time_is_hidden_or_not() -> None:
    shape = BatchShape([], 8, 800, 8)
    gpu = Profile().build(context(timing=NO_HOST)).step(shape).total_s
    serial = Profile().build(context(timing=EngineTiming(1e-3, 1e-5, 2e-4, overlap=False))).step(shape)
    assert serial.total_s == pytest.approx(gpu + 1e-3 + 8e-5 + 2e-4)
    assert serial.host_s == pytest.approx(1e-3 + 8e-5 + 2e-4)
    hidden = Profile().build(context(timing=EngineTiming(1e-3, 1e-5, 2e-4))).step(shape)
    assert hidden.total_s == pytest.approx(gpu + 2e-4)
    assert hidden.host_s == 2e-4
    bound = Profile().build(context(timing=EngineTiming(20e-3, 1e-5, 2e-4))).step(shape)
    assert bound.total_s == pytest.approx(20e-3 + 8e-5 + 2e-4)
    assert bound.total_s - bound.exposed_host_s(800) == pytest.approx(gpu)


def test_host_floor_does_not_shrink_with_gpus() -> None:
    timing = EngineTiming(20e-3, 0.0, 0.0)
    for tp in (1, 2, 4, 8):
        step = Profile().build(context(tensor_parallel=tp, timing=timing)).step(BatchShape([], 1, 1, 1))
        assert step.total_s == 20e-3


def test_without_graphs_launching_counts() -> None:
    """8 kernels, attention and KV write a layer, 32 layers, 2 more: some 350 launches at 50 us are 18 ms."""
    eager = EngineTiming(0.0, 0.0, 0.0, cudagraph_sizes=(), eager_launch_s=50e-6)
    step = Profile().build(context(timing=eager)).step(BatchShape([], 1, 1, 1))
    assert step.total_s == pytest.approx(0.018, rel=0.2)
    assert step.host_s > 0.01
    assert step.padding_s == 0.0


def test_too_many_rows_is_an_error() -> None:
    with pytest.raises(ValueError, match="1025 rows is more than max_num_batched_tokens, 1024"):
        timer().step(BatchShape([(1025, 0)], 0, 0, 0))
    with pytest.raises(ValueError, match="2000 rows"):
        timer().decode_run(2000, 2000, 1)


def test_bad_contexts() -> None:
    with pytest.raises(ModelError, match="does not divide"):
        Profile().build(context(tensor_parallel=3))
    with pytest.raises(ModelError, match="unknown weight dtype"):
        Profile().build(context(weight_dtype="fp3"))
    with pytest.raises(ValueError, match="host_step_s must be a time"):
        EngineTiming(host_step_s=-1.0)
    with pytest.raises(ValueError, match="ascending order"):
        EngineTiming(cudagraph_sizes=(4, 2))


def test_equal_contexts_share_one_timer() -> None:
    assert Profile().build(context()) is Profile().build(context())


shapes = st.builds(
    BatchShape,
    prefills=st.lists(st.tuples(st.integers(1, 200), st.integers(0, 4000)), max_size=4),
    decodes=st.integers(1, 64),
    decode_context_tokens=st.integers(64, 200_000),
    sampled=st.integers(0, 64),
)
settings_of = st.tuples(st.sampled_from([("llama-3.1-8b", 1), ("mixtral-8x7b", 2), ("opt-13b", 4)]), st.booleans())


@given(shape=shapes, which=settings_of)
@settings(max_examples=80, deadline=None)
def test_parts_are_within_the_total(shape: BatchShape, which: tuple[tuple[str, int], bool]) -> None:
    (name, tp), overlap = which
    step = timer(name, tp, overlap).step(shape)
    assert step.total_s > 0
    host_s = step.exposed_host_s(0 if shape.prefills else shape.decode_context_tokens)
    assert min(host_s, step.comm_s, step.padding_s) >= 0
    assert host_s + step.comm_s + step.padding_s <= step.total_s * (1 + 1e-12)


@given(shape=shapes, which=settings_of, more=st.integers(1, 50))
@settings(max_examples=80, deadline=None)
def test_more_work_takes_no_less_time(shape: BatchShape, which: tuple[tuple[str, int], bool], more: int) -> None:
    (name, tp), overlap = which
    model = timer(name, tp, overlap)
    before = model.step(shape).total_s * (1 - 1e-12)
    prefills, decodes, attended = list(shape.prefills), shape.decodes, shape.decode_context_tokens
    assert model.step(BatchShape(prefills, decodes, attended + more, shape.sampled)).total_s >= before
    assert model.step(BatchShape([*prefills, (more, 0)], decodes, attended, shape.sampled)).total_s >= before
    assert model.step(BatchShape(prefills, decodes + more, attended + more, shape.sampled)).total_s >= before
    assert model.step(BatchShape(prefills, decodes, attended, shape.sampled + more)).total_s >= before
    if prefills:
        (new, old), *rest = prefills
        assert model.step(BatchShape([(new, old + more), *rest], decodes, attended, shape.sampled))
        grown = model.step(BatchShape([(new + more, old), *rest], decodes, attended, shape.sampled))
        assert grown.total_s >= before


def same_as_steps(model: StepTimer, decodes: int, start: int, steps: int) -> None:
    done = 0
    while done < steps:  # a run may end early, never empty
        durations, first = model.decode_run(decodes, start + done * decodes, steps - done)
        contexts = [start + (done + j) * decodes for j in range(len(durations))]
        singles = [model.step(BatchShape([], decodes, context, decodes)) for context in contexts]
        assert durations == [single.total_s for single in singles]
        assert all(type(duration) is float for duration in durations)
        assert all(single[1:] == first[1:] for single in singles)
        for context, single in zip(contexts, singles, strict=True):
            parts = single.exposed_host_s(context) + single.padding_s + single.comm_s
            assert 0.0 <= parts <= single.total_s * (1 + 1e-12)
        done += len(durations)
    assert done == steps


@given(
    which=settings_of,
    decodes=st.integers(1, 300),
    each=st.integers(1, 8000),
    steps=st.integers(1, 300),
)
@settings(max_examples=120, deadline=None)
def test_decode_run_is_repeated_step(which: tuple[tuple[str, int], bool], decodes: int, each: int, steps: int) -> None:
    (name, tp), overlap = which
    same_as_steps(timer(name, tp, overlap), decodes, decodes * each, steps)


@given(decodes=st.integers(1, 300), each=st.integers(1, 400), steps=st.integers(1, 300), offset=st.integers(0, 9))
@settings(max_examples=150, deadline=None)
def test_decode_run_on_a_measured_grid(
    decodes: int, each: int, steps: int, offset: int, tmp_path_factory: pytest.TempPathFactory
) -> None:
    """Runs that cross the grid's knots, its end, and the point where the host stops being the bound."""
    same_as_steps(_measured(tmp_path_factory), decodes, decodes * each + offset, steps)


_timers: list[StepTimer] = []


def _measured(factory: pytest.TempPathFactory) -> StepTimer:
    if not _timers:
        rows = [
            {
                "op": "attention_decode", "dtype": "bf16", "heads": 32, "kv_heads": 8, "head_dim": 128,
                "batch": b, "context_tokens": c, "time_s": 40 * decode_s(b, c) * (1.3 if c == 64 else 1.0),
            }
            for b in (1, 3, 8, 100)
            for c in (1, 16, 64, 100, 256)
        ]  # fmt: skip
        profile = device(Path(factory.mktemp("device")), rows)
        timing = EngineTiming(host_step_s=0.02, host_seq_s=1e-4)
        _timers.append(
            Profile().build(
                TimerContext(models.load("llama-3.1-8b"), profile, max_num_batched_tokens=512, timing=timing)
            )
        )
    return _timers[0]


def test_measured_low_load_step_of_llama_2_7b() -> None:
    """A real vLLM 0.15 on H100: 7.19 ms per output token at 9 requests in flight of about 716 tokens each."""
    model = Profile().build(context("llama-2-7b", max_num_batched_tokens=2048, max_num_seqs=128))
    assert model.step(BatchShape([], 9, 9 * 716, 9)).total_s == pytest.approx(7.19e-3, rel=0.1)


def test_experts_fill_tiles_and_load_partly_behind_computing() -> None:
    """Mixtral, TP 2, 1024 tokens on H100: 2048 rows over 8 experts, and 64 more for half a tile of 128 in each.

    gate and up: n = 14336, k = 4096. Computing at 0.57 of 989 TFLOP/s, moving at 0.867 of 3.35 TB/s, and the two
    as the sides of a right angle. One token alone has no more than half of its rows lost: 2 rows count as 3.
    """
    profile = hardware.load("h100-sxm")

    def one(tokens: int) -> Operation:
        listed = token_operations(models.load("mixtral-8x7b"), tokens, 2)
        return next(op for op in listed if op.name == "experts_gate_up")

    weights = 14336 * 4096
    computing = 2 * weights * (2048 + 8 * 64) / (0.57 * 989e12)
    moving = (8 * weights + 2048 * (4096 + 14336)) * 2 / (0.867 * 3.35e12)
    assert roofline.roof(one(1024), profile) == pytest.approx((computing**2 + moving**2) ** 0.5, rel=1e-6)
    computing = 2 * weights * 3 / (0.57 * 989e12)
    moving = (2 * weights + 2 * (4096 + 14336)) * 2 / (0.867 * 3.35e12)
    assert roofline.roof(one(1), profile) == pytest.approx((computing**2 + moving**2) ** 0.5, rel=1e-6)


def test_step_times_off_by_a_factor_keep_their_two_ways_equal() -> None:
    """What `decode_run` says is what `step` says, also when both are wrong."""
    context = TimerContext(models.load("llama-3.1-8b"), hardware.load("h100-sxm"))
    plain, off = Profile().build(context), Off(prefill=1.25, decode=0.8).build(context)
    gaps_s, first = off.decode_run(7, 900, 50)
    shapes = [BatchShape((), 7, 900 + 7 * step, 7) for step in range(50)]
    assert gaps_s == [off.step(shape).total_s for shape in shapes]
    assert first.total_s == gaps_s[0] == plain.step(shapes[0]).total_s * 0.8
    mixed = BatchShape(((100, 0),), 7, 900, 8)
    assert off.step(mixed).total_s == plain.step(mixed).total_s * 1.25


def test_the_error_of_a_profile_is_told_or_assumed() -> None:
    told = step_error(hardware.load("h100-sxm"))
    assert (told.prefill, told.decode) == (0.08, 0.034)
    assert step_error(hardware.load("l4")) == (0.15, 0.15, "assumed: no run was compared with this profile")


def test_the_error_of_a_fitted_profile_is_that_on_its_held_out_points(tmp_path: Path) -> None:
    folder = tmp_path / "mine"
    shutil.copytree(data_dir("hwprofiles") / "l4", folder)
    held_out = {
        "gemm": {"median": 0.02},
        "attention_prefill": {"median": 0.06745},
        "attention_decode": {"median": 0.01},
    }
    (folder / "fit_report.json").write_text(json.dumps({"held_out": held_out}))
    told = step_error(hardware.load(folder))
    assert (told.prefill, told.decode) == pytest.approx((0.1, 0.02 / 0.6745))
    (folder / "fit_report.json").write_text("{")
    with pytest.raises(ProfileError, match="fit again"):
        step_error(hardware.load(folder))
