"""What is said of a scenario that cannot be: everything at once, in plain words, with the mend."""

from pathlib import Path
from typing import Any

import pytest

import sim
from sim.choice import nearest
from sim.errors import ScenarioError, ServecastError
from sim.scenario import load
from tests.commands import servecast

CHAT: dict[str, Any] = {
    "model": "llama-3.1-8b",
    "workload": {"arrivals": {"poisson": {"rate_per_s": 5}}, "prompt_tokens": 100, "output_tokens": 5, "requests": 20},
    "cluster": {"gpu": "h100-sxm"},
}
GPUS = ("a100-40g", "a100-80g", "a10g", "h100-sxm", "h200-sxm", "l4", "l40s", "rtx-4090")
BAD = """\
modle: llama-3.1-8b
workload:
  arrivals: deterministic
  prompt_tokens: 1000
  output_tokens: {fixed: {tokens: many}}
  requests: 10.5
cluster: {gpu: a100, replicas: four, router: rr}
engine: {max-num-seqs: 4, enable_prefix_caching: perhaps}
"""


def complaint(given: Any) -> str:
    with pytest.raises(ServecastError) as caught:
        load(given)
    return str(caught.value)


@pytest.mark.parametrize(
    ("word", "known", "words"),
    [
        ("a100", GPUS, "did you mean 'a100-40g' or 'a100-80g'?"),
        ("A100", GPUS, "did you mean 'a100-40g' or 'a100-80g'?"),
        ("H100-SXM", GPUS, "did you mean 'h100-sxm'?"),
        ("4090", GPUS, "did you mean 'rtx-4090'?"),
        ("a100-80gb", GPUS, "did you mean 'a100-80g'?"),
        ("tpu-v5", GPUS, f"known: {', '.join(GPUS)}"),
        ("max-num-seqs", ("max_num_batched_tokens", "max_num_seqs"), "did you mean 'max_num_seqs'?"),
        ("Deterministic", ("constant", "poisson"), "did you mean 'constant'?"),
        ("deterministic", ("fixed", "lognormal"), "did you mean 'fixed'?"),
        ("x", ("max", "mix"), "known: max, mix"),
    ],
)
def test_the_nearest_name_begins_as_the_word_does(word: str, known: tuple[str, ...], words: str) -> None:
    assert nearest(word, known) == f"; {words}"


def test_all_that_is_wrong_is_said_at_once_one_line_each(tmp_path: Path) -> None:
    file = tmp_path / "bad.yaml"
    file.write_text(BAD)
    assert complaint(file).splitlines() == [
        f"{file}, line {line}"
        for line in (
            "8: engine.max-num-seqs is not a known key; did you mean 'max_num_seqs'?",
            "1: modle is not a known key; did you mean 'model'?",  # and nothing of a model that is missing
            "3: workload.arrivals: there is no 'deterministic' here; did you mean 'constant'?",
            "5: workload.output_tokens.fixed.tokens must be a whole number, not 'many'",
            "6: workload.requests must be a whole number, not 10.5",
            "7: cluster.replicas must be a whole number, not 'four'",
            "7: cluster.router: there is no 'rr' here; did you mean 'round_robin'?",
            "8: engine.enable_prefix_caching must be true or false, not 'perhaps'",
        )
    ]


def test_in_python_too_and_not_without_end() -> None:
    assert complaint({"model": "llama-3.1-8b"}).splitlines() == [
        "scenario: workload is missing",
        "scenario: cluster is missing",
    ]
    lines = complaint({**CHAT, "engine": {f"key_{letter}": 1 for letter in "abcdefghijklm"}}).splitlines()
    assert (len(lines), lines[-1]) == (11, "and 3 more like these")


def test_what_is_empty_is_said_to_be() -> None:
    assert complaint({**CHAT, "cluster": {"gpu": None}}) == "scenario: cluster.gpu is empty; it must be text"
    with pytest.raises(ScenarioError, match="has no variant 'x'; it has none"):
        load(CHAT).variant("x")


