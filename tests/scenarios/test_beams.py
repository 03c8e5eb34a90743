"""The finding that scenarios/beam-search.yaml opens with."""

import pytest

import sim


def tokens(result: sim.Result) -> int:
    steps = result.steps
    return int(((steps["prefill_tokens"] + steps["decodes"]) * steps["steps"]).sum())


def test_what_beam_search_costs() -> None:
    four = sim.run("beam-search")
    answers, eight, uncached = (
        sim.run("beam-search", variant=name) for name in ("four answers", "eight beams", "no prefix caching")
    )
    search_ms = four.summary["sessions"]["mean_session_ms"]
    assert search_ms == pytest.approx(1400, rel=0.05)
    assert answers.summary["all_answers"]["mean_e2el_ms"] == pytest.approx(700, rel=0.05)
    assert tokens(four) / tokens(answers) == pytest.approx(3.7, abs=0.1)
    assert eight.summary["sessions"]["mean_session_ms"] == pytest.approx(1500, rel=0.05)
    assert tokens(uncached) / tokens(four) == pytest.approx(72, abs=2)
    assert uncached.summary["saturated"]
    assert not eight.summary["saturated"]
