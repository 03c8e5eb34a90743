"""Scenario files: what they may say, and how clearly a mistake is answered."""

import json
from pathlib import Path
from typing import Any

import pytest
import yaml

import sim
from sim import document, layering, preset
from sim.errors import ScenarioError
from sim.scenario import Scenario, json_schema, load
from sim.sections import Engine

GOOD = """\
# A comment
model: llama-3.1-8b
workload:
  arrivals:
    poisson: {rate_per_s: 1e1}
  prompt_tokens: {fixed: {tokens: 100}}
  output_tokens: {fixed: {tokens: 10}}
  requests: 100
cluster:
  gpu: h100-sxm
engine:
  max_num_seqs: 64
slo: {ttft: 500ms, tpot: 0.05}
variants:
  small:
    engine: {max_num_seqs: 4}
  steady:
    workload:
      arrivals: {constant: {rate_per_s: 3}}
"""


@pytest.fixture
def good(tmp_path: Path) -> Path:
    path = tmp_path / "good.yaml"
    path.write_text(GOOD)
    return path


def complaint(path: Path, *overrides: str) -> str:
    with pytest.raises(ScenarioError) as caught:
        load(path, overrides)
    text = str(caught.value)
    assert "\n" not in text
    return text


def test_reads_units_defaults_and_bare_words(good: Path) -> None:
    scenario = load(good)
    assert (scenario.name, scenario.seed, scenario.slo.ttft, scenario.slo.tpot) == ("good", 0, 0.5, 0.05)
    assert scenario.workload.arrivals.rate_per_s == 10.0  # 1e1 is a number, as in YAML 1.2
    assert type(scenario.cluster.router).__name__ == "RoundRobin"
    assert scenario.base_dir == str(good.parent)


@pytest.mark.parametrize(
    ("text", "value"),
    [("1e3", 1000.0), ("010", 10), ("0x10", 16), ("on", "on"), ("no", "no"), ("true", True),
     ("12:30", "12:30"), ("2024-05-10", "2024-05-10"), ("~", None), ("", None),
     (".inf", float("inf")), ("-1.5", -1.5), ("+3", 3),
     ("1_000", "1_000"), ("'1'", "1")],
)  # fmt: skip
def test_bare_words_follow_yaml_1_2(text: str, value: Any) -> None:
    assert document.parse(f"a: {text}", "x").data == {"a": value}


@pytest.mark.parametrize(
    ("line", "replacement", "words"),
    [
        ("model: llama-3.1-8b", "modle: llama-3.1-8b", ["line 2", "modle", "did you mean 'model'?"]),
        ("  gpu: h100-sxm", "  gpuu: h100-sxm", ["line 10", "cluster.gpuu", "'gpu'"]),
        ("  max_num_seqs: 64", "  max_num_seqs: 0", ["line 12", "engine.max_num_seqs", "1", "not 0"]),
        ("  max_num_seqs: 64", "  max_num_seqs: many", ["line 12", "engine.max_num_seqs", "'many'"]),
        ("  max_num_seqs: 64", "  max_num_seqs: true", ["line 12", "engine.max_num_seqs", "true and false"]),
        ("  max_num_seqs: 64", "  max_num_seqs: 1\n  max_num_seqs: 2",
         ["line 13", "stands twice", "line 12"]),
        ("  max_num_seqs: 64", "  scheduling_policy: fcfs", ["line 12", "engine.ordering"]),
        ("  max_num_seqs: 64", "  replicas: 2", ["line 12", "it belongs under cluster:"]),
        ("  max_num_seqs: 64", "  batching: vllm_v2", ["line 12", "engine.batching", "'vllm_v1'"]),
        ("  max_num_seqs: 64", "  gpu_memory_utilization: 1.1", ["line 12", "less than or equal to 1"]),
        ("  max_num_seqs: 64", "  kv_cache_dtype: fp7", ["line 12", "'fp8'", "'fp7'"]),
        ("    poisson: {rate_per_s: 1e1}", "    poisson: {rate_per_s: 0}",
         ["line 5", "workload.arrivals.poisson.rate_per_s", "greater than"]),
        ("    poisson: {rate_per_s: 1e1}", "    poisson: {rate: 1}",
         ["line 5", "poisson has no parameter 'rate'"]),
        ("    poisson: {rate_per_s: 1e1}", "    poison: {rate_per_s: 1}",
         ["line 4", "did you mean 'poisson'?"]),
        ("slo: {ttft: 500ms, tpot: 0.05}", "slo: {ttft: 500 parsecs}", ["line 13", "slo.ttft", "parsecs"]),
        ("slo: {ttft: 500ms, tpot: 0.05}", "slo: 3", ["line 13", "slo must hold"]),
        ("slo: {ttft: 500ms, tpot: 0.05}", "slo: {itl: 1}", ["line 13", "slo.tpot"]),
        ("slo: {ttft: 500ms, tpot: 0.05}", "slo: {ttft_p99: 1s}", ["line 13", "--limit 'p99_ttft_ms <= 1000'"]),
        ("    engine: {max_num_seqs: 4}", "    engine: {max_num_seqz: 4}",
         ["line 16", "variant 'small'", "did you mean 'max_num_seqs'?"]),
        ("    engine: {max_num_seqs: 4}", "    engine: {max_num_seqs: -4}",
         ["line 16", "variant 'small'", "not -4"]),
        ("    engine: {max_num_seqs: 4}", "    variants: {}", ["variant"]),
        ("cluster:", "\tcluster:", ["line 9", "not valid YAML"]),
        ("cluster:", "cluster: [", ["not valid YAML"]),
        ("model: llama-3.1-8b", "? [1]\n: 2", ["line 2", "a key must be one word"]),
        ("model: llama-3.1-8b", "model: &a [*a]", ["nested too deeply"]),
        ("model: llama-3.1-8b", "model: !!python/object:os.system {}", ["not valid YAML", "line 2"]),
        ("model: llama-3.1-8b\n", "", ["model is missing"]),
    ],
)  # fmt: skip
def test_a_mistake_is_answered_with_file_line_key_and_mend(
    good: Path, line: str, replacement: str, words: list[str]
) -> None:
    assert line in GOOD
    good.write_text(GOOD.replace(line, replacement, 1))
    text = complaint(good)
    assert str(good) in text
    for word in words:
        assert word in text


