"""LoRA: schedules and loads worked by hand, sizes as published, and what a user sees."""

from typing import Any

import numpy as np
import pytest

from sim import run
from sim.cluster.adapter_costs import AdapterCosts
from sim.engine.adapterslots import AdapterRoom, AdapterSlots, Loads
from sim.errors import ServecastError
from sim.hardware import load as load_gpu
from sim.kvcache.capacity import split_memory
from sim.latency.linear import Linear
from sim.latency.profile import Profile
from sim.latency.protocol import TimerContext
from sim.models import load
from sim.models.lora import adapter_bytes, lora_operations
from sim.models.shape import BatchShape
from sim.ordering.priority import Priority
from sim.request import NO_ADAPTER, Request
from tests.serving import engine, serve, steps_of, table

STEP = Linear(base_s=1.0, per_prefill_token_s=0, per_decode_s=0).build()


def wants(
    adapter: int, id: int, arrival_s: float = 0.0, prompt: int = 4, answer: int = 2, priority: int = 0
) -> Request:
    request = Request(id, arrival_s, prompt, answer, priority)
    request.adapter = adapter
    return request


def served(requests: list[Request], max_loras: int, **more: Any) -> list[list[int]]:
    """The ids in each step."""
    replica = engine(lora=AdapterRoom(max_loras, max_loras), group_decodes=False, **more)
    plans = steps_of(replica, requests)
    return [[chunk.request.id for chunk in plan.chunks] for plan in plans]


def test_one_adapter_at_a_time_alternates_batches() -> None:
    """Adapters A, B, A, B: the second A passes the first B, which starts when both are done; then both B."""
    requests = [wants(0, 0), wants(1, 1), wants(0, 2), wants(1, 3)]
    assert served(requests, 1) == [[0, 2], [0, 2], [1, 3], [1, 3]]
    assert served([wants(a, i) for i, a in enumerate((0, 1, 0, 1))], 2) == [[0, 1, 2, 3]] * 2


def test_the_model_itself_needs_no_slot() -> None:
    assert served([wants(0, 0), wants(1, 1), wants(NO_ADAPTER, 2)], 1) == [[0, 2], [0, 2], [1], [1]]


def test_who_is_passed_over_keeps_its_place() -> None:
    """Two seats, one adapter. B of 1 waits for 0; when 2 and 3 (A) have gone too, 1 is before 4, its equal."""
    requests = [wants(0, 0, answer=1), wants(1, 1), wants(0, 2), wants(0, 3), wants(1, 4)]
    assert served(requests, 1, max_num_seqs=2) == [[0, 2], [2, 3], [3], [1, 4], [1, 4]]


def test_priorities_among_those_who_may() -> None:
    """The urgent one comes first, and the other adapter, however urgent next, must wait."""
    requests = [wants(0, 0, priority=2), wants(1, 1, priority=1), wants(0, 2, priority=0)]
    assert served(requests, 1, ordering=Priority()) == [[2, 0], [2, 0], [1], [1]]


def test_least_recently_used_leave_their_slots() -> None:
    slots = AdapterSlots(AdapterRoom(2, 3))
    loads = []
    for adapters in ([0], [1], [0], [2], [1], [3], [0], []):
        slots.use(adapters)
        slots.check()
        loads.append(slots.begin_step())
    first, again, nothing = Loads(1, 1), Loads(0, 1), Loads(0, 0)
    # 2 takes the slot of 1, which stays in host memory; 3 puts 0 out of that, which then is read again.
    assert loads == [first, first, nothing, first, again, first, first, nothing]
    assert slots.totals == Loads(5, 6)


def test_what_is_in_place_keeps_its_slot_for_the_step() -> None:
    """The slot of 1, used last, goes to 2, because the step needs 0."""
    slots = AdapterSlots(AdapterRoom(2, 2))
    for adapters in ([0], [1], [0, 2]):
        slots.use(adapters)
    assert slots.totals == Loads(3, 3)
    slots.use([0])
    assert slots.totals == Loads(3, 3)


