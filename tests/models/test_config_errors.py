"""What no config.json may be: one error each, naming the file and the field."""

import json
from pathlib import Path
from typing import Any

import pytest

from sim import models
from sim.errors import ModelError
from tests.models.configs import MISTRAL_V01, OPT_125M, PHI_2, QWEN15_MOE


def changed(base: dict[str, Any], **fields: Any) -> dict[str, Any]:
    return {name: value for name, value in {**base, **fields}.items() if value != "gone"}


@pytest.mark.parametrize(
    ("config", "complaint"),
    [
        (changed(MISTRAL_V01, hidden_size="gone"), "field 'hidden_size' is missing"),
        (changed(MISTRAL_V01, num_hidden_layers=-3), "field 'num_hidden_layers' must be at least 1, not -3"),
        (changed(MISTRAL_V01, vocab_size=0), "field 'vocab_size' must be at least 1, not 0"),
        (changed(MISTRAL_V01, vocab_size="many"), "field 'vocab_size' must be a whole number, not 'many'"),
        (changed(MISTRAL_V01, hidden_size=4096.5), "field 'hidden_size' must be a whole number, not 4096.5"),
        (changed(MISTRAL_V01, tie_word_embeddings="no"), "field 'tie_word_embeddings' must be true or false"),
        (changed(MISTRAL_V01, num_key_value_heads=7), r"'num_key_value_heads' \(7\) does not divide"),
        (changed(MISTRAL_V01, model_type="gone"), "field 'model_type' is missing"),
        (changed(MISTRAL_V01, model_type="mamba"), "field 'model_type' is 'mamba', which is not modelled"),
        (
            changed(MISTRAL_V01, model_type="deepseek_v3", kv_lora_rank=512),
            "field 'kv_lora_rank' asks for multi-head latent attention",
        ),
        (
            {"model_type": "x", "text_config": {"hidden_size": 1}},
            "field 'text_config' is no plain description",
        ),
        (changed(PHI_2, qk_layernorm=True), "field 'qk_layernorm' is true, which is not modelled"),
        (changed(OPT_125M, word_embed_proj_dim=512), "field 'word_embed_proj_dim' differs"),
        (changed(OPT_125M, do_layer_norm_before=False), "field 'do_layer_norm_before' is false"),
        (changed(QWEN15_MOE, num_experts_per_tok=99), "is 99, more than the 60 experts"),
        (changed(QWEN15_MOE, mlp_only_layers="all"), "field 'mlp_only_layers' must be a list"),
    ],
)
def test_bad_config(config: dict[str, Any], complaint: str, tmp_path: Path) -> None:
    file = tmp_path / "config.json"
    file.write_text(json.dumps(config))
    with pytest.raises(ModelError, match=complaint) as error:
        models.load(tmp_path)
    assert str(error.value).startswith(str(file))


@pytest.mark.parametrize("content", ["{", "[1, 2]", "\x00\xff"])
def test_not_a_json_object(content: str, tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text(content, encoding="latin-1")
    with pytest.raises(ModelError, match=r"config\.json"):
        models.load(tmp_path)


def test_unknown_name_suggests_the_nearest() -> None:
    with pytest.raises(ModelError, match=r"no built-in model 'llama-3\.1-80b'.*did you mean 'llama-3\.1-8"):
        models.load("llama-3.1-80b")


def test_unknown_dtypes() -> None:
    model = models.load("llama-2-7b")
    with pytest.raises(ModelError, match="unknown weight dtype 'fp4'"):
        model.weight_bytes("fp4")
    with pytest.raises(ModelError, match="unknown KV cache dtype 'int4'"):
        model.kv_bytes_per_token("int4")


@pytest.mark.parametrize(
    ("tp", "complaint"), [(0, "at least 1"), (3, "does not divide its 32 heads"), (64, "does not divide")]
)
def test_impossible_tensor_parallel(tp: int, complaint: str) -> None:
    with pytest.raises(ModelError, match=complaint):
        models.load("llama-3.1-8b").weight_bytes("bf16", tp)
