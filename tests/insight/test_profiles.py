"""Profiles side by side, and what each holds."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml

from sim import hardware, models
from sim.errors import ProfileError
from sim.hardware import Profile
from sim.insight.profiles import Setting, compare_profiles, inventory
from sim.latency import roofline
from sim.models.operations import token_operations
from tests.commands import servecast
from tests.latency.devices import decode_s, device, gemm_s

LLAMA = Setting(models.load("llama-3.1-8b"))
H100 = hardware.load("h100-sxm")
HEADS = {"dtype": "bf16", "heads": 32, "kv_heads": 8, "head_dim": 128}
QKV = {"op": "gemm", "dtype": "bf16", "n": 6144, "k": 4096}


def half_as_fast(folder: Path) -> Profile:
    """An H100 on which everything takes twice as long: half of every rate, twice every latency."""
    facts: dict[str, Any] = yaml.safe_load((H100.folder / "device.yaml").read_text())
    for name, entry in facts.items():
        if name.endswith("_per_s"):
            entry["value"] /= 2
        elif name.endswith("_s"):
            entry["value"] *= 2
    for entry in facts["peak_flops"].values():
        entry["value"] /= 2
    folder.mkdir()
    (folder / "device.yaml").write_text(yaml.safe_dump(facts))
    return hardware.load(folder)


@pytest.mark.parametrize(("model", "tp"), [("llama-3.1-8b", 1), ("mixtral-8x7b", 2)])
def test_half_as_fast_is_twice_the_time_of_everything(model: str, tp: int, tmp_path: Path) -> None:
    found = compare_profiles(H100, half_as_fast(tmp_path / "slow"), Setting(models.load(model), tp))
    assert len(found["operations"]) > 10
    for one in found["operations"]:
        assert [one[name] for name in ("median", "p10", "p90")] == pytest.approx([2, 2, 2]), one
        assert one["inside_first"] is one["inside_second"] is None
    assert [step["ratio"] for step in found["steps"]] == pytest.approx([2] * len(found["steps"]))


def test_the_ratios_are_those_of_the_points(tmp_path: Path) -> None:
    """One product was measured, at every power of two; decode attention up to 2048 tokens each."""
    tokens = [1 << power for power in range(14)]
    rows = [{**QKV, "m": m, "time_s": gemm_s(m)} for m in tokens]
    contexts = [128, 512, 2048]
    rows += [
        {"op": "attention_decode", **HEADS, "batch": b, "context_tokens": c, "time_s": decode_s(b, c)}
        for b in (1, 4, 16, 64, 256)
        for c in contexts
    ]
    mine = device(tmp_path, rows)
    found = {one["operation"]: one for one in compare_profiles(H100, mine, LLAMA)["operations"]}
    qkv = next(op for op in token_operations(LLAMA.model, np.array(tokens)) if op.name == "qkv")
    roof: Any = roofline.seconds(qkv, H100)
    ratios = sorted(gemm_s(m) / roof[i] for i, m in enumerate(tokens))
    assert found["qkv"]["median"] == pytest.approx((ratios[6] + ratios[7]) / 2)
    assert found["qkv"]["inside_second"] == 1.0
    assert found["attention_decode"]["inside_second"] == pytest.approx(3 / 5)  # 8192 and 32768 are beyond
    assert found["norm"]["inside_second"] is None
    assert found["norm"]["median"] == 1.0
    assert found["attention_prefill"]["inside_second"] == 0.0


def test_inventory_tells_points_ranges_and_the_error_of_the_fit(tmp_path: Path) -> None:
    rows = [{**QKV, "m": m, "time_s": gemm_s(m)} for m in (1, 64)] + [{**QKV, "n": 8, "m": 32, "time_s": 1e-6}]
    mine = device(tmp_path, [*rows, {"op": "norm", "bytes": 64, "time_s": 1e-6}])
    report = {"held_out": {"gemm": {"points": 7, "median": 0.021, "p95": 0.08, "bias": -0.01, "extrapolated": 0}}}
    (mine.folder / "fit_report.json").write_text(json.dumps(report))
    assert inventory(mine)["operations"] == [
        {
            "op": "gemm",
            "curves": 2,
            "points": 3,
            "range": {"m": [1, 64]},
            "fit_error": {"points": 7, "median": 0.021, "p95": 0.08},
        },
        {"op": "norm", "curves": 1, "points": 1, "range": {"bytes": [64, 64]}, "fit_error": None},
    ]
    assert inventory(H100)["operations"] == []
    for broken in ("{", "[]", '{"held_out": {"gemm": {}}}'):
        (mine.folder / "fit_report.json").write_text(broken)
        with pytest.raises(ProfileError, match=r"fit_report\.json: not the report of a fit"):
            inventory(mine)


def test_the_list_is_the_same_under_both_names(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert servecast(monkeypatch, "profiles") == 0
    listed = capsys.readouterr().out
    assert servecast(monkeypatch, "gpus") == 0
    assert capsys.readouterr().out == listed
    assert all(name in listed for name in hardware.names())
    assert servecast(monkeypatch, "profiles", "--format", "json") == 0
    assert [one["name"] for one in json.loads(capsys.readouterr().out)] == hardware.names()


def test_show_and_compare(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    mine = device(tmp_path, [{**QKV, "m": m, "time_s": gemm_s(m)} for m in (1, 8192)])
    report = {"held_out": {"gemm": {"points": 7, "median": 0.021, "p95": 0.08}}}
    (mine.folder / "fit_report.json").write_text(json.dumps(report))
    assert servecast(monkeypatch, "profiles", "show", str(mine.folder)) == 0
    printed = capsys.readouterr().out
    assert "m 1 to 8,192" in printed
    assert "2.1% (8.0%) of 7" in printed
    assert servecast(monkeypatch, "profiles", "compare", "h100-sxm", str(mine.folder)) == 0
    printed = capsys.readouterr().out
    for words in (
        "above 1,",
        "qkv",
        "100%",
        "roofline",
        "decode of 64, 1024 tokens each",
        "* outside what was measured",
    ):
        assert words in printed
    arguments = ("compare", "h100-sxm", "h200-sxm", "--model", "llama-2-7b", "--tp", "2", "--format", "json")
    assert servecast(monkeypatch, "profiles", *arguments) == 0
    found = json.loads(capsys.readouterr().out)
    assert (found["model"], found["tensor_parallel"]) == ("llama-2-7b", 2)
    decode = next(step for step in found["steps"] if step["step"].startswith("decode of 256"))
    assert 3.35 / 4.8 < decode["ratio"] < 1  # at best the ratio of their bandwidths


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("show", "h10-sxm"), "did you mean 'h100-sxm'?"),
        (("compare", "h100-sxm"), "B"),
        (("compare", "h100-sxm", "b200", "--tp", "3"), "does not divide"),
        (("compare", "h100-sxm", "b200", "--weights", "fp3"), "unknown weight dtype"),
        (("compare", "h100-sxm", "b200", "--kv", "int4"), "unknown KV cache dtype"),
        (("compare", "h100-sxm", "b200", "--model", "llama-9"), "no built-in model"),
        (("lst",), "no GPU profile 'lst'"),
    ],
)
def test_a_mistake_is_one_sentence_and_code_2(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], arguments: tuple[str, ...], words: str
) -> None:
    assert servecast(monkeypatch, "profiles", *arguments) == 2
    printed, complained = capsys.readouterr()
    assert printed == ""
    assert complained.startswith("servecast: ")
    assert complained.count("\n") == 1
    assert words in complained
