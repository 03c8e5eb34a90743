"""Doubts about several runs, each told once."""

from sim.insight.belief import doubts


def run(believe: str, *why: str) -> dict:
    return {"validity": {"believe": believe, "why": list(why)}}


def test_each_doubt_is_told_once_and_the_gravest_first() -> None:
    sheet = "step times are not measured (datasheet)"
    told = doubts({
        "a": run("with care", sheet),
        "b": run("no", sheet, "saturated: so"),
        "c": run("with care", sheet, "20 requests are too few for a p99, which needs 299"),
        "d": run("with care", sheet, "9 requests are too few for a p99, which needs 299"),
    })  # fmt: skip
    assert told[-1] == "believe with care (c, d): too few requests for a p99"
    assert "believe with care (b): saturated: so" in told
    assert f"believe with care: {sheet}" in told
    assert doubts({"a": run("yes")}) == []
    sheets = {gpu: run("with care", f"step times are not measured (datasheet {gpu}, 2026-11-24)") for gpu in "abc"}
    assert len(doubts(sheets)) == 1
    many = {str(i): run("with care", "x") for i in range(6)}
    assert doubts({**many, "z": run("yes")}) == ["believe with care (0, 1, 2 and 3 more): x"]