def test_all_in_host_memory_from_the_start() -> None:
    slots = AdapterSlots(AdapterRoom(1, 9, on_disk=False))
    for adapter in (0, 1, 0):
        slots.use([adapter])
    assert slots.totals == Loads(0, 3)


@pytest.mark.parametrize("fast_forward", [True, False])
def test_steps_wait_for_loads_and_last_longer(fast_forward: bool) -> None:
    """Steps of 1 s and 0.5 s for an adapter; 2 s to read one, 1 s to copy it. One slot, host memory for both.

    A of 3 tokens: 3 s of loading, steps to 7.5 s. B of 2, since 0.1 s: 3 s again, to 13.5 s. A again, since 0.2 s,
    of 1: copied alone, 1 s, and a step, to 16 s. It could not run with the first A, as two would not have a seat.
    """
    longer = {k: Linear(base_s=1 + k / 2, per_prefill_token_s=0, per_decode_s=0).build() for k in (0, 1)}
    costs = AdapterCosts(longer.__getitem__, 10, 40, 10.0, 20.0)
    requests = table([0.0, 0.1, 0.2], 4, [3, 2, 1], adapter=["A", "B", "A"])
    record = serve(
        requests, STEP, fast_forward=fast_forward, lora=(AdapterRoom(1, 2), costs), limits={"max_num_seqs": 1}
    )
    assert record.requests["finish_s"].tolist() == [7.5, 13.5, 16.0]
    assert record.requests["adapter"].tolist() == ["A", "B", "A"]
    assert record.steps["transfer_s"][record.steps["transfer_s"] > 0].tolist() == [3.0, 3.0, 1.0]
    assert (record.counters["adapter_loads"], record.counters["adapter_disk_loads"]) == (3, 2)


def test_equal_texts_under_different_adapters_share_no_kv() -> None:
    """Prompts of 9 equal tokens, blocks of 4: the third finds the 8 of the first, the second and the fourth nothing."""
    same: Any = ((("text", 0), 9),)
    requests = table([0.0, 5.0, 10.0, 15.0], 9, 1, segments=[same] * 4, adapter=["A", "B", "A", None])
    costs = AdapterCosts(lambda _: STEP, 0, 0, 1.0, 1.0)
    record = serve(requests, STEP, lora=(AdapterRoom(2, 2), costs), limits={"block_size": 4})
    assert record.requests["cached_tokens"].tolist() == [0, 0, 8, 0]


@pytest.mark.parametrize(("model", "rank", "parameters"), [
    ("llama-3.1-8b", 16, 41_943_040), ("llama-3.1-8b", 8, 20_971_520), ("llama-2-7b", 16, 39_976_960),
])  # fmt: skip
def test_sizes_as_published(model: str, rank: int, parameters: int) -> None:
    """Trainable parameters that PEFT prints for adapters of all linear layers."""
    assert adapter_bytes(load(model), rank) == 2 * parameters


