"""Models whose layers see a window: the same bytes however the steps are done, and windows that change nothing."""

from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from sim import hardware
from sim.batching.vllm_v1 import VllmV1
from sim.kvcache._hybrid import HybridPaged
from sim.kvcache.groups import KVGroups
from sim.kvcache.paged import Paged
from sim.latency import EngineTiming, StepTimer, TimerContext
from sim.latency.profile import Profile
from sim.models.config import parse
from tests.cluster.strategies import LONGEST, TIMERS, Case, cases
from tests.cluster.test_fast_forward import content
from tests.models.configs import GEMMA_2_9B, MISTRAL_V01
from tests.serving import serve


def _timer(config: dict[str, Any], window: int, host_step_s: float) -> StepTimer:
    model = parse({**config, "sliding_window": window}, name="windowed", source="test")
    timing = EngineTiming(host_step_s=host_step_s)
    return Profile().build(TimerContext(model, hardware.load("h100-sxm"), max_num_batched_tokens=2048, timing=timing))


def without_adapters(batching: str | None = None) -> st.SearchStrategy[Case]:
    """Windows are not modelled with LoRA adapters."""
    return cases(batching).filter(lambda case: case.options["lora"] is None)


@st.composite
def windowed_cases(draw: st.DrawFn) -> Case:
    """Any case, of a model with windows: its KV cache hybrid, or as it was."""
    case = draw(without_adapters())
    window = draw(st.sampled_from([1, 5, 32, 100, 500]))
    options = {**case.options, "window": window}
    if draw(st.booleans()):
        options["batching"] = case.options["batching"] if isinstance(case.options["batching"], VllmV1) else VllmV1()
        options["decide_ahead"] = options["decide_ahead"] and case.options["batching"] == options["batching"]
        groups = KVGroups(4, *draw(st.sampled_from([(1, 1), (0, 1), (1, 2), (2, 1)])), window, 2 * 2048)
        options["kv_cache"] = HybridPaged(groups)
        options["limits"] = dict(options["limits"])
        block = options["limits"]["block_size"]
        spare = options["limits"]["num_gpu_blocks"] - 1 - -(-LONGEST // block)
        options["limits"]["num_gpu_blocks"] = groups.request_blocks(LONGEST, block) + 1 + spare
    timers = TIMERS[:3]  # the formulas, which know no window
    for config in (GEMMA_2_9B, MISTRAL_V01):
        # The host is the bound until what all see has grown.
        timers += [_timer(config, window, host_step_s) for host_step_s in (0.0015, 0.0073, 0.0095)]
    return Case(case.table, draw(st.sampled_from(timers)), options)


@settings(max_examples=40, deadline=None)
@given(windowed_cases())
def test_same_bytes(case: Case) -> None:
    plain = serve(case.table, case.timer, fast_forward=False, group_decodes=False, **case.options)
    for fast_forward, group_decodes in ((True, True), (False, True)):
        fast = serve(case.table, case.timer, fast_forward=fast_forward, group_decodes=group_decodes, **case.options)
        assert content(fast) == content(plain)
        assert fast.makespan_s == plain.makespan_s


@settings(max_examples=40, deadline=None)
@given(without_adapters("vllm_v1"))
def test_a_window_longer_than_any_request_changes_nothing(case: Case) -> None:
    """One group of layers, whose window nothing leaves: the hybrid manager does what the plain one does."""
    options = {**case.options, "kv_cache": Paged()}
    plain = serve(case.table, TIMERS[1], **options)
    groups = KVGroups(32, 0, 1, 2 * LONGEST, 2 * 2048)
    hybrid = serve(case.table, TIMERS[1], **{**options, "kv_cache": HybridPaged(groups), "window": 2 * LONGEST})
    ours = {name: bytes_ for name, bytes_ in content(hybrid).items() if not name.startswith("steps.window_")}
    assert ours | {"steps.window_s": content(hybrid)["steps.window_s"]} == content(plain)
