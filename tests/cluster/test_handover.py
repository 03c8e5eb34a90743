"""Prompts that one replica computes and another one goes on from: schedules worked out by hand."""

import numpy as np
import pytest

from sim.cluster.handover import HandoverRules, LayerWise
from sim.cluster.outlet import Outlet
from sim.latency.linear import Linear
from sim.metrics import gpu_time
from sim.metrics.context import context_of
from tests.cluster.handing import serve_apart
from tests.serving import table

STEP = Linear(base_s=1.0, per_prefill_token_s=0, per_decode_s=0).build()
"""Every step takes a second."""

SLOW = Outlet(bytes_per_s=2000)
"""Two blocks a second."""


@pytest.mark.parametrize("fast_forward", [True, False])
@pytest.mark.parametrize("decide_ahead", [True, False])
def test_one_request(fast_forward: bool, decide_ahead: bool) -> None:
    """64 tokens are 4 blocks: the prompt takes a second, its KV two, three more tokens three."""
    record = serve_apart(
        table([0.0], 64, 4), STEP, prefill_outlet=SLOW, fast_forward=fast_forward, pool={"decide_ahead": decide_ahead}
    )
    row = {name: column[0] for name, column in record.requests.items()}
    assert (row["scheduled_s"], row["first_token_s"], row["finish_s"]) == (0.0, 1.0, 6.0)
    assert (row["prefilled_s"], row["kv_sent_s"], row["kv_received_s"]) == (1.0, 1.0, 3.0)
    assert (row["decode_scheduled_s"], row["prefill_replica"], row["replica"]) == (3.0, 0, 1)
    assert (row["kv_transfer_bytes"], row["generated_tokens"], row["status"]) == (4000, 4, "finished")
    assert record.links["carried_bytes"].tolist() == [4000, 4000]
    assert record.links["busy_s"].tolist() == [2.0, 2.0]
    # The decoding GPU waits for KV for two seconds, and is starved before; the other one is starved afterwards.
    seconds = gpu_time(record.steps, context_of(record))
    assert (seconds["transfer"], seconds["starved"]) == (2.0, 1.0 + 5.0)
    assert record.itl_counts.sum() == 3


def test_two_transfers_share_the_sender() -> None:
    """Two prompts end together; each gets half of the sender's link, which neither decode side would bind."""
    record = serve_apart(table([0.0, 0.0], 64, 2), STEP, decode=2, prefill_outlet=SLOW)
    assert record.requests["kv_received_s"].tolist() == [5.0, 5.0]
    assert record.requests["finish_s"].tolist() == [6.0, 6.0]


def test_the_narrower_side_is_the_bound() -> None:
    record = serve_apart(table([0.0], 64, 2), STEP, prefill_outlet=SLOW, decode_outlet=Outlet(1000, hop_s=0.5))
    assert record.requests["kv_received_s"].tolist() == [5.5]


def test_neighbours_share_a_card() -> None:
    """Two prefill replicas behind one card of two blocks a second."""
    card = Outlet(bytes_per_s=2000, sharing=2)
    record = serve_apart(table([0.0, 0.0], 64, 2), STEP, prefill=2, decode=2, prefill_outlet=card)
    assert record.requests["kv_received_s"].tolist() == [5.0, 5.0]
    assert record.links["carried_bytes"].tolist() == [8000, 4000, 4000]


def test_layer_by_layer_only_the_last_layer_is_exposed() -> None:
    """Four layers of a block: three leave during the prompt's second, the last one afterwards."""
    record = serve_apart(
        table([0.0], 64, 4), STEP, prefill_outlet=Outlet(4000), rules=HandoverRules(LayerWise()), layers=4
    )
    row = {name: column[0] for name, column in record.requests.items()}
    assert (row["kv_room_s"], row["kv_sent_s"], row["prefilled_s"], row["kv_received_s"]) == (0.0, 0.0, 1.0, 1.25)
    assert (row["finish_s"], row["kv_transfer_bytes"]) == (4.25, 4000)


def test_a_slow_link_cannot_hide() -> None:
    """At 1,000 bytes a second the 4,000 bytes take four seconds, whenever they begin."""
    record = serve_apart(table([0.0], 64, 2), STEP, prefill_outlet=Outlet(1000), rules=HandoverRules(LayerWise()))
    assert record.requests["kv_received_s"].tolist() == [4.0]


def test_one_token_needs_nobody_else() -> None:
    for rules in (HandoverRules(), HandoverRules(LayerWise())):
        record = serve_apart(table([0.0], 64, 1), STEP, prefill_outlet=SLOW, rules=rules)
        assert record.requests["finish_s"].tolist() == [1.0]
        assert record.requests["replica"].tolist() == [0]
        assert record.links["carried_bytes"].tolist() == [0, 0]


