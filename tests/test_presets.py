"""Every shipped preset resolves, runs, and says what the engine that it stands for would do."""

from typing import Any

import pytest

from sim import preset
from sim.errors import ScenarioError
from sim.resolve import resolve
from sim.run import run
from sim.scenario import Scenario, load
from tests.commands import servecast

NAMES = preset.names()


def scenario(**engine: Any) -> Scenario:
    return load({
        "model": "llama-3.1-8b",
        "workload": {
            "arrivals": {"poisson": {"rate_per_s": 10}},
            "prompt_tokens": {"uniform": {"low": 20, "high": 900}},
            "output_tokens": {"uniform": {"low": 1, "high": 60}},
            "requests": 60,
        },
        "cluster": {"gpu": "h100-sxm"},
        "engine": {"max_model_len": 4096, **engine},
    })  # fmt: skip


@pytest.mark.parametrize("name", NAMES)
def test_runs_and_resolves_to_itself(name: str) -> None:
    setup = resolve(scenario(preset=name))
    again = resolve(setup.scenario)
    assert again.limits == setup.limits
    assert again.timing == setup.timing
    fast, plain = (run(scenario(preset=name), fast_forward=on) for on in (True, False))
    assert fast.summary["completed"] == 60
    assert fast.summary == plain.summary


@pytest.mark.parametrize("name", NAMES)
def test_every_default_says_where_it_is_from(name: str) -> None:
    for default in preset.load(name).engine.values():
        assert len(default.source) > 5 or default.source == "as batching"


@pytest.mark.parametrize(("gib", "tokens"), [(24, 2048), (40, 4096), (80, 8192), (141, 8192), (180, 16384)])
def test_sglang_chunks_by_the_memory(gib: int, tokens: int) -> None:
    values = preset.load("sglang").defaults("any", gib * 2**30)
    assert values["max_num_batched_tokens"] == tokens


@pytest.mark.parametrize("name", ["vllm-v0", "tgi", "naive-static"])
def test_whole_prompts_need_steps_that_hold_the_longest(name: str) -> None:
    engine = resolve(scenario(preset=name, max_model_len=32768)).scenario.engine
    assert engine.max_num_batched_tokens == 32768
    with pytest.raises(ScenarioError, match="max_num_batched_tokens 2048 is less than max_model_len 4096"):
        resolve(scenario(preset=name, max_num_batched_tokens=2048))


def test_prompts_that_no_step_holds_are_rejected_as_tensorrt_llm_does() -> None:
    """Its steps have 8,192 tokens and prompts are whole, although sequences may be 32,768 long."""
    given = scenario(preset="tensorrt-llm", max_model_len=32768)
    assert resolve(given).limits.max_num_batched_tokens == 8192
    prompts = [f"workload.prompt_tokens={{fixed: {{tokens: {tokens}}}}}" for tokens in (8192, 8193)]
    fits, does_not = (run(given, overrides=["workload.requests=3", prompt]) for prompt in prompts)
    assert (fits.summary["completed"], does_not.summary["completed"]) == (3, 0)
    assert any("longer than a step of engine.max_num_batched_tokens (8192)" in text for text in does_not.warnings)
    split = scenario(preset="tensorrt-llm", batching={"tensorrt_llm": {"enable_chunked_context": True}})
    assert run(split, overrides=["engine.max_model_len=32768", prompts[1]]).summary["completed"] == 60


def test_tgi_serves_4096_tokens_unless_told_otherwise() -> None:
    engine = resolve(scenario(preset="tgi", max_model_len=None)).scenario.engine
    assert (engine.max_model_len, engine.max_num_batched_tokens) == (4096, 4145)
    opt = load({**scenario(preset="tgi").written(), "model": "opt-13b", "engine": {"preset": "tgi"}})
    assert resolve(opt).scenario.engine.max_model_len == 2048


def test_only_engines_that_decide_ahead_do_so() -> None:
    ahead = {name: resolve(scenario(preset=name)).scenario.engine.async_scheduling for name in NAMES}
    assert {name for name, does in ahead.items() if does} == {"vllm-v1", "sglang", "tensorrt-llm"}
    assert resolve(scenario(batching="static")).scenario.engine.async_scheduling is False
    with pytest.raises(ScenarioError, match="batching static cannot decide a step while one is under way"):
        resolve(scenario(batching="static", async_scheduling=True))


@pytest.mark.parametrize(("name", "key", "value"), [
    ("tgi", "long_prefill_token_threshold", 100),
    ("sglang", "watermark", 0.1),
    ("vllm-v0", "enable_chunked_prefill", False),
])  # fmt: skip
def test_settings_that_a_batching_does_not_have_are_refused(name: str, key: str, value: Any) -> None:
    with pytest.raises(ScenarioError, match=f"batching .* knows no {key}; leave it out"):
        resolve(scenario(preset=name, **{key: value}))


def test_engines_shows_them_side_by_side(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    assert servecast(monkeypatch, "engines") == 0
    shown = capsys.readouterr().out
    assert all(name in shown for name in NAMES)
    assert servecast(monkeypatch, "engines", "tgi") == 0
    assert "launcher/src/main.rs" in capsys.readouterr().out
    assert servecast(monkeypatch, "engines", "tgy") == 2
    assert "did you mean 'tgi'?" in capsys.readouterr().err


def test_eager_execution_takes_what_was_published() -> None:
    """vllm-omni issue 7960: a token of Qwen2.5-7B takes 22 to 23 ms without CUDA graphs on A800, 13 ms with them."""
    said = {
        "model": "qwen2.5-7b", "cluster": {"gpu": "a100-80g"},
        "workload": {
            "arrivals": "all_at_once", "requests": 1, "prompt_tokens": {"fixed": {"tokens": 100}},
            "output_tokens": {"fixed": {"tokens": 100}},
        },
    }  # fmt: skip
    graphs, eager = (run(said, overrides=more).summary for more in ([], ["engine.enforce_eager=true"]))
    assert eager["mean_tpot_ms"] == pytest.approx(22.5, abs=1)
    assert 1.7 < eager["mean_tpot_ms"] / graphs["mean_tpot_ms"] < 2.6
    with pytest.raises(ScenarioError, match="captures no CUDA graphs"):
        run(said, overrides=["engine.enforce_eager=true", "engine.cudagraph_capture_sizes=[1]"])
