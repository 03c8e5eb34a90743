"""The smallest cluster for a load, against theory, and against looking at every size."""

from typing import Any

import pytest
import yaml

import sim
from sim.errors import ScenarioError
from tests.commands import servecast

# One prompt at a time, 0.1 s each: M/D/c at 25 requests a second needs more than 2.5 servers.
PROMPTS: dict[str, Any] = {
    "name": "prompts",
    "model": "llama-3.1-8b",
    "workload": {
        "arrivals": {"poisson": {"rate_per_s": 25}}, "requests": 2000,
        "prompt_tokens": {"fixed": {"tokens": 100}}, "output_tokens": {"fixed": {"tokens": 1}},
    },
    "cluster": {"gpu": "h100-sxm", "router": "least_outstanding"},
    "engine": {"max_model_len": 2048, "max_num_seqs": 1, "host_request_s": 0, "host_output_s": 0},
    "latency": {"linear": {"base_s": 0.1, "per_prefill_token_s": 0, "per_decode_s": 0}},
    "slo": {"ttft": "1s"},
}  # fmt: skip


def test_the_fewest_servers_of_a_queue() -> None:
    """Two servers are 125% loaded; three are 83%, where waits over nine services are very rare (M/D/3)."""
    (found,) = sim.size(PROMPTS, jobs=1)
    assert (found.replicas, found.gpus) == (3, 3)
    assert found.usd_per_hour == pytest.approx(3 * 3.99)
    assert found.why.startswith("2 replicas: slo_attainment")
    assert found.summary["slo_attainment"]["all"] >= 0.99


def test_no_smaller_one_would_do_and_the_cheapest_comes_first() -> None:
    scenario = {**PROMPTS, "workload": {**PROMPTS["workload"], "requests": 300}}
    found = sim.size(scenario, gpus=["h100-sxm", "l4", "b200"], jobs=1)
    assert [one.gpu for one in found] == ["l4", "h100-sxm", "b200"]  # a step takes as long on all; prices rise
    assert len({one.replicas for one in found}) == 1
    shares = [
        sim.run(scenario, overrides=[f"cluster.replicas={count}"]).summary["slo_attainment"]["all"]
        for count in (found[0].replicas - 1, found[0].replicas)
    ]
    assert shares[0] < 0.99 <= shares[1]


def test_what_is_dearer_is_not_looked_at_further() -> None:
    """Four L4s are enough and cost less than a B200: that one of these is too few is known, and two are not tried."""
    scenario = {**PROMPTS, "workload": {**PROMPTS["workload"], "requests": 300}}
    found = sim.size(scenario, gpus=["l4", "b200"], jobs=1, limits=["mean_queue_wait_ms <= 100"])
    trials = sim.size(scenario, gpus=["b200"], jobs=1, limits=["mean_queue_wait_ms <= 100"])
    assert found[0].gpu == "l4"
    assert found[0].usd_per_hour < trials[0].usd_per_hour


def test_a_kind_that_cannot_be_run_is_said() -> None:
    scenario = {**PROMPTS, "model": "llama-3.1-70b", "latency": "profile", "engine": {"max_model_len": 2048}}
    found = sim.size(scenario, gpus=["l4", "b200"], limits=["p99_ttft_ms <= 60000"], jobs=1)
    assert found[0].gpu == "b200"
    assert "leaves no room for a KV cache on 1 x l4; raise tensor_parallel" in found[1].why
    with pytest.raises(ScenarioError, match="no kind of replica can be run"):
        sim.size(scenario, gpus=["l4"], jobs=1)


def test_too_small_a_budget_is_said() -> None:
    (found,) = sim.size(PROMPTS, most_gpus=2, jobs=1)
    assert not found.carries
    assert found.why.startswith("2 GPUs (--most-gpus 2) are not enough: slo_attainment >= 0.99 (")
    (found,) = sim.size({**PROMPTS, "cluster": {"gpu": "h100-sxm", "tensor_parallel": 4}}, most_gpus=2, jobs=1)
    assert found.why == "one replica is 4 GPUs, more than --most-gpus 2"


def test_what_one_request_alone_misses_is_not_blamed_on_too_few() -> None:
    """A prompt takes 0.1 s, so that no number of replicas meets a TTFT of 90 ms; one GPU more would be no help."""
    (found,) = sim.size({**PROMPTS, "slo": {"ttft": "90ms"}}, jobs=1)
    assert not found.carries and found.why == "even one request alone misses ttft <= 90 ms"
    (found,) = sim.size({**PROMPTS, "slo": {}}, limits=["p50_ttft_ms <= 50"], jobs=1)
    assert found.why == "even served alone, requests break p50_ttft_ms <= 50 (100)"