def test_short_prompts_are_served_whole() -> None:
    record = serve_apart(table([0.0, 0.0], [31, 32], 3), STEP, rules=HandoverRules(from_prompt_tokens=32))
    assert record.requests["prefill_replica"].tolist() == [-1, 0]
    assert record.requests["replica"].tolist() == [1, 1]
    assert record.requests["kv_transfer_bytes"].tolist() == [0, 2000]


def test_what_the_decode_side_has_is_not_moved_again() -> None:
    """The second prompt shares 48 of 64 tokens with the first: one block is missing. The third has all but nothing."""
    shared = (("system", 48),)
    segments = [(*shared, (name, 16)) for name in ("a", "b", "b")]
    requests = table([0.0, 20.0, 40.0], 64, 4, segments=segments)
    record = serve_apart(requests, STEP, prefill_outlet=SLOW)
    assert record.requests["kv_transfer_bytes"].tolist() == [4000, 1000, 0]
    assert record.requests["cached_tokens"].tolist() == [0, 48, 48]  # the last block is computed for its last token


def test_hits_count_for_the_threshold() -> None:
    """Of the second prompt the decode replica lacks 16 tokens, less than 17."""
    segments = [(("system", 48), (name, 16)) for name in ("a", "b")]
    rules = HandoverRules(from_prompt_tokens=17)
    record = serve_apart(table([0.0, 20.0], 64, 4, segments=segments), STEP, rules=rules)
    assert record.requests["prefill_replica"].tolist() == [0, -1]
    assert record.requests["cached_tokens"].tolist() == [0, 48]


def test_the_prefill_side_keeps_blocks_until_they_are_fetched() -> None:
    """Its memory holds one prompt of 64 tokens: the second waits from 1 to 5 s for the first to be fetched."""
    record = serve_apart(
        table([0.0, 0.0], 64, 2), STEP, prefill_outlet=Outlet(1000),
        limits={"num_gpu_blocks": 6, "max_model_len": 80}, decode_limits={"num_gpu_blocks": 100},
    )  # fmt: skip
    assert record.requests["scheduled_s"].tolist() == [0.0, 5.0]
    seconds = gpu_time(record.steps, context_of(record))
    assert seconds["transfer"] == 4.0 + 4.0 + 4.0  # there, and for either request at the decode side


def test_the_decode_side_takes_room_before_anything_moves() -> None:
    """Five blocks at the decode side: the second request's KV is fetched when the first has ended."""
    limits = {"max_model_len": 80}
    record = serve_apart(
        table([0.0, 0.0], 64, 4), STEP, prefill_outlet=SLOW, limits=limits, decode_limits={"num_gpu_blocks": 6}
    )
    assert record.requests["kv_sent_s"].tolist() == [1.0, 6.0]
    assert record.requests["finish_s"].tolist() == [6.0, 11.0]


def test_a_preempted_request_is_computed_again_where_it_decodes() -> None:
    """Two requests outgrow seven blocks: the later one loses its 32 + 15 tokens."""
    record = serve_apart(
        table([0.0, 0.0], 32, 40), STEP, limits={"max_model_len": 80, "enable_prefix_caching": False},
        decode_limits={"num_gpu_blocks": 8},
    )  # fmt: skip
    assert record.requests["preemptions"].tolist() == [0, 1]
    assert record.requests["recomputed_tokens"][1] > 32
    assert record.requests["kv_transfer_bytes"].tolist() == [2000, 2000]
    assert record.requests["generated_tokens"].tolist() == [40, 40]


@pytest.mark.parametrize("fast_forward", [True, False])
@pytest.mark.parametrize(
    ("after_s", "generated", "finish_s", "moved"),
    [
        (0.5, 1, 1.0, 0),  # the first token is under way, and all ends with it
        (2.0, 1, 2.0, 2000),  # half of the KV has moved
        (4.5, 3, 5.0, 4000),
    ],
)
def test_giving_up_frees_both_sides(
    fast_forward: bool, after_s: float, generated: int, finish_s: float, moved: int
) -> None:
    requests = table([0.0, 10.0], 64, 9, cancel_after_s=[after_s, np.inf])
    limits = {"num_gpu_blocks": 6, "max_model_len": 80}
    record = serve_apart(requests, STEP, prefill_outlet=SLOW, limits=limits, fast_forward=fast_forward)
    rows = record.requests
    assert rows["status"].tolist() == ["cancelled", "finished"]
    assert rows["generated_tokens"].tolist() == [generated, 9]
    assert rows["finish_s"].tolist() == [finish_s, 21.0]
    assert rows["kv_transfer_bytes"].tolist() == [moved, 4000]


def test_giving_up_on_the_way_between() -> None:
    """The token is there at 1 s, and the request reaches the decode side at 3 s."""
    requests = table([0.0], 64, 9, cancel_after_s=[1.5])
    record = serve_apart(requests, STEP, decode_overhead_s=2.0)
    assert record.requests["finish_s"].tolist() == [1.5]
    assert record.requests["replica"].tolist() == [0]
    assert record.requests["generated_tokens"].tolist() == [1]
