"""Models small enough to be run token by token, one of each kind of layer."""

from typing import Any

from sim.models import Model
from sim.models.config import parse

_SIZES: dict[str, Any] = {
    "hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 4, "num_key_value_heads": 2,
    "head_dim": 16, "vocab_size": 96, "max_position_embeddings": 256, "intermediate_size": 48,
}  # fmt: skip
_EXPERTS = {"num_experts": 5, "num_experts_per_tok": 2, "moe_intermediate_size": 24}
_CONFIGS: dict[str, dict[str, Any]] = {
    "llama": {"model_type": "llama"},
    "multi-head": {"model_type": "llama", "num_key_value_heads": 4},
    "tied": {"model_type": "llama", "tie_word_embeddings": True},
    "qwen2": {"model_type": "qwen2"},
    "qwen3": {"model_type": "qwen3", "attention_bias": True},
    "opt": {"model_type": "opt", "hidden_size": 64, "num_key_value_heads": None, "ffn_dim": 80},
    "mixtral": {"model_type": "mixtral", "num_local_experts": 4, "num_experts_per_tok": 2},
    "qwen2_moe": {"model_type": "qwen2_moe", "shared_expert_intermediate_size": 40, **_EXPERTS},
    "qwen3_moe": {"model_type": "qwen3_moe", "mlp_only_layers": [0], **_EXPERTS},
    "gemma2": {"model_type": "gemma2"},
}
RUNNABLE = [name for name in _CONFIGS if name != "gemma2"]


def small(kind: str) -> Model:
    """The small model of a kind."""
    return parse({**_SIZES, **_CONFIGS[kind]}, name=kind, source=kind)