@pytest.mark.parametrize("content", ["", "# nothing\n", "- 1\n", "just words\n", "a: 1\n---\nb: 2\n", "\ufeff- 1\n"])
def test_a_file_that_is_no_mapping_is_refused(tmp_path: Path, content: str) -> None:
    path = tmp_path / "x.yaml"
    path.write_text(content)
    assert str(path) in complaint(path)


def test_unreadable_files_are_refused(tmp_path: Path) -> None:
    assert "no such file" in complaint(tmp_path / "none.yaml")
    assert "is a folder" in complaint(tmp_path)
    (tmp_path / "latin.yaml").write_bytes(b"name: caf\xe9\n")
    assert "cannot be read" in complaint(tmp_path / "latin.yaml")
    with pytest.raises(ScenarioError, match=r"did you mean 'quickstart'\?"):
        load("quikstart")


def test_overrides_are_laid_over_the_file(good: Path) -> None:
    changed = load(
        good,
        [
            "engine.max_num_seqs=8",
            "cluster={gpu: a100-80g, replicas: 3}",
            "workload.arrivals.poisson.rate_per_s=2",
        ],
    )
    assert changed.engine.max_num_seqs == 8
    assert (changed.cluster.gpu, changed.cluster.replicas) == ("a100-80g", 3)
    assert changed.workload.arrivals.rate_per_s == 2.0
    other = load(good, ["workload.arrivals.constant.rate_per_s=4"])
    assert type(other.workload.arrivals).__name__ == "Constant"
    assert load(good, ["engine.max_num_seqs=null"]).engine.max_num_seqs is None
    assert load(good, ["slo.e2el=2min"]).slo.e2el == 120.0


@pytest.mark.parametrize(
    ("override", "words"),
    [
        ("engine.max_num_seqs=0", "engine.max_num_seqs must be"),
        ("engine.max_num_sequences=2", "did you mean 'max_num_seqs'?"),
        ("workload.arrivals=constant", "workload.arrivals.constant.rate_per_s is missing"),
        ("workload.trace.azure.path=x.csv", "a trace brings its own requests"),
        ("cluster.router=least", "'least_outstanding'"),
        ("nonsense", "key.subkey=value"),
        ("a..b=1", "key.subkey=value"),
        ("slo.ttft=[1", "not valid YAML"),
    ],
)
def test_an_error_names_the_override_that_caused_it(good: Path, override: str, words: str) -> None:
    text = complaint(good, override)
    assert text.startswith(f"--set {override}")
    assert words in text


