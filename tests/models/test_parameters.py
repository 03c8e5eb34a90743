"""Parameter counts against the published ones; weights and KV bytes by hand."""

import json
from pathlib import Path
from typing import Any

import pytest

from sim import models
from sim.errors import ModelError
from tests.models.configs import GEMMA_2_9B, MISTRAL_V01, PUBLISHED, QWEN25_05B

BUILTIN = {  # safetensors totals on the Hugging Face hub
    "llama-3.1-8b": 8_030_261_248,
    "llama-3.1-70b": 70_553_706_496,
    "llama-2-7b": 6_738_415_616,
    "llama-2-13b": 13_015_864_320,
    "llama-2-70b": 68_976_648_192,
    "qwen2.5-7b": 7_615_616_512,
    "qwen2.5-72b": 72_706_203_648,
    "qwen3-8b": 8_190_735_360,
    "qwen3-32b": 32_762_123_264,
    "qwen3-30b-a3b": 30_532_122_624,
    "mistral-7b": 7_248_023_552,
    "mixtral-8x7b": 46_702_792_704,
    "codellama-34b": 33_743_970_304,
    "opt-13b": 12_853_473_280,
    "yi-34b-200k": 34_388_917_248,
}


def write(folder: Path, config: dict[str, Any]) -> Path:
    (folder / "config.json").write_text(json.dumps(config))
    return folder


def test_every_builtin_has_a_published_count() -> None:
    assert set(models.builtin_names()) == set(BUILTIN)


@pytest.mark.parametrize(("name", "published"), BUILTIN.items())
def test_builtin_parameters(name: str, published: int) -> None:
    assert models.load(name).num_parameters == pytest.approx(published, rel=0.005)
    assert models.load(name).num_parameters == published  # in fact they agree to the last one


@pytest.mark.parametrize("name", PUBLISHED)
def test_users_config_parameters(name: str, tmp_path: Path) -> None:
    config, published = PUBLISHED[name]
    model = models.load(write(tmp_path, config))
    assert model.num_parameters == pytest.approx(published, rel=0.005)


def test_active_parameters_of_mixtures() -> None:
    """12.9 billion (Mixtral paper) and 3.3 billion (Qwen3 card) parameters per token."""
    assert models.load("mixtral-8x7b").num_active_parameters == pytest.approx(12.9e9, rel=0.005)
    assert models.load("qwen3-30b-a3b").num_active_parameters == pytest.approx(3.3e9, rel=0.02)
    assert models.load("llama-2-7b").num_active_parameters == 6_738_415_616


def test_kv_bytes_per_token() -> None:
    """Llama-2-7B: 32 layers x 2 x 4096 x 2 bytes = 512 KiB; Llama-3.1-8B: 32 x 2 x 1024 x 2 = 128 KiB."""
    assert models.load("llama-2-7b").kv_bytes_per_token() == 512 * 1024
    assert models.load("llama-3.1-8b").kv_bytes_per_token() == 128 * 1024
    assert models.load("llama-3.1-8b").kv_bytes_per_token("fp8") == 64 * 1024
    assert models.load("llama-3.1-8b").kv_bytes_per_token(tp=8) == 16 * 1024


def test_kv_heads_are_copied_when_gpus_outnumber_them() -> None:
    model = models.load("qwen2.5-7b")  # 28 heads, 4 KV heads
    assert model.kv_bytes_per_token(tp=4) == 28 * 2 * 1 * 128 * 2
    with pytest.raises(ModelError, match="tensor_parallel 8 does not divide its 28 heads"):
        model.kv_bytes_per_token(tp=8)
    moe = models.load("qwen3-30b-a3b")  # 32 heads, 4 KV heads
    assert moe.kv_bytes_per_token(tp=8) == moe.kv_bytes_per_token(tp=4)


def test_weight_bytes_by_hand() -> None:
    """Llama-3.1-8B: 6,979,321,856 weights in projections; two tables of 525,336,576 and norms stay bf16."""
    model = models.load("llama-3.1-8b")
    projections, tables, norms = 6_979_321_856, 2 * 525_336_576, 65 * 4096
    assert projections + tables + norms == model.num_parameters
    assert model.weight_bytes("bf16") == 2 * model.num_parameters
    assert model.weight_bytes("fp8") == projections + 2 * (tables + norms)
    assert model.weight_bytes("int8") == model.weight_bytes("fp8")
    assert model.weight_bytes("int4") == projections * 0.51953125 + 2 * (tables + norms)
    assert model.weight_bytes("bf16", tp=2) == (projections + tables) + 2 * norms


def test_tied_embeddings_are_stored_once(tmp_path: Path) -> None:
    tied = models.load(write(tmp_path, QWEN25_05B))
    loose = models.load(write(tmp_path, {**QWEN25_05B, "tie_word_embeddings": False}))
    assert loose.num_parameters - tied.num_parameters == 151936 * 896


def test_sliding_window_is_told(tmp_path: Path) -> None:
    gemma = models.load(write(tmp_path, GEMMA_2_9B))
    assert (gemma.sliding_window, gemma.sliding_layers) == (4096, 21)
    assert (gemma.full_layers, gemma.notes) == (21, ())
    assert models.load(write(tmp_path, MISTRAL_V01)).sliding_layers == 32
    assert models.load(write(tmp_path, QWEN25_05B)).notes == ()  # use_sliding_window is false
    assert models.load("mistral-7b").notes == ()


def test_text_part_of_a_multimodal_config(tmp_path: Path) -> None:
    inner = {**PUBLISHED["llama-3.2-1b"][0]}
    model = models.load(write(tmp_path, {"model_type": "some_vision_model", "text_config": inner}))
    assert model.num_parameters == PUBLISHED["llama-3.2-1b"][1]
    assert "only the text model" in model.notes[0]


def test_a_file_and_its_folder_are_the_same_model(tmp_path: Path) -> None:
    folder = write(tmp_path, MISTRAL_V01)
    assert models.load(folder) == models.load(folder / "config.json") == models.load(str(folder))
    assert models.load(folder).name == tmp_path.name


@pytest.mark.parametrize(
    ("repository", "name"),
    [
        ("meta-llama/Llama-2-7b-hf", "llama-2-7b"),
        ("codellama/CodeLlama-34b-Instruct-hf", "codellama-34b"),
        ("mistralai/Mixtral-8x7B-v0.1", "mixtral-8x7b"),
        ("meta-llama/Meta-Llama-3.1-8B-Instruct", "llama-3.1-8b"),
    ],
)
def test_a_builtin_goes_by_its_hugging_face_id(repository: str, name: str) -> None:
    assert models.load(repository) == models.load(name)
    with pytest.raises(ModelError, match="there is no built-in model"):
        models.load("mistralai/Mistral-7B-v0.1")  # 32,000 words and a sliding window; the built-in is v0.3
