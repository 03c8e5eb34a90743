"""What a trace says of content reaches the engine's prefix cache."""

import json
from pathlib import Path
from typing import Any

import sim


def run(tmp_path: Path, workload: dict[str, Any]) -> Any:
    scenario = {"model": "llama-3.1-8b", "workload": workload, "cluster": {"gpu": "h100-sxm"}}
    path = tmp_path / "s.yaml"
    path.write_text(json.dumps(scenario))
    return sim.run(str(path))


def test_a_next_turn_finds_the_answer_before_it(tmp_path: Path) -> None:
    """Turn 1: 400 + 80 tokens; turn 2 begins with all of them: vLLM hits its 29 full blocks of 16 (479 computed)."""
    said = [("human", "a" * 1600), ("gpt", "b" * 320), ("human", "c" * 400), ("gpt", "d" * 40)]
    talk = {"id": "x", "conversations": [{"from": role, "value": value} for role, value in said]}
    (tmp_path / "talk.json").write_text(json.dumps([talk]))
    trace = {"sharegpt": {"path": "talk.json", "turns": "all", "turn_gap": "60s"}}
    result = run(tmp_path, {"trace": trace, "arrivals": "all_at_once", "requests": 2})
    assert result.requests.prompt_tokens.tolist() == [400, 580]
    assert result.requests.cached_tokens.tolist() == [0, 464]


def test_of_several_answers_the_first_is_repeated(tmp_path: Path) -> None:
    said = [("human", "a" * 1600), ("gpt", "b" * 320), ("human", "c" * 400), ("gpt", "d" * 40)]
    talk = {"id": "x", "conversations": [{"from": role, "value": value} for role, value in said]}
    (tmp_path / "talk.json").write_text(json.dumps([talk]))
    trace = {"sharegpt": {"path": "talk.json", "turns": "all", "turn_gap": "60s"}}
    result = run(tmp_path, {"trace": trace, "arrivals": "all_at_once", "requests": 2, "n": 2})
    assert sorted(result.requests.cached_tokens.tolist()) == [0, 384, 464, 576]


def test_block_hashes_of_512_are_shared_in_engine_blocks(tmp_path: Path) -> None:
    rows = [
        {"timestamp": t, "input_length": 1200, "output_length": 2, "hash_ids": ids}
        for t, ids in ((0, [1, 2, 3]), (9000, [1, 2, 4]), (18000, [5, 2, 3]))
    ]
    (tmp_path / "m.jsonl").write_text("\n".join(map(json.dumps, rows)))
    result = run(tmp_path, {"trace": {"mooncake": {"path": "m.jsonl"}}})
    assert result.requests.cached_tokens.tolist() == [0, 1024, 0]