def test_variants_are_changes_to_the_base(good: Path) -> None:
    base = load(good)
    small, steady = base.variant("small"), base.variant("steady")
    assert (small.engine.max_num_seqs, small.name) == (4, "good, small")
    assert small.workload == base.workload
    assert type(steady.workload.arrivals).__name__ == "Constant"  # another option replaces, it does not mix
    assert steady.engine == base.engine
    with pytest.raises(ScenarioError, match=r"did you mean 'small'\?"):
        base.variant("smal")


def test_a_variants_preset_is_that_preset() -> None:
    """What the base says of batching and memory goes, what it says of limits stays; the variant's own word counts."""
    scenario = yaml.safe_load(GOOD) | {
        "engine": {"batching": "orca", "kv_cache": "contiguous", "watermark": 0.1, "max_num_seqs": 9},
        "variants": {
            "other": {"engine": {"preset": "sglang"}},
            "same": {"engine": {"preset": "vllm-v1"}},
            "but": {"engine": {"preset": "sglang", "batching": "sarathi"}},
            "none": {"engine": {"max_num_seqs": 8}},
        },
    }
    base = load(scenario)
    others, but, none = (base.variant("other"), base.variant("same")), base.variant("but"), base.variant("none")
    for variant in others:
        assert (variant.engine.batching, variant.engine.kv_cache, variant.engine.watermark) == (None, None, None)
        assert variant.engine.max_num_seqs == 9
    assert type(but.engine.batching).__name__ == "Sarathi" and but.engine.kv_cache is None
    assert none.engine.batching == base.engine.batching
    assert base.replaced("other") == ["batching", "kv_cache", "watermark"]
    assert base.replaced("none") == []
    every = load(scenario, ["engine.batching=static"])
    assert [type(every.variant(name).engine.batching).__name__ for name in ("other", "but")] == ["Static", "Sarathi"]
    assert every.variant("other").engine.kv_cache is None
    # --set is one layer, in whichever order it is written
    for overrides in (
        ["engine.preset=sglang", "engine.batching=static"],
        ["engine.batching=static", "engine.preset=tgi"],
    ):
        assert type(load(scenario, overrides).engine.batching).__name__ == "Static"
    assert load(scenario, ["engine.preset=sglang"]).engine.batching is None


def test_written_yaml_loads_to_the_same_scenario(good: Path, tmp_path: Path) -> None:
    scenario = load(good, ["engine.ordering=priority", "latency.linear.base_s=10ms"])
    elsewhere = tmp_path / "a" / "b"
    elsewhere.mkdir(parents=True)
    (elsewhere / "again.yaml").write_text(scenario.to_yaml(elsewhere))
    assert "base_dir: ../.." in scenario.to_yaml(elsewhere)
    assert load(elsewhere / "again.yaml") == scenario
    assert load(yaml.safe_load(scenario.to_yaml())) == scenario
    assert load(scenario) == scenario


def test_an_empty_section_says_nothing(good: Path) -> None:
    good.write_text(GOOD.replace("slo: {ttft: 500ms, tpot: 0.05}", "slo:\n  # ttft: 500ms"))
    assert load(good).slo.ttft is None


def test_vllms_names_of_number_formats_are_understood(good: Path) -> None:
    engine = load(good, ["engine.dtype=bfloat16", "engine.quantization=awq", "engine.kv_cache_dtype=fp8_e4m3"]).engine
    assert (engine.dtype, engine.quantization, engine.kv_cache_dtype) == ("bf16", "int4", "fp8")


def test_scenarios_are_frozen_and_documented(good: Path) -> None:
    with pytest.raises(Exception, match="frozen"):
        load(good).seed = 3  # type: ignore[misc]
    for name, field in Engine.model_fields.items():
        assert field.description, name


def test_json_schema_lists_every_built_in() -> None:
    schema = json_schema()
    text = json.dumps(schema)
    for word in ("poisson", "azure", "least_outstanding", "vllm_v1", "priority", "lognormal", "linear"):
        assert f'"{word}"' in text
    assert schema["additionalProperties"] is False
    assert set(schema["required"]) == {"model", "workload", "cluster"}


def test_merge_keeps_parameters_of_the_same_option_only() -> None:
    below = {"model": "m", "latency": {"linear": {"base_s": 1.0, "per_decode_s": 2.0}}}
    assert layering.merge(Scenario, [below, {"latency": {"linear": {"base_s": 3.0}}}])["latency"] == {
        "linear": {"base_s": 3.0, "per_decode_s": 2.0}
    }
    assert layering.merge(Scenario, [below, {"latency": {"profile": None}}])["latency"] == {"profile": None}
    assert layering.merge(Scenario, [below, {"latency": "profile"}])["latency"] == "profile"


