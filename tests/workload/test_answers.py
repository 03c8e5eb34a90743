"""Several answers to one prompt."""

import numpy as np
import pytest
from pydantic import ValidationError

from sim import run
from sim.latency.linear import Linear
from sim.metrics.answers import all_answers
from sim.workload.answers import with_answers
from tests.serving import serve, table
from tests.workload.test_spec import USERS, workload
from tests.workload.test_spec import table as drawn


def test_answers_share_the_full_blocks_of_their_prompt() -> None:
    """A prompt of 10 tokens, blocks of 4, three answers of 1 token: the second and third find 8 tokens.

    Together they hold 2 shared blocks and 3 half-filled ones where three prompts would hold 9.
    """
    requests = with_answers(table([0.0], 10, 1), 3, None)
    step = Linear(base_s=1.0, per_prefill_token_s=0, per_decode_s=0).build()
    limits = {"block_size": 4, "num_gpu_blocks": 101}
    record = serve(requests, step, limits=limits)
    assert record.requests["cached_tokens"].tolist() == [0, 8, 8]
    assert record.steps["prefill_tokens"].tolist() == [10 + 2 + 2]
    assert record.steps["kv_used_blocks"].tolist() == [5]
    apart = serve(requests, step, limits=limits | {"enable_prefix_caching": False})
    assert apart.steps["kv_used_blocks"].tolist() == [9]


def test_prompts_that_share_a_prefix_still_do() -> None:
    pieces = ((("group", 0), 8), (("own", 0), 4))
    requests = with_answers(table([0.0, 1.0], 12, 2, segments=[pieces, None]), 2, np.array([1, 2, 3, 4]))
    assert requests.output_tokens.tolist() == [1, 2, 3, 4]
    assert requests.arrival_s.tolist() == [0.0, 0.0, 1.0, 1.0]
    assert requests.segments is not None
    assert requests.segments[:2] == [pieces, pieces]
    assert requests.segments[2] == requests.segments[3] != pieces
    requests.check()


def test_each_answer_has_a_length_of_its_own() -> None:
    once, thrice = drawn(requests=100), drawn(requests=100, n=3)
    assert len(thrice) == 300
    assert thrice.prompts is not None
    assert thrice.prompts.tolist() == np.repeat(np.arange(100), 3).tolist()
    assert thrice.prompt_tokens[::3].tolist() == once.prompt_tokens.tolist()
    assert thrice.output_tokens[:100].tolist() == once.output_tokens.tolist()
    assert (thrice.output_tokens[::3] != thrice.output_tokens[1::3]).any()
    with pytest.raises(ValidationError, match="closed loop send one request at a time"):
        workload(arrivals=USERS, n=2)


def test_a_prompt_is_answered_with_its_last_answer() -> None:
    rows = {
        "prompt": np.array([0, 0, 1, 1]), "arrival_s": np.array([0.0, 0.0, 1.0, 1.0]),
        "finish_s": np.array([2.0, 5.0, 3.0, np.nan]), "measured": np.ones(4, bool),
        "status": np.array(["finished", "finished", "finished", "rejected"]),
    }  # fmt: skip
    found = all_answers(rows)
    assert found is not None
    assert (found["prompts"], found["completed"], found["mean_e2el_ms"]) == (2, 1, 5000)
    assert all_answers({}) is None


def test_a_run_with_several_answers() -> None:
    scenario = {
        "model": "llama-3.1-8b",
        "workload": {
            "arrivals": {"poisson": {"rate_per_s": 5}},
            "prompt_tokens": {"fixed": {"tokens": 1601}},
            "output_tokens": {"uniform": {"low": 10, "high": 100}},
            "requests": 50,
            "n": 4,
        },
        "cluster": {"gpu": "h100-sxm"},
    }
    result = run(scenario)
    assert result.summary["prefix_cache_hit_rate"] == pytest.approx(0.75 * 1600 / 1601)
    assert result.summary["all_answers"]["prompts"] == 50
    assert result.summary["all_answers"]["mean_e2el_ms"] > result.summary["mean_e2el_ms"]
    assert result.requests.groupby("prompt").size().eq(4).all()
