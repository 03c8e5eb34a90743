"""A scenario in, an answer out: the parts put together."""

import json
import pickle
import re
import tracemalloc
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

import sim
from sim.errors import CapacityError, ModelError, ProfileError, ScenarioError, TraceError
from sim.resolve import resolve
from sim.scenario import load

BASE: dict[str, Any] = {
    "name": "small",
    "model": "llama-3.1-8b",
    "workload": {
        "arrivals": {"poisson": {"rate_per_s": 20}},
        "prompt_tokens": {"fixed": {"tokens": 200}},
        "output_tokens": {"fixed": {"tokens": 20}},
        "requests": 200,
    },
    "cluster": {"gpu": "h100-sxm", "replicas": 2},
    "slo": {"ttft": "1s"},
}
ONE_BY_ONE = [
    "latency={linear: {base_s: 0.1, per_prefill_token_s: 0, per_decode_s: 0}}",
    "engine.host_request_s=0",
    "engine.host_output_s=0",
    "workload={arrivals: {constant: {rate_per_s: 1}}, prompt_tokens: {fixed: {tokens: 10}}, "
    "output_tokens: {fixed: {tokens: 4}}, requests: 5}",
]


def test_a_hand_computed_run() -> None:
    """Five requests, one a second, steps of 0.1 s: a first token after one step, all four after four."""
    result = sim.run(BASE, overrides=ONE_BY_ONE)
    summary = result.summary
    assert summary["completed"] == 5
    assert summary["total_output_tokens"] == 20
    for statistic in ("mean", "median", "p99"):
        assert summary[f"{statistic}_ttft_ms"] == pytest.approx(100)
        assert summary[f"{statistic}_tpot_ms"] == pytest.approx(100)
        assert summary[f"{statistic}_e2el_ms"] == pytest.approx(400)
    assert summary["engine_steps"] == 20
    assert result.requests["ttft_s"].tolist() == pytest.approx([0.1] * 5)
    assert summary["provenance"].startswith("Linear")


def test_the_host_delays_every_request_by_its_share() -> None:
    slow = sim.run(BASE, overrides=[*ONE_BY_ONE, "engine.host_request_s=30ms", "engine.host_output_s=2ms"])
    assert slow.summary["mean_ttft_ms"] == pytest.approx(132)
    assert slow.summary["mean_tpot_ms"] == pytest.approx(100)


def test_tables_summary_and_provenance_are_there() -> None:
    result = sim.run(BASE)
    assert len(result.requests) == 200
    assert isinstance(result.steps, pd.DataFrame)
    assert isinstance(result.timeline, pd.DataFrame)
    made = result.summary["made_with"]
    assert made["seed"] == 0
    assert made["versions"]["simpy"].startswith("4.")
    assert made["profile"]["name"] == "h100-sxm"
    assert len(made["profile"]["sha256"]) == 64
    assert sum(result.summary["gpu_time"]["fraction"].values()) == pytest.approx(1)
    assert 0 < result.summary["mfu_busy"] < 1
    assert 0 < result.summary["mbu_busy"] < 1
    assert result.wall_s > 0
    assert "wall" not in json.dumps(result.summary)
    assert "200 of 200" in repr(result)
    assert pickle.loads(pickle.dumps(result.summary)) == result.summary


def test_same_seed_same_bytes_other_seed_other_requests() -> None:
    first, again, other = sim.run(BASE), sim.run(BASE), sim.run(BASE, overrides=["seed=1"])
    assert json.dumps(first.summary) == json.dumps(again.summary)
    assert first.requests.equals(again.requests)
    assert not first.requests["arrival_s"].equals(other.requests["arrival_s"])


def test_fast_forward_changes_nothing() -> None:
    fast, plain = sim.run(BASE), sim.run(BASE, fast_forward=False)
    assert json.dumps(fast.summary) == json.dumps(plain.summary)
    assert fast.requests.equals(plain.requests)


def test_progress_ends_at_the_total() -> None:
    seen: list[tuple[int, int]] = []
    sim.run(BASE, progress=lambda done, total: seen.append((done, total)))
    assert seen[-1] == (200, 200)