def test_the_preset_holds_vllms_defaults_by_gpu() -> None:
    """vLLM 0.32's API-server values: at least 160 GiB; at least 70 GiB but no A100; all others."""
    vllm = preset.load("vllm-v1")
    for gpu, gib, tokens, seqs in (
        ("b200", 180, 16384, 1024),
        ("h100-sxm", 79.2, 8192, 1024),
        ("h200-sxm", 139.8, 8192, 1024),
        ("a100-80g", 79.2, 2048, 256),
        ("l4", 22.0, 2048, 256),
    ):
        values = vllm.defaults(gpu, int(gib * 2**30))
        assert (values["max_num_batched_tokens"], values["max_num_seqs"]) == (tokens, seqs), gpu
    assert values["block_size"] == 16
    assert values["gpu_memory_utilization"] == 0.92
    assert values["enable_prefix_caching"] is True
    for key, default in vllm.engine.items():
        assert key in Engine.model_fields
        assert default.source
    with pytest.raises(ScenarioError, match=r"did you mean 'vllm-v1'\?"):
        preset.load("vllm-v2")


def test_the_public_names_exist() -> None:
    assert set(dir(sim)) == {*sim.__all__, "__version__", "open"}
    for name in dir(sim):
        assert getattr(sim, name) is not None
    with pytest.raises(AttributeError, match="no attribute 'nonsense'"):
        _ = sim.nonsense


def test_slo_times_need_a_unit_when_they_could_be_milliseconds() -> None:
    with pytest.raises(ScenarioError, match=r"500 has no unit and would be seconds; write 500ms or 500s"):
        load("quickstart", ["slo.ttft=500"])
    with pytest.raises(ScenarioError, match="greater than 0"):
        load("quickstart", ["slo.ttft=0"])
    slow = load("quickstart", ["slo.e2el=90s", "slo.ttft=0.2"])
    assert (slow.slo.e2el, slow.slo.ttft) == (90.0, 0.2)
    assert slow.written()["slo"] == {"ttft": "0.2s", "tpot": "0.05s", "e2el": "90.0s"}


def test_errors_behind_the_yaml_name_scenario_and_key() -> None:
    from sim.errors import ServecastError
    from sim.resolve import resolve

    for override, words in [
        ("model=lama-3.1-8b", r"quickstart, model: .*'llama-3.1-8b'"),
        ("cluster.gpu=h100", r"quickstart, cluster.gpu: .*h100-sxm"),
        (
            "cluster.tensor_parallel=3",
            r"quickstart, cluster.tensor_parallel: .*3 does not divide its 32 heads",
        ),
        ("engine.max_model_len=999999999", r"quickstart, engine: max_model_len 999999999 is more than"),
        ("model=''", r"quickstart, model: is empty"),
    ]:
        with pytest.raises(ServecastError, match=words):
            resolve(load("quickstart", [override]))


@pytest.mark.parametrize("overrides", ["seed=3", ["seed=3"]])
def test_overrides_from_python(overrides: Any) -> None:
    assert load("quickstart", overrides).seed == 3
    with pytest.raises(ScenarioError, match="override is text"):
        load("quickstart", [3])  # type: ignore[list-item]
    with pytest.raises(ScenarioError, match="a YAML file, a name or a mapping"):
        load(3)  # type: ignore[arg-type]


@pytest.mark.parametrize("name", preset.names())
def test_every_preset_fills_in_an_engine_and_names_a_source_for_each_default(name: str) -> None:
    one = preset.load(name)
    assert {"batching", "host_step_s", "host_request_s"} <= set(one.engine)
    assert all(default.source.strip() for default in one.engine.values())
    scenario = yaml.safe_load(GOOD) | {"engine": {"preset": name, "max_model_len": 4096}, "variants": {}}
    result = sim.run(scenario, overrides=["workload.requests=20"])
    assert result.summary["completed"] == 20
    resolved = result.scenario.engine
    assert resolved.host_step_s == one.engine["host_step_s"].value
    assert resolved.max_num_seqs is not None and resolved.batching is not None


def test_a_folder_of_results_does_not_hide_the_shipped_scenario_of_its_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "quickstart").mkdir()
    assert load("quickstart").name == "quickstart"