def test_several_lines_stand_below_each_other(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    (tmp_path / "my.yaml").write_text("model: llama-3.1-8b\n")
    monkeypatch.chdir(tmp_path)
    assert servecast(monkeypatch, "run", "my.yaml") == 2
    assert capsys.readouterr().err == "servecast: my.yaml: workload is missing\n  my.yaml: cluster is missing\n"


def test_every_variant_s_mistakes_are_said() -> None:
    text = complaint({**CHAT, "variants": {"a": {"engine": {"max_num_seqs": 0}}, "b": {}, "c": {"engin": {}}}})
    first, second = text.splitlines()
    assert "in variant 'a', engine.max_num_seqs" in first
    assert "in variant 'c', engin is not a known key; did you mean 'engine'?" in second


def test_numbers_may_be_names(tmp_path: Path) -> None:
    file = tmp_path / "my.yaml"
    file.write_text(
        "model: llama-3.1-8b\n"
        "workload: {arrivals: {poisson: {rate_per_s: 5}}, prompt_tokens: 9, output_tokens: 3, requests: 2, "
        "tenants: {1: 1}}\n"
        "cluster: {gpu: h100-sxm, pools: {1: {replicas: 2}}}\n"
        "variants: {512: {engine: {max_num_seqs: 512}}, 0.90: {engine: {gpu_memory_utilization: 0.9}}}\n"
    )
    loaded = load(file, ["cluster.pools.1.replicas=3"])
    assert list(loaded.variants) == ["512", "0.90"]
    assert loaded.cluster.pools["1"].replicas == 3
    assert loaded.variant("512").engine.max_num_seqs == 512
    assert list(load({**CHAT, "variants": {512: {}}}).variants) == ["512"]
    assert load(loaded.written()) == loaded.model_copy(update={"base_dir": load(loaded.written()).base_dir})
    assert "variants: a name must be text; quote it: 'true'" in complaint({**CHAT, "variants": {True: {}}})


def test_a_bare_number_is_a_fixed_length() -> None:
    said = {**CHAT, "workload": {**CHAT["workload"], "prompt_tokens": {"fixed": {"tokens": 100}}}}
    assert load(CHAT).workload == load(said).workload
    changed = load(CHAT, ["workload.prompt_tokens.fixed.tokens=7", "workload.output_tokens=9"]).workload
    assert (changed.prompt_tokens.tokens, changed.output_tokens.tokens) == (7, 9)
    assert "write one name" in complaint({**CHAT, "workload": {**CHAT["workload"], "arrivals": 5}})
    assert "prompt_tokens.fixed.tokens" in complaint({**CHAT, "workload": {**CHAT["workload"], "prompt_tokens": 0}})
    assert "write one name" in complaint({**CHAT, "workload": {**CHAT["workload"], "prompt_tokens": True}})


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("memory", "--model", "llama-3.1-8b", "--gpu", "a100"), "there is no GPU profile 'a100', and"),
        (("memory", "--model", "llama-9"), "there is no built-in model 'llama-9'"),
        (("run", "quickstart", "--set", "engine.preset=vllm"), "quickstart, engine: there is no preset 'vllm'; did"),
        (("trace", "convert", "TRACE", "x.csv", "--set", "renam=3"), "csv.renam: csv has no parameter 'renam'; known"),
        (("trace", "convert", "TRACE", "x.csv", "--set", "limit=x"), "csv.limit must be a whole number, not 'x'"),
    ],
)
def test_nobody_s_key_is_named_and_nothing_is_said_twice(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], arguments: tuple[str, ...], words: str
) -> None:
    trace = str(sim.scenario.shipped()["quickstart"].parent / "traces" / "chat-sample.csv")
    assert servecast(monkeypatch, *(trace if word == "TRACE" else word for word in arguments)) == 2
    complained = capsys.readouterr().err
    assert complained.startswith(f"servecast: {words}")
    assert "got" not in complained


def test_a_preset_that_is_not_there() -> None:
    with pytest.raises(ScenarioError, match=r"^there is no preset"):
        sim.preset.load("nonesuch")


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("model: a\n  b: c\n", "line 2: not valid YAML: a colon too many; check the indentation"),
        ("a:\n\tb: 1\n", "line 2: not valid YAML: a tab; indent with spaces"),
        ("a: {b: 1\nc: 2\n", "line 2: not valid YAML: expected ',' or '}', but got ':'; a bracket is not closed"),
        ("a: 1\nb\nc: 2\n", "line 3: not valid YAML: a key without a colon"),
        ("a:\n  b: 1\n c: 2\n", "line 3: not valid YAML: this line, or the one above, is indented differently"),
    ],
)
def test_yaml_s_grammar_is_told_in_plain_words(tmp_path: Path, text: str, words: str) -> None:
    file = tmp_path / "my.yaml"
    file.write_text(text)
    assert f"my.yaml, {words}" in complaint(file)
