"""Published config.json files that are no built-ins, each with the parameter count of its model card.

The counts are those of the safetensors index (or model card) on the Hugging Face hub.
"""

from typing import Any

LLAMA_32_1B: dict[str, Any] = {
    "model_type": "llama", "hidden_size": 2048, "intermediate_size": 8192, "num_hidden_layers": 16,
    "num_attention_heads": 32, "num_key_value_heads": 8, "head_dim": 64, "vocab_size": 128256,
    "max_position_embeddings": 131072, "tie_word_embeddings": True,
}  # fmt: skip
QWEN25_05B: dict[str, Any] = {
    "model_type": "qwen2", "hidden_size": 896, "intermediate_size": 4864, "num_hidden_layers": 24,
    "num_attention_heads": 14, "num_key_value_heads": 2, "vocab_size": 151936,
    "max_position_embeddings": 32768, "tie_word_embeddings": True, "use_sliding_window": False,
    "sliding_window": 32768, "max_window_layers": 21,
}  # fmt: skip
MISTRAL_V01: dict[str, Any] = {
    "model_type": "mistral", "hidden_size": 4096, "intermediate_size": 14336, "num_hidden_layers": 32,
    "num_attention_heads": 32, "num_key_value_heads": 8, "vocab_size": 32000,
    "max_position_embeddings": 32768, "sliding_window": 4096, "tie_word_embeddings": False,
}  # fmt: skip
GEMMA_7B: dict[str, Any] = {
    "model_type": "gemma", "hidden_size": 3072, "intermediate_size": 24576, "num_hidden_layers": 28,
    "num_attention_heads": 16, "num_key_value_heads": 16, "head_dim": 256, "vocab_size": 256000,
    "max_position_embeddings": 8192,
}  # fmt: skip
GEMMA_2_9B: dict[str, Any] = {
    "model_type": "gemma2", "hidden_size": 3584, "intermediate_size": 14336, "num_hidden_layers": 42,
    "num_attention_heads": 16, "num_key_value_heads": 8, "head_dim": 256, "vocab_size": 256000,
    "max_position_embeddings": 8192, "sliding_window": 4096,
}  # fmt: skip
GEMMA_3_1B: dict[str, Any] = {
    "model_type": "gemma3_text", "hidden_size": 1152, "intermediate_size": 6912, "num_hidden_layers": 26,
    "num_attention_heads": 4, "num_key_value_heads": 1, "head_dim": 256, "vocab_size": 262144,
    "max_position_embeddings": 32768, "sliding_window": 512, "sliding_window_pattern": 6,
}  # fmt: skip
PHI_2: dict[str, Any] = {
    "model_type": "phi", "hidden_size": 2560, "intermediate_size": 10240, "num_hidden_layers": 32,
    "num_attention_heads": 32, "num_key_value_heads": 32, "vocab_size": 51200,
    "max_position_embeddings": 2048, "qk_layernorm": False, "tie_word_embeddings": False,
}  # fmt: skip
PHI_3_MINI: dict[str, Any] = {
    "model_type": "phi3", "hidden_size": 3072, "intermediate_size": 8192, "num_hidden_layers": 32,
    "num_attention_heads": 32, "num_key_value_heads": 32, "vocab_size": 32064,
    "max_position_embeddings": 4096, "sliding_window": 2047, "tie_word_embeddings": False,
}  # fmt: skip
PHI_4: dict[str, Any] = {
    "model_type": "phi3", "hidden_size": 5120, "intermediate_size": 17920, "num_hidden_layers": 40,
    "num_attention_heads": 40, "num_key_value_heads": 10, "vocab_size": 100352,
    "max_position_embeddings": 16384, "sliding_window": None, "tie_word_embeddings": False,
}  # fmt: skip
OPT_125M: dict[str, Any] = {
    "model_type": "opt", "hidden_size": 768, "ffn_dim": 3072, "num_hidden_layers": 12,
    "num_attention_heads": 12, "vocab_size": 50272, "max_position_embeddings": 2048,
    "word_embed_proj_dim": 768, "do_layer_norm_before": True,
}  # fmt: skip
QWEN15_MOE: dict[str, Any] = {
    "model_type": "qwen2_moe", "hidden_size": 2048, "intermediate_size": 5632, "num_hidden_layers": 24,
    "num_attention_heads": 16, "num_key_value_heads": 16, "vocab_size": 151936,
    "max_position_embeddings": 8192, "decoder_sparse_step": 1, "num_experts": 60, "num_experts_per_tok": 4,
    "moe_intermediate_size": 1408, "shared_expert_intermediate_size": 5632, "use_sliding_window": False,
    "tie_word_embeddings": False,
}  # fmt: skip

PUBLISHED: dict[str, tuple[dict[str, Any], int]] = {
    "llama-3.2-1b": (LLAMA_32_1B, 1_235_814_400),
    "qwen2.5-0.5b": (QWEN25_05B, 494_032_768),
    "mistral-7b-v0.1": (MISTRAL_V01, 7_241_732_096),
    "gemma-7b": (GEMMA_7B, 8_537_680_896),
    "gemma-2-9b": (GEMMA_2_9B, 9_241_705_984),
    "gemma-3-1b": (GEMMA_3_1B, 999_885_952),
    "phi-2": (PHI_2, 2_779_683_840),
    "phi-3-mini": (PHI_3_MINI, 3_821_079_552),
    "phi-4": (PHI_4, 14_659_507_200),
    "opt-125m": (OPT_125M, 125_239_296),
    "qwen1.5-moe-a2.7b": (QWEN15_MOE, 14_315_784_192),
}
