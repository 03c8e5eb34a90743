"""The finding that scenarios/chat-memory.yaml opens with."""

import sim

CACHED, NONE, HOST = "as written", "no prefix caching", "talks kept in host memory"


def test_what_prefix_caching_saves() -> None:
    found = sim.compare("chat-memory", seeds=1, jobs=1)
    good, hits, ttft_ms = (found.table[name] for name in ("slo_attainment", "prefix_cache_hit_rate", "mean_ttft_ms"))
    assert 0.6 < good[NONE] < 0.75 and good[CACHED] > 0.97 and good[HOST] > 0.99
    assert hits[NONE] == 0
    assert 0.2 < 1 - hits[CACHED] / hits[HOST] < 0.4  # of what could be reused, evicted from the GPU
    assert 0.4 < ttft_ms[CACHED] / ttft_ms[NONE] < 0.6
    assert 0.35 < ttft_ms[HOST] / ttft_ms[CACHED] < 0.55
    turn_ms = found.table["mean_turn_ms"]
    assert 0.45 < turn_ms[CACHED] / turn_ms[NONE] < 0.6
    assert 0.28 < turn_ms[HOST] / turn_ms[NONE] < 0.4


def test_without_it_ttft_grows_with_the_talk() -> None:
    first, *_, sixth = sim.run("chat-memory", variant=NONE).summary["sessions"]["by_turn"][:6]
    assert sixth["mean_ttft_ms"] > 1.15 * first["mean_ttft_ms"]