def test_the_own_gpu_is_looked_at_to_the_end_and_all_if_asked() -> None:
    """A step takes as long on every GPU, so three or four of each are enough; the L4 is the cheapest."""
    scenario = {**PROMPTS, "cluster": {**PROMPTS["cluster"], "gpu": "b200"}}
    scenario["workload"] = {**PROMPTS["workload"], "requests": 300}
    found = {one.gpu: one for one in sim.size(scenario, gpus=["l4", "b200", "mi300x"], most_gpus=8, jobs=1)}
    assert found["b200"].replicas == found["l4"].replicas > 0
    everything = sim.size(scenario, gpus=["l4", "b200", "h200-sxm"], most_gpus=8, finish_all=True, jobs=1)
    assert all(one.replicas == found["l4"].replicas for one in everything)


def test_prices_of_the_user() -> None:
    scenario = {**PROMPTS, "workload": {**PROMPTS["workload"], "requests": 300}}
    found = sim.size(scenario, gpus=["l4", "b200"], prices={"b200": 0.01, "l4": 5}, jobs=1)
    assert [one.gpu for one in found] == ["b200", "l4"]
    assert found[0].usd_per_hour == pytest.approx(0.01 * found[0].gpus)


def test_a_context_length_that_leaves_small_gpus_out_is_said_with_its_mend() -> None:
    """Llama 3.1 sees 131,072 tokens, whose KV cache an L4 has no room for; these requests have 101."""
    engine = {name: value for name, value in PROMPTS["engine"].items() if name != "max_model_len"}
    scenario = {**PROMPTS, "engine": engine, "workload": {**PROMPTS["workload"], "requests": 100}}
    found = {one.gpu: one for one in sim.size(scenario, gpus=["l4", "h100-sxm"], jobs=1)}
    assert found["l4"].why.endswith("the longest request has 101: --set engine.max_model_len=101")
    assert "\n" not in found["l4"].why and "Per GPU" not in found["l4"].why
    (mended,) = sim.size(scenario, gpus=["l4"], overrides=["engine.max_model_len=101"], jobs=1)
    assert mended.carries


def test_pools_are_sized_one_after_another() -> None:
    tenants = {"a": 1, "b": 1}
    scenario = {
        **PROMPTS,
        "workload": {**PROMPTS["workload"], "requests": 400, "tenants": tenants},
        "tenants": {"b": {"model": "qwen3-8b"}},
        "cluster": {"gpu": "h100-sxm", "router": "least_outstanding", "pools": {"a": {}, "b": {"model": "qwen3-8b"}}},
    }
    (found,) = sim.size(scenario, prices={"h100-sxm": 1.5}, jobs=1)
    assert found.pools == {"a": 2, "b": 2}  # 12.5 requests a second each, 1.25 servers' work
    assert (found.replicas, found.gpus, found.usd_per_hour) == (4, 4, 6.0)


@pytest.mark.parametrize(
    ("scenario", "options", "words"),
    [
        ({**PROMPTS, "slo": {}}, {}, "nothing says what must be met"),
        (PROMPTS, {"attainment": 0}, "--attainment"),
        (PROMPTS, {"most_gpus": 0}, "at least 1"),
        (PROMPTS, {"prices": {"h100": 2}}, "did you mean 'h100-sxm'"),
        (PROMPTS, {"prices": {"h100-sxm": -1}}, "0 or more"),
        (PROMPTS, {"limits": ["fast"]}, "is not like"),
        (PROMPTS, {"limits": ["nonsense <= 1"]}, "no figure 'nonsense'"),
    ],
)
def test_bad_questions(scenario: dict, options: dict, words: str) -> None:
    with pytest.raises(ScenarioError, match=words):
        sim.size(scenario, jobs=1, **options)


def test_the_command(tmp_path: Any, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "p.yaml").write_text(yaml.safe_dump({**PROMPTS, "slo": {}}))
    line = ["size", str(tmp_path / "p.yaml"), "--slo", "ttft=1s", "--jobs", "1", "--set", "workload.requests=300"]
    assert servecast(monkeypatch, *line) == 0
    assert "2 replicas: slo_attainment >= 0.99" in capsys.readouterr().out
    assert servecast(monkeypatch, *line, "--format", "json") == 0
    assert '"replicas": 3' in capsys.readouterr().out
