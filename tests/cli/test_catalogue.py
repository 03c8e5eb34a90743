"""Verbs that list what ships: all take the same words."""

import json

import pytest

from tests.commands import servecast

NAMES = {
    "scenarios": "quickstart",
    "profiles": "a100-80g",
    "gpus": "l4",
    "engines": "sglang",
    "models": "llama-3.1-8b",
}


@pytest.mark.parametrize(("verb", "name"), NAMES.items())
def test_the_same_words_list_and_show(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], verb: str, name: str
) -> None:
    def told(*arguments: str) -> str:
        assert servecast(monkeypatch, verb, *arguments) == 0
        printed, complained = capsys.readouterr()
        assert complained == ""
        return str(printed)

    assert told() == told("list")
    assert told(name) == told("show", name)
    assert name in told() and told(name) != told()
    for words in (("--format", "json"), ("list", "--format", "json")):
        assert name in {one["name"] for one in json.loads(told(*words))}
    for words in ((name, "--format", "json"), ("--format", "json", "show", name), ("--format", "json", name)):
        assert json.loads(told(*words))["name"] == name


@pytest.mark.parametrize(("verb", "name"), NAMES.items())
def test_an_unknown_name_gets_the_nearest(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], verb: str, name: str
) -> None:
    assert servecast(monkeypatch, verb, name[:-1]) == 2
    complained = capsys.readouterr().err
    assert name in complained and complained.count("\n") == 1


def test_facts_of_a_model_that_was_not_built_in(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Llama 3.1 8B has 8,030,261,248 parameters, and 128 KiB of keys and values for a token."""
    assert servecast(monkeypatch, "models", "meta-llama/Llama-3.1-8B-Instruct", "--format", "json") == 0
    facts = json.loads(capsys.readouterr().out)
    assert (facts["parameters"], facts["bf16_kv_bytes_per_token"]) == (8_030_261_248, 128 * 1024)
