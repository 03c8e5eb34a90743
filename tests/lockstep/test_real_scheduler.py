"""Every decision of the real vLLM V1 scheduler, step by step."""

import gzip
import io
import json
from pathlib import Path
from typing import Any

import pytest

from sim.errors import ServecastError
from sim.lockstep import lockstep

LOGS = [
    "01_light", "02_heavy_tokens", "03_kv_pressure", "06_long_chunked", "10_prefix_sharing", "13_priority",
    "15_max_num_seqs", "17_mixed", "19_async_heavy", "21_burst_offline",
    "23_no_chunking_heavy", "25_watermark_lone",
]  # fmt: skip


def run(folder: Path, name: str, group_decodes: bool = True) -> list[dict[str, Any]]:
    out = io.StringIO()
    lockstep(folder / f"{name}.jsonl", folder / f"{name}.config.json", out, group_decodes)
    return [json.loads(line) for line in out.getvalue().splitlines()]


@pytest.mark.parametrize("name", LOGS)
@pytest.mark.parametrize("group_decodes", [True, False], ids=["grouped", "one_by_one"])
def test_equals_the_real_log(shared: Path, name: str, group_decodes: bool) -> None:
    folder = shared / "reference" / "vllm_v1"
    with gzip.open(folder / "runs" / f"{name}.jsonl.gz", "rt") as lines:
        meta, *real = [json.loads(line) for line in lines]
    ours_meta, *ours = run(folder / "traces", name, group_decodes)
    assert ours_meta["config"] == meta["config"]
    for expected, got in zip(real, ours, strict=True):
        assert got == expected
        if expected["kind"] == "step":
            assert list(got["n"]) == list(expected["n"])  # the order of scheduling too


def write(folder: Path, rows: list[Any], config: Any) -> tuple[Path, Path]:
    trace, settings = folder / "t.jsonl", folder / "t.config.json"
    trace.write_text("\n".join(json.dumps(row) for row in rows))
    settings.write_text(json.dumps(config))
    return trace, settings


REQUEST = {"id": "a", "arrival_us": 0, "prompt": [["p", 6]], "output_len": 3}


def test_hand_worked_log(tmp_path: Path) -> None:
    """Budget 4, block 4: chunks of 4 and 2, then two decodes; dt = 5000 + 20 p + 100 d + ctx // 100."""
    write(tmp_path, [REQUEST], {"max_num_batched_tokens": 4, "block_size": 4, "num_gpu_blocks": 5})
    _, *lines = run(tmp_path, "t")
    steps = [line for line in lines if line["kind"] == "step"]
    assert [step["n"] for step in steps] == [{"a": 4}, {"a": 2}, {"a": 1}, {"a": 1}]
    assert [step["t"] for step in steps] == [0, 5080, 10120, 15220]
    assert [step["free"] for step in steps] == [3, 2, 2, 2]
    assert steps[-1]["fin"] == ["a"]
    assert steps[-1]["free2"] == 4
    assert lines[-1] == {
        "kind": "req", "id": "a", "arr": 0, "prompt": 6, "out": 3, "prio": 0, "first_sched": 0,
        "cached": 0, "first_tok": 10120, "fin": 20320, "npre": 0,
    }  # fmt: skip


@pytest.mark.parametrize(
    ("rows", "config", "says"),
    [
        ([REQUEST], {"max_num_seq": 4}, "max_num_seq"),
        ([REQUEST], {"policy": "lifo"}, "lifo"),
        ([REQUEST], [], "object"),
        ([REQUEST | {"output_len": 0}], {}, "line 1"),
        ([REQUEST, {"id": "b"}], {}, "line 2"),
        ([REQUEST], {"max_model_len": 6}, "max_model_len"),
        ([REQUEST], {"num_gpu_blocks": 1}, "KV"),
    ],
)
def test_refuses_in_words(tmp_path: Path, rows: list[Any], config: Any, says: str) -> None:
    trace, settings = write(tmp_path, rows, config)
    with pytest.raises(ServecastError, match=says):
        lockstep(trace, settings, io.StringIO())


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    trace, settings = write(tmp_path, [REQUEST], {})
    with pytest.raises(ServecastError, match="nowhere"):
        lockstep(tmp_path / "nowhere.jsonl", settings, io.StringIO())
    with pytest.raises(ServecastError, match="nowhere"):
        lockstep(trace, tmp_path / "nowhere.json", io.StringIO())
