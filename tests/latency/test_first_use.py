"""A fresh server of a mixture stalls once for each kernel that it has not compiled yet."""

import numpy as np
import pytest

import sim
from sim import models
from sim.latency.first_use import FirstUse, first_use


def test_each_range_of_rows_stalls_once_for_either_divisibility() -> None:
    fresh = FirstUse(0.9, picks=2, graph_limit=256, largest_rows=2048)
    assert fresh.stall_s(200) == 0.0  # within the CUDA graphs
    assert fresh.stall_s(577) == 0.9  # nearest to 512; 1154 picks are no multiple of 16
    assert fresh.stall_s(590) == 0.0
    assert fresh.stall_s(640) == 0.9  # 1280 picks are
    assert fresh.stall_s(1000) == 0.9  # nearest to 1024; 2000 picks are
    assert fresh.stall_s(2048) == 0.0  # the profile run
    assert fresh.stall_s(2047) == 0.9
    assert fresh.stall_s(2041) == 0.0


def test_dense_models_compile_nothing() -> None:
    assert first_use(models.load("llama-3.1-8b"), 0.9, (1, 2), 2048) is None
    assert first_use(models.load("mixtral-8x7b"), 0.0, (1, 2), 2048) is None


@pytest.mark.parametrize("fast_forward", [True, False])
def test_a_fresh_mixture_answers_its_first_request_late(fast_forward: bool) -> None:
    scenario = {
        "model": "mixtral-8x7b",
        "cluster": {"gpu": "h100-sxm", "tensor_parallel": 2},
        "engine": {"max_num_seqs": 64, "max_num_batched_tokens": 2048, "max_model_len": 4096},
        "workload": {
            "arrivals": {"constant": {"rate_per_s": 0.5}},
            "prompt_tokens": {"fixed": {"tokens": 577}},
            "output_tokens": {"fixed": {"tokens": 5}},
            "requests": 4,
        },
    }
    warm = sim.run(scenario).requests["ttft_s"].to_numpy()
    fresh_first = ["engine.moe_first_use_s=930ms"]
    fresh = sim.run(scenario, overrides=fresh_first, fast_forward=fast_forward).requests["ttft_s"].to_numpy()
    assert fresh - warm == pytest.approx([0.93, 0, 0, 0], abs=1e-9)
    assert np.ptp(warm) == pytest.approx(0, abs=1e-9)
