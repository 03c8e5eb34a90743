"""Attention of layers with a window: what a chunk sees counted one by one, step times by hand, runs and steps alike."""

from dataclasses import replace
from functools import cache

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sim import hardware, models
from sim.latency import EngineTiming, StepTimer, TimerContext
from sim.latency.profile import Profile
from sim.models import BatchShape
from sim.models.operations import step_operations
from sim.models.windows import outside_tokens, window_seen, window_tokens
from sim.models.work import Windowed, flops_and_bytes

NO_HOST = EngineTiming(0.0, 0.0, 0.0)


@cache
def timer(window: int, sliding: int, timing: EngineTiming = NO_HOST) -> StepTimer:
    """Llama 3.1 8B on H100, some of its 32 layers with a window."""
    model = replace(models.load("llama-3.1-8b"), sliding_window=window, sliding_layers=sliding)
    return Profile().build(
        TimerContext(model, hardware.load("h100-sxm"), max_num_batched_tokens=8192, max_num_seqs=64, timing=timing)
    )


@given(st.integers(1, 40), st.integers(0, 60), st.integers(1, 50))
def test_what_a_chunk_sees_is_counted_one_by_one(new: int, before: int, window: int) -> None:
    queries = range(before, before + new)
    keys_of = [range(max(0, query - window + 1), query + 1) for query in queries]
    seen = window_seen(new, before, window)
    assert seen.pairs == sum(len(keys) for keys in keys_of)
    assert seen.keys == len(set().union(*keys_of))
    assert window_tokens(before + 1, window) == len(keys_of[0])
    assert outside_tokens(before, window) == keys_of[0].start


SHAPES = [BatchShape([], 8, 8 * 900, 8), BatchShape([(512, 300)], 4, 4000, 5), BatchShape([(900, 0)], 0, 0, 1)]


@pytest.mark.parametrize("sliding", [0, 16, 32])
@pytest.mark.parametrize("shape", SHAPES)
def test_a_window_that_nobody_fills_changes_nothing(shape: BatchShape, sliding: int) -> None:
    plain = timer(0, 0).step(shape)
    assert timer(100_000, sliding).step(shape).total_s == pytest.approx(plain.total_s, rel=1e-12)


def test_half_of_the_layers_read_a_window() -> None:
    """131,072 bytes a token at 0.906 x 3.35e12 B/s: from 10,000 to 1024 tokens in 16 of 32 layers, for 8 requests."""
    shape = BatchShape([], 8, 80_000, 8, window_tokens=8 * 1024)
    saved = timer(0, 0).step(shape).total_s - timer(1024, 16).step(shape).total_s
    assert saved == pytest.approx(8 * (10_000 - 1024) * 65_536 / (0.906 * 3.35e12), rel=1e-9)


def test_a_full_window_does_not_grow() -> None:
    times = [
        timer(1024, 32).step(BatchShape([], 8, context, 8, window_tokens=8192)).total_s for context in (8200, 800_000)
    ]
    assert times[0] == times[1]


def test_a_long_prompt_takes_time_in_proportion_to_its_length() -> None:
    """With a window of 512 in all layers, the second 4096 tokens have as many pairs as the third."""
    chunks = [timer(512, 32).step(BatchShape([(4096, before)], 0, 0, 1)).total_s for before in (4096, 8192)]
    assert chunks[0] == chunks[1]
    assert chunks[0] < timer(0, 0).step(BatchShape([(4096, 4096)], 0, 0, 1)).total_s


@settings(max_examples=60, deadline=None)
@given(
    st.integers(1, 40), st.integers(1, 3000), st.integers(0, 40), st.sampled_from([16, 32]),
    st.sampled_from([0.0, 0.0055, 0.0075]), st.booleans(),
)  # fmt: skip
def test_a_run_is_its_steps(
    decodes: int, each: int, growing: int, sliding: int, host_step_s: float, overlap: bool
) -> None:
    """Bit for bit, and what is the same of all of a run's steps is the same."""
    growing = min(growing, decodes)
    one = timer(4096, sliding, EngineTiming(host_step_s=host_step_s, overlap=overlap))
    context, seen = decodes * each + 7, min(decodes * each, growing * each + (decodes - growing) * 4096)
    durations, first = one.decode_run(decodes, context, 300, seen, growing)  # type: ignore[call-arg]
    assert durations
    for step, duration in enumerate(durations):
        shape = BatchShape([], decodes, context + step * decodes, decodes, 0, 0, seen + step * growing, growing)
        time = one.step(shape)
        assert time.total_s == duration
        assert time[1:] == first[1:]


@given(st.lists(st.tuples(st.integers(1, 50), st.integers(0, 90)), max_size=3), st.integers(0, 5), st.integers(1, 80))
def test_work_is_the_sum_of_the_operations(prefills: list[tuple[int, int]], decodes: int, window: int) -> None:
    model = replace(models.load("llama-3.1-8b"), sliding_window=window, sliding_layers=20)
    if not prefills and not decodes:
        return
    shape = BatchShape(prefills, decodes, decodes * 70, decodes)
    seen = [window_seen(new, before, window) for new, before in prefills]
    flops, moved = flops_and_bytes(
        model,
        steps=[1],
        prefill_tokens=[sum(new for new, _ in prefills)],
        decodes=[decodes],
        sampled=[decodes],
        context_tokens=[decodes * 70],
        attention_pairs=[sum(new * before + new * (new + 1) // 2 for new, before in prefills)],
        prefill_context_tokens=[sum(before for _, before in prefills)],
        window=Windowed(
            [decodes * min(70, window)],
            [sum(one.pairs for one in seen)],
            [sum(one.keys - new for one, (new, _) in zip(seen, prefills, strict=True))],
        ),
    )
    operations = step_operations(model, shape)
    assert flops[0] == pytest.approx(sum(op.flops * op.times for op in operations), rel=1e-12)
    assert moved[0] == pytest.approx(sum(op.bytes * op.times for op in operations), rel=1e-12)
