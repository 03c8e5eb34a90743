"""Beam search: rounds of one-token requests that share what their beams have in common."""

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from sim import run
from sim.errors import ServecastError, TraceError
from sim.kvcache.paged import Paged
from sim.kvcache.protocol import KVCacheChoice
from sim.kvcache.radix import Radix
from sim.latency.linear import Linear
from sim.record import Record
from sim.workload import beams
from sim.workload.beams import beam_paths, with_beams
from sim.workload.table import ClosedLoop, RequestTable
from tests.serving import serve, table
from tests.workload.test_spec import table as drawn
from tests.workload.test_spec import workload

CHAT = {"chat": {"turns": {"fixed": {"tokens": 2}}, "think_time": {"fixed": {"time": 1}}}}
STEP = Linear(base_s=1.0, per_prefill_token_s=0, per_decode_s=0).build()


class Drawn:
    """In place of a generator: the parents of one search."""

    def __init__(self, parents: list[list[int]]) -> None:
        self.parents = np.array(parents)

    def integers(self, _: int, size: tuple[int, int]) -> Any:
        assert self.parents.shape == size
        return self.parents


def search(parents: list[list[int]], **limits: Any) -> Record:
    """One search of two beams for a prompt of 8 tokens, blocks of 4."""
    requests = with_beams(table([0.0], 8, len(parents) + 2), 2, Drawn(parents))  # type: ignore[arg-type]
    return serve(requests, STEP, limits={"block_size": 4, "num_gpu_blocks": 101, **limits})


def test_rounds_by_hand() -> None:
    """Two beams of five rounds more, each second; the prompt's two blocks are found from the first of them on.

    ::

        round      0   1   2   3   4   5
        computed   8  1+1 2+2 3+3 4+4 1+1     in the last the third block, full since round 4, is found
    """
    record = search([[0, 1]] * 4)
    assert record.steps["prefill_tokens"].tolist() == [8, 2, 4, 6, 8, 2]
    assert record.steps["sampled"].tolist() == [1, 2, 2, 2, 2, 2]
    assert record.steps["end_s"].tolist() == [1, 2, 3, 4, 5, 6]
    assert record.requests["cached_tokens"].tolist() == [0, *[8] * 8, 12, 12]
    assert record.requests["prompt_tokens"].tolist() == [8, 9, 9, 10, 10, 11, 11, 12, 12, 13, 13]
    assert search([[0, 1]] * 4, enable_prefix_caching=False).steps["prefill_tokens"].tolist() == [8, 18, 20, 22, 24, 26]


@pytest.mark.parametrize(("last", "blocks"), [([0, 1], 6), ([0, 0], 5), ([1, 1], 5)])
def test_blocks_that_beams_share(last: list[int], blocks: int) -> None:
    """In the last round of 13 tokens: the prompt's 2 blocks, the third of one parent or of two, and one each."""
    record = search([[0, 1], [0, 1], [0, 1], last])
    assert record.steps["kv_used_blocks"].tolist() == [2, 4, 4, 4, 4, blocks]


def test_beams_that_parted_within_a_block_share_nothing_of_it() -> None:
    """Both go on from the first in round 4, after 11 tokens: their third blocks differ in the last token alone."""
    record = search([[0, 1], [0, 1], [0, 0], [0, 1]])
    assert record.requests["cached_tokens"].tolist()[-2:] == [12, 12]
    assert record.steps["kv_used_blocks"].tolist()[-1] == 6


def test_paths_are_the_ancestors() -> None:
    """Four rounds of three beams. Tokens written out one by one, by (round, beam), are those of the ancestors."""
    parents = [[0, 0, 1], [2, 1, 1], [1, 1, 0]]
    written = []
    for level in beam_paths(np.array(parents), 3):
        written.append([[(name, i) for name, tokens in path for i in range(tokens)] for path in level])
    tokens: dict[Any, Any] = {}
    for number, level in enumerate(written):
        for beam, path in enumerate(level):
            ancestors, at = [beam], beam
            for choice in reversed(parents[:number]):
                at = choice[at]
                ancestors.append(at)
            nodes = [(place, ancestor) for place, ancestor in enumerate(reversed(ancestors))]
            assert len(path) == len(nodes)
            for token, node in zip(path, nodes, strict=True):
                assert tokens.setdefault(token, node) == node
    assert len(tokens) == len(set(tokens.values()))  # each token has one name, and each name one token


def test_paths_stay_short() -> None:
    """Lines are named after those who survive, so that a long search of four beams has few pieces."""
    parents = np.random.default_rng(1).integers(4, size=(999, 4))
    longest = max(len(path) for level in beam_paths(parents, 4) for path in level)
    assert longest <= 12
    last = list(beam_paths(parents, 4))[-1]
    assert all(sum(tokens for _, tokens in path) == 1000 for path in last)