def test_the_resolved_scenario_says_everything_and_runs_to_the_same(tmp_path: Path) -> None:
    result = sim.run(BASE)
    said = result.scenario
    nothing = {key for key, value in said.engine.model_dump().items() if value is None}
    # No lower limit, no drafts, no adapters and no memory beyond the GPU's are values; KV blocks and price follow from
    # the GPU and are in the summary.
    off = {"max_num_scheduled_tokens", "speculative", "lora", "swap_space", "kv_offload"}
    assert nothing == off | {"num_gpu_blocks_override"}
    assert said.cluster.gpu_price_per_hour is None
    assert result.summary["memory_per_gpu"]["num_gpu_blocks"] == result.summary["kv_blocks_per_replica"] + 1
    assert said.engine.max_num_batched_tokens == 8192
    assert said.engine.max_model_len == 131072
    path = tmp_path / "again.yaml"
    path.write_text(said.to_yaml(tmp_path))
    assert load(path) == said
    again = sim.run(path)
    assert again.requests.equals(result.requests)
    assert again.summary == result.summary
    other = sim.run(path, overrides=["cluster.gpu=h200-sxm"])  # more memory, another price
    assert other.summary["kv_blocks_per_replica"] > 1.5 * result.summary["kv_blocks_per_replica"]
    assert resolve(again.scenario).scenario == said


def test_save_writes_every_file_and_they_read_back(tmp_path: Path) -> None:
    result = sim.run("quickstart", overrides=["workload.trace.csv.limit=50"])
    folder = result.save(tmp_path / "new" / "out")
    assert {path.name for path in folder.iterdir()} == {
        "requests.parquet", "steps.parquet", "pauses.parquet", "timeline.parquet", "summary.json",
        "scenario.resolved.yaml", "overview.png",
    }  # fmt: skip
    assert len(pd.read_parquet(folder / "requests.parquet")) == 50
    assert json.loads((folder / "summary.json").read_text()) == result.summary
    again = sim.run(folder / "scenario.resolved.yaml")  # its relative paths still lead to the trace
    assert again.requests.equals(result.requests)


def test_the_picture_is_a_figure_and_a_file(tmp_path: Path) -> None:
    result = sim.run(BASE)
    figure = result.plot(tmp_path / "x.png")
    assert len(figure.axes) >= 7
    assert (tmp_path / "x.png").read_bytes().startswith(b"\x89PNG")


def test_paths_start_at_the_scenarios_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "deep").mkdir()
    (tmp_path / "deep" / "t.csv").write_text("arrival_s,prompt_tokens,output_tokens\n0,10,5\n1,10,5\n")
    (tmp_path / "deep" / "s.yaml").write_text(
        "model: llama-3.1-8b\nworkload: {trace: {csv: {path: t.csv}}}\ncluster: {gpu: h100-sxm}\n"
    )
    monkeypatch.chdir(tmp_path)
    assert sim.run("deep/s.yaml").summary["completed"] == 2


def warnings_of(*overrides: str) -> str:
    return "\n".join(sim.run(BASE, overrides=overrides).warnings)


def test_warnings_say_what_to_know_before_believing() -> None:
    assert "not measured" in warnings_of()
    assert warnings_of("latency=linear") == ""
    assert warnings_of("workload.requests=400", "workload.arrivals.poisson.rate_per_s=2000").startswith("saturated")
    assert "200 requests rejected" in warnings_of("engine.max_model_len=200")
    assert "200 outputs cut short" in warnings_of("engine.max_model_len=210")
    assert "starts empty and fills in about" in warnings_of("workload.output_tokens.fixed.tokens=2000")
    assert "no request was measured" in warnings_of("measure.warmup=1h")
    assert "variants were not run: a, b" in warnings_of("variants={a: {seed: 1}, b: {seed: 2}}")


