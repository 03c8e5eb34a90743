"""Checks against a baseline: what must fail does, and noise does not."""

import json
import os
import subprocess
import sys
from importlib.metadata import entry_points
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import pytest
import yaml

import sim
from sim.errors import ServecastError
from sim.insight.check import Baseline, check
from sim.insight.check.baseline import read
from sim.insight.check.check import measure
from tests.commands import servecast as command

CHAT: dict[str, Any] = {
    "name": "chat",
    "model": "llama-3.1-8b",
    "workload": {
        "arrivals": {"poisson": {"rate_per_s": 6}}, "requests": 120,
        "prompt_tokens": {"uniform": {"low": 50, "high": 400}},
        "output_tokens": {"uniform": {"low": 20, "high": 80}},
    },
    "cluster": {"gpu": "h100-sxm"},
    "engine": {"max_model_len": 2048, "max_num_seqs": 16},
    "latency": {"linear": {"base_s": 0.02, "per_prefill_token_s": 1e-4}},
    "slo": {"ttft": "1s"},
}  # fmt: skip
SLOWER = {"linear": {"base_s": 0.021, "per_prefill_token_s": 1.05e-4, "per_decode_s": 1.05e-4}}
"""Every step takes 5% longer."""


def test_the_same_code_does_the_same() -> None:
    before, _ = measure(sim.load(CHAT), [3, 4], jobs=1)
    found = check(CHAT, before, strict=True, jobs=1)
    assert found.passed
    assert {verdict.outcome for verdict in found.verdicts} == {"same"}


def test_a_planted_regression_fails_and_noise_does_not() -> None:
    """Checks of five seeds each: all find steps that take 5% longer; none fails for having other seeds."""
    seeds = [range(first, first + 5) for first in range(0, 40, 5)]
    baselines = [measure(sim.load(CHAT), group, jobs=1)[0] for group in seeds]
    slower = {**CHAT, "latency": SLOWER}
    found = [check(slower, before, jobs=1) for before in baselines]
    assert all(not one.passed for one in found)
    told = [{verdict.metric for verdict in one.failures} for one in found]
    assert sum("mean_tpot_ms" in metrics for metrics in told) == len(seeds)
    noise = [_judged(before, after) for before, after in zip(baselines, [*baselines[1:], baselines[0]], strict=True)]
    assert sum(not passed for passed in noise) == 0


def _judged(before: Baseline, after: Baseline) -> bool:
    """The check of a baseline against runs that have been made already."""
    from sim.insight.check.check import Check, _verdict
    from sim.insight.comparison import METRICS

    verdicts = [_verdict(before, after, "as written", metric, 0.01, "") for metric in METRICS]
    return Check("chat", before, after, tuple(one for one in verdicts if one is not None)).passed


def test_better_and_worse_are_told_apart() -> None:
    before, _ = measure(sim.load({**CHAT, "latency": SLOWER}), [0, 1, 2], jobs=1)
    found = check(CHAT, before, jobs=1)
    assert found.passed
    assert {verdict.metric: verdict.outcome for verdict in found.verdicts}["mean_tpot_ms"] == "better"
    assert not check(CHAT, before, strict=True, jobs=1).passed


def test_a_variant_that_is_gone_fails() -> None:
    variants = {"more": {"cluster": {"replicas": 2}}}
    before, _ = measure(sim.load({**CHAT, "variants": variants}), [0], jobs=1)
    found = check(CHAT, before, jobs=1)
    assert {verdict.variant for verdict in found.failures} == {"more"}
    assert {verdict.outcome for verdict in found.failures} == {"missing"}
    assert check({**CHAT, "variants": variants}, measure(sim.load(CHAT), [0], jobs=1)[0], jobs=1).passed


def test_the_command(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    scenario, baseline = tmp_path / "chat.yaml", tmp_path / "kept" / "chat.json"
    scenario.write_text(yaml.safe_dump(CHAT))
    common = ["check", str(scenario), "--baseline", str(baseline), "--jobs", "1"]
    assert command(monkeypatch, *common) == 2
    assert "there is no baseline" in capsys.readouterr().err
    assert command(monkeypatch, *common, "--update", "--seeds", "3") == 0
    assert list(json.loads(baseline.read_text())["values"]) == ["as written"]
    assert command(monkeypatch, *common) == 0
    capsys.readouterr()
    junit, page = tmp_path / "out" / "check.xml", tmp_path / "out" / "check.md"
    slower = ["--set", "latency.linear.base_s=0.021"]
    assert command(monkeypatch, *common, *slower, "--junit", str(junit), "--markdown", str(page)) == 1
    out = capsys.readouterr().out
    assert "TPOT mean" in out
    assert "FAILED" in out
    suite = ElementTree.fromstring(junit.read_text())
    failures = {case.get("name") for case in suite.iter("testcase") if case.find("failure") is not None}
    assert "mean_tpot_ms" in failures
    assert int(suite.get("failures") or 0) == len(failures)
    assert "| as written | TPOT mean |" in page.read_text()
    assert command(monkeypatch, *common, *slower, "--metric", "preemptions") == 0
    assert command(monkeypatch, *common, *slower, "--tolerance", "0.5") == 0


def test_what_cannot_be_read_is_said(tmp_path: Path) -> None:
    wrong = tmp_path / "b.json"
    for text, words in [("{", "cannot be read"), ("{}", "not a baseline"), ('{"format": 1}', "lacks 'scenario'")]:
        wrong.write_text(text)
        with pytest.raises(ServecastError, match=words):
            read(wrong)
    before, _ = measure(sim.load(CHAT), [0], jobs=1)
    with pytest.raises(ServecastError, match="is of the scenario 'chat', not of 'other'"):
        check({**CHAT, "name": "other"}, before, jobs=1)
    with pytest.raises(ServecastError, match="there is no metric 'p98_ttft_ms'"):
        check(CHAT, before, metrics=["p98_ttft_ms"], jobs=1)
    with pytest.raises(ServecastError, match="two or more"):
        check(CHAT, before, seeds=[1], jobs=1)


def test_the_fixture_in_somebody_elses_suite(tmp_path: Path) -> None:
    (tmp_path / "chat.yaml").write_text(yaml.safe_dump(CHAT))
    (tmp_path / "test_policy.py").write_text(
        "def test_policy(servecast):\n    servecast.check('chat.yaml', seeds=1, tolerance=0.02)\n"
        "    assert servecast.run('chat.yaml').summary['completed'] == 120\n"
    )
    installed = any(point.value == "sim.pytest_plugin" for point in entry_points(group="pytest11"))
    plugin = [] if installed else ["-p", "sim.pytest_plugin"]

    def pytest_run(*arguments: str) -> subprocess.CompletedProcess[str]:
        line = [sys.executable, "-m", "pytest", "-q", *plugin, *arguments, "test_policy.py"]
        where = os.pathsep.join(filter(None, [str(Path(sim.__file__).parents[1]), os.environ.get("PYTHONPATH")]))
        return subprocess.run(
            line, cwd=tmp_path, env={**os.environ, "PYTHONPATH": where}, capture_output=True, text=True
        )

    assert pytest_run("--servecast-update").returncode == 0
    assert (tmp_path / "baselines" / "chat.json").is_file()
    assert pytest_run().returncode == 0
    (tmp_path / "chat.yaml").write_text(yaml.safe_dump({**CHAT, "latency": SLOWER}))
    done = pytest_run()
    assert done.returncode == 1
    assert "TPOT mean worse" in done.stdout