@st.composite
def tables(draw: st.DrawFn) -> RequestTable:
    count = draw(st.integers(1, 6))
    rng = np.random.default_rng(draw(st.integers(0, 2**32)))
    loop = ClosedLoop(2, np.full(count, 0.01)) if draw(st.booleans()) else None
    arrivals = np.zeros(count) if loop else np.cumsum(rng.exponential(0.05, count))
    requests = table(arrivals, rng.integers(1, 60, count), rng.integers(1, 12, count), closed_loop=loop)
    return with_beams(requests, draw(st.sampled_from([2, 3, 5])), rng)


@settings(max_examples=40, deadline=None)
@given(tables(), st.sampled_from([Paged(), Radix()]), st.sampled_from([0, 12]), st.booleans())
def test_nothing_is_lost(requests: RequestTable, kv_cache: KVCacheChoice, spare: int, ahead: bool) -> None:
    """Blocks (INV-2, at the end of every run), tokens (INV-5), and the same bytes with fast-forward."""
    requests.check()
    limits = {"block_size": 4, "num_gpu_blocks": 20 + spare, "max_model_len": 72, "max_num_batched_tokens": 64}
    timer = Linear(base_s=0.01, per_prefill_token_s=1e-4).build()
    plain, fast = (
        serve(requests, timer, kv_cache=kv_cache, limits=limits, decide_ahead=ahead, fast_forward=on)
        for on in (False, True)
    )
    rows, steps = fast.requests, fast.steps
    assert (rows["status"] == "finished").all()
    assert len(rows["id"]) == len(requests)
    computed = (steps["prefill_tokens"] * steps["steps"]).sum() + (steps["decodes"] * steps["steps"]).sum()
    assert computed == rows["prompt_tokens"].sum() + rows["recomputed_tokens"].sum() - rows["cached_tokens"].sum()
    assert (steps["sampled"] * steps["steps"]).sum() == len(requests)
    assert all((rows[name].tobytes() == plain.requests[name].tobytes()) for name in rows)


def test_a_workload_with_beams() -> None:
    once, beams = drawn(requests=50), drawn(requests=50, beam_width=3)
    assert len(beams) == (1 + 3 * (once.output_tokens - 1)).sum()
    first = np.flatnonzero(beams.turns == 1)
    assert beams.arrival_s[first].tolist() == once.arrival_s.tolist()
    assert beams.prompt_tokens[first].tolist() == once.prompt_tokens.tolist()
    assert beams.segments == drawn(requests=50, beam_width=3).segments
    assert "`sessions` tells how long whole searches take" in beams.notes[0]


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"n": 2}, "beam_width with n is not modelled"),
        ({"prediction_error": 0.5}, "beam_width with prediction_error"),
        ({"patience": {"fixed": {"after": "1s"}}}, "beam_width with patience"),
        ({"multi_turn": CHAT}, "beam_width with multi_turn"),
    ],
)
def test_what_is_not_modelled_is_refused(changes: dict[str, Any], message: str) -> None:
    with pytest.raises((ValidationError, ServecastError), match=message):
        workload(beam_width=2, **changes)


def test_tables_that_cannot_be_searched(monkeypatch: pytest.MonkeyPatch) -> None:
    rng = np.random.default_rng(1)
    with pytest.raises(TraceError, match="not modelled for requests with cancel_after_s"):
        with_beams(table([0.0], 5, 5, cancel_after_s=[1.0]), 2, rng)
    monkeypatch.setattr(beams, "MAX_ROWS", 8)
    with pytest.raises(TraceError, match="makes 9 requests of one token of this workload, and the most is 8"):
        with_beams(table([0.0], 5, 5), 2, rng)


def test_a_run_with_beams() -> None:
    """A search of 20 rounds alone on the GPU takes its 20 steps and what the engine's API adds to each round."""
    scenario = {
        "model": "llama-3.1-8b",
        "workload": {
            "arrivals": {"constant": {"rate_per_s": 0.5}},
            "prompt_tokens": {"fixed": {"tokens": 100}},
            "output_tokens": {"fixed": {"tokens": 20}},
            "requests": 5,
            "beam_width": 4,
        },
        "cluster": {"gpu": "h100-sxm"},
        "engine": {"host_request_s": "2ms", "host_output_s": "0s"},
    }
    result = run(scenario)
    assert result.summary["requests"]["finished"] == 5 * (1 + 4 * 19)
    assert result.summary["sessions"]["completed"] == 5
    steps = result.steps
    assert steps["steps"].sum() == 5 * 20
    busy_s = (steps["end_s"] - steps["start_s"]).sum() / 5
    assert result.summary["sessions"]["mean_session_ms"] == pytest.approx(1e3 * (busy_s + 20 * 0.002))
    assert any("beam search" in warning for warning in result.warnings)