def test_tensor_parallel_cuts_one_of_each_pair() -> None:
    """Llama 3.1 8B on 2 GPUs, rank 1, by hand: A of q, k, v, gate, up whole and their B cut; A of o, down cut."""
    layer = (3 * 4096 + 6144 // 2) + (4096 // 2 + 4096) + (2 * 4096 + 28672 // 2) + (14336 // 2 + 4096)
    assert adapter_bytes(load("llama-3.1-8b"), 1, 2) == 32 * layer * 2


def test_flops_and_weights_of_a_step() -> None:
    """Each token computes two FLOPs a parameter; 3 adapters are read once in a step, but not by one row."""
    model = load("llama-3.1-8b")
    parameters = 41_943_040

    def total(rows: int, adapters: int) -> tuple[float, float]:
        operations = list(lora_operations(model, rows, adapters, 16))
        return sum(o.flops * o.times for o in operations), sum(o.bytes * o.times for o in operations)

    assert total(10, 3)[0] == 10 * 2 * parameters
    assert total(10, 3)[1] - total(10, 1)[1] == 2 * 2 * parameters
    assert total(1, 3) == total(1, 1)


def test_slots_take_memory_from_the_kv_cache() -> None:
    model, gpu = load("llama-3.1-8b"), load_gpu("h100-sxm")
    without = split_memory(model, gpu)
    slots = split_memory(model, gpu, adapter_bytes=8 * adapter_bytes(model, 64))
    assert without.kv_bytes - slots.kv_bytes == 8 * 4 * 2 * 41_943_040
    assert "slots of LoRA adapters: 2.50 GiB" in slots.explain()


def test_the_time_of_adapters() -> None:
    """A decode of 32 rows: k adapters more take as long as reading them at the bandwidth that products sustain.

    The first also brings two kernels for each of 4 matrices and 32 layers.
    """
    model, gpu = load("llama-3.1-8b"), load_gpu("h100-sxm")
    times = [
        Profile().build(TimerContext(model, gpu, adapters=k, lora_rank=16)).step(BatchShape([], 32, 32_000, 32)).total_s
        for k in (0, 1, 5)
    ]
    bandwidth = gpu.memory_bandwidth_bytes_per_s * gpu.derates.gemm_bandwidth
    assert times[2] - times[1] == pytest.approx(4 * 83_886_080 / bandwidth, rel=1e-6)
    assert times[1] - times[0] > 83_886_080 / bandwidth + 8 * 32 * gpu.kernel_latency_s


SCENARIO: dict[str, Any] = {
    "model": "llama-3.1-8b",
    "workload": {
        "arrivals": {"poisson": {"rate_per_s": 4}},
        "prompt_tokens": {"fixed": {"tokens": 100}},
        "output_tokens": {"fixed": {"tokens": 20}},
        "requests": 60,
        "adapters": {"uniform": {"count": 6}},
    },
    "cluster": {"gpu": "h100-sxm"},
    "engine": {"lora": {"max_loras": 2, "max_cpu_loras": 4, "disk_bytes_per_s": "1GB"}},
}


def test_a_run_with_adapters() -> None:
    result = run(SCENARIO)
    adapters = result.summary["adapters"]
    assert adapters["adapters"] == 6
    assert 6 <= adapters["disk_loads"] < adapters["loads"] < 60
    assert sum(row["requests"] for row in result.summary["by_adapter"].values()) == 60
    assert set(result.requests["adapter"]) == {f"a{k}" for k in range(6)}
    # Each read takes 84 MB / 1 GB/s, far more than the copy over PCIe.
    waited = result.summary["gpu_time"]["seconds"]["transfer"]
    assert waited == pytest.approx(adapters["disk_loads"] * 0.0839, rel=0.1)
    assert "adapter" not in run(SCENARIO, overrides=["workload.adapters=null", "engine.lora=null"]).requests


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("engine.lora=null", "want 6 LoRA adapters, and the engine takes none; give engine.lora"),
        ("engine.lora.disk_bytes_per_s=null", "host memory holds 4 of the 6 adapters; raise max_cpu_loras"),
        ("engine.lora.max_loras=5", "max_cpu_loras 4 is less than max_loras 5"),
        ("engine.lora.rank=32", "rank 32 is more than max_lora_rank 16"),
        ("engine.lora.max_lora_rank=24", "engine.lora.max_lora_rank must be 1, 8, 16"),
        ("engine.ordering=virtual_token_counter", "cannot pass over requests"),
        ("model=mixtral-8x7b", "LoRA adapters of a mixture's experts"),
        (
            "engine.speculative={num_speculative_tokens: 2, acceptance_rate: 0.5, draft_token: 0s}",
            "lora and speculative",
        ),
        ("engine.max_loras=4", "here it is called engine.lora.max_loras"),
        ("engine.enable_lora=true", "here it is called engine.lora"),
    ],
)
def test_what_cannot_be_is_refused(override: str, message: str) -> None:
    with pytest.raises(ServecastError, match=message):
        run(SCENARIO, overrides=[override])


def test_an_engine_that_takes_none_is_given_none() -> None:
    with pytest.raises(ServecastError, match="adapter_costs must be given"):
        serve(table(np.zeros(1), 4, 2, adapter=["A"]), STEP)