def test_skipped_rows_are_told(tmp_path: Path) -> None:
    (tmp_path / "t.csv").write_text("arrival_s,prompt_tokens,output_tokens\n0,10,5\n1,-3,5\n2,10,5\n")
    trace = f"workload={{trace: {{csv: {{path: '{tmp_path}/t.csv', on_bad_row: skip}}}}}}"
    base = {**BASE, "workload": None}
    result = sim.run(base, overrides=[trace])
    assert result.summary["requests"]["total"] == 2
    assert any("1 unusable row of the trace skipped" in text for text in result.warnings)


def test_a_variant_runs_with_its_changes() -> None:
    base = {**BASE, "variants": {"one": {"cluster": {"replicas": 1}}}}
    assert sim.run(base, variant="one").summary["replicas"] == 1
    with pytest.raises(ScenarioError, match=r"did you mean 'one'\?"):
        sim.run(base, variant="on")


@pytest.mark.parametrize(
    ("override", "error", "words"),
    [
        ("model=llama-3.1-9b", ModelError, "did you mean 'llama-3.1-8b'?"),
        ("cluster.gpu=h100", ProfileError, "did you mean 'h100-sxm'?"),
        ("model=llama-3.1-70b", CapacityError, "weights of llama-3.1-70b"),
        ("cluster.gpu=l4", CapacityError, "max_model_len"),
        ("cluster.tensor_parallel=3", ModelError, "does not divide"),
        ("engine.max_model_len=200000", ScenarioError, "131072 positions"),
        ("engine.max_num_batched_tokens=100", ScenarioError, ""),
        ("engine.preset=vllm", ScenarioError, "did you mean 'vllm-v0' or 'vllm-v1'?"),
        ("workload={trace: {csv: {path: none.csv}}}", TraceError, "none.csv"),
    ],
)
def test_what_cannot_run_is_refused(override: str, error: type[Exception], words: str) -> None:
    base = {**BASE, "workload": None} if override.startswith("workload") else BASE
    extra = ["engine.max_num_seqs=200"] if "batched" in override else []
    with pytest.raises(error) as caught:
        sim.run(base, overrides=[override, *extra])
    assert words in str(caught.value)


def test_vllms_rules_between_limits() -> None:
    def engine(*overrides: str) -> Any:
        return resolve(load(BASE, overrides)).scenario.engine

    assert engine("engine.max_num_batched_tokens=100").max_num_seqs == 100  # a seat needs a token
    assert engine("engine.max_model_len=300", "engine.max_num_seqs=2").max_num_batched_tokens == 600
    whole = engine("engine.enable_chunked_prefill=false", "engine.max_model_len=30000")
    assert whole.max_num_batched_tokens == 30000
    assert engine("engine.num_gpu_blocks_override=9000").num_gpu_blocks_override == 9000
    fp8, bf16 = (resolve(load(BASE, text)) for text in (["engine.quantization=fp8"], []))
    assert fp8.limits.num_gpu_blocks > bf16.limits.num_gpu_blocks
    with pytest.raises(ScenarioError, match="chunked"):
        engine("engine.enable_chunked_prefill=false", "engine.max_num_batched_tokens=4096")


def test_own_code_as_a_router(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "my_router.py").write_text(
        "from dataclasses import dataclass\n\n"
        "@dataclass(frozen=True)\nclass Last:\n    def start(self, rng, candidates):\n"
        "        return lambda request: candidates.members[-1]\n"
    )
    monkeypatch.syspath_prepend(str(tmp_path))
    result = sim.run(BASE, overrides=["cluster.router='my_router:Last'"])
    assert set(result.requests["replica"]) == {1}
    assert "my_router:Last" in result.scenario.to_yaml()


def test_the_quickstarts_finding() -> None:
    """The numbers that the scenario's opening lines state."""
    text = (Path(sim.__file__).parent.parent / "scenarios" / "quickstart.yaml").read_text()
    stated = re.search(
        r"([\d.]+)% of the requests.*?TTFT is ([\d.]+) s; at tenfold it is ([\d.]+)% and ([\d.]+) s", text
    )
    assert stated
    for variant, share, ttft_s in ((None, *stated.groups()[:2]), ("tenfold", *stated.groups()[2:])):
        summary = sim.run("quickstart", variant=variant).summary
        assert 100 * summary["slo_attainment"]["all"] == pytest.approx(float(share), abs=0.051)
        assert summary["p99_ttft_ms"] / 1e3 == pytest.approx(float(ttft_s), abs=0.0051)


def test_utilisation_by_hand() -> None:
    """One prompt of 1000 tokens, one answer token: 2 FLOPs per weight and token, 4 per pair and channel."""
    projections, lm_head, heads_wide, layers = 6_979_321_856, 525_336_576, 4096, 32
    flops = 2 * projections * 1000 + 2 * lm_head + 4 * (1000 * 1001 / 2) * heads_wide * layers
    one = (
        "workload={arrivals: {constant: {rate_per_s: 1}}, prompt_tokens: {fixed: {tokens: 1000}}, "
        "output_tokens: {fixed: {tokens: 1}}, requests: 1}"
    )
    result = sim.run(BASE, overrides=[one, "cluster.replicas=1"])
    busy_s = float((result.steps["end_s"] - result.steps["start_s"]).sum())
    assert result.summary["mfu_busy"] * 989e12 * busy_s == pytest.approx(flops, rel=1e-3)
    halved = sim.run(BASE, overrides=[one, "cluster.replicas=1", "cluster.tensor_parallel=2"])
    both_s = 2 * float((halved.steps["end_s"] - halved.steps["start_s"]).sum())
    assert halved.summary["mfu_busy"] * 989e12 * both_s == pytest.approx(flops, rel=1e-3)


def test_idle_years_take_no_memory_and_change_no_peak(tmp_path: Path) -> None:
    """Two requests 300 days apart: the best second has the tokens of one answer's first second."""
    trace = tmp_path / "t.csv"
    trace.write_text("arrival_s,prompt_tokens,output_tokens\n0,10,5\n26000000,10,5\n")
    scenario = {**BASE, "workload": {"trace": {"csv": {"path": str(trace)}}}}
    tracemalloc.start()
    result = sim.run(scenario)
    peak_bytes = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert result.summary["max_output_tokens_per_s"] == 5
    assert peak_bytes < 100e6


def test_a_run_without_statistics_says_so_first(tmp_path: Path) -> None:
    nobody = sim.run(BASE, overrides=["measure.warmup=1h"])
    assert str(nobody.plot().texts[-1].get_text()).startswith("NOTHING MEASURED")
    rejected = sim.run(BASE, overrides=["engine.max_model_len=16"])
    assert "NOTHING RAN" in str(rejected.plot().texts[-1].get_text())


def test_a_summary_tells_what_was_kept_out_and_how_often_clients_tried() -> None:
    scenario = {
        "model": "llama-3.1-8b", "cluster": {"gpu": "h100-sxm", "admission": [{"queue_limit": {"outstanding": 4}}]},
        "workload": {
            "arrivals": {"poisson": {"rate_per_s": 20}}, "requests": 100, "retries": {"max_attempts": 2},
            "prompt_tokens": {"fixed": {"tokens": 200}}, "output_tokens": {"fixed": {"tokens": 50}},
        },
        "slo": {"ttft": "1h"},
    }  # fmt: skip
    result = sim.run(scenario)
    told, refused = result.summary["admission"], int((result.requests["status"] == "refused").sum())
    assert 0 < refused == result.summary["requests"]["refused"] == result.summary["failed"]
    assert result.summary["slo_attainment"]["all"] == (100 - refused) / 100
    assert told["by_rule"] == {"queue_limit": told["refusals"]}
    # Everybody who was sent to a replica was let in once: all other attempts were refused.
    assert told["attempts"]["total"] == result.requests["attempts"].sum() == told["refusals"] + 100 - refused
    assert told["attempts"]["requests_sent_again"] - refused == told["attempts"]["of_these_finished"] > 0
    assert any(f"{refused} requests were refused" in warning for warning in result.summary["warnings"])
    plain = sim.run({**scenario, "cluster": {"gpu": "h100-sxm"}, "workload": {**scenario["workload"], "retries": None}})
    assert plain.summary["admission"] is None and "attempts" not in plain.requests
