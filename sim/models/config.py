"""Read a Hugging Face config.json: one small function per family says what its fields leave unsaid."""

from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

from sim.errors import ModelError
from sim.models.model import Model

_SUPPORTED = "Llama, Mistral, Mixtral, Qwen2, Qwen2-MoE, Qwen3, Qwen3-MoE, Gemma 1-3, Phi 1-4 and OPT"


class _Fields:
    """Typed access to the fields of one config.json; every error names the file and the field."""

    def __init__(self, config: Mapping[str, Any], source: str) -> None:
        self.config, self.source = config, source

    def fail(self, field: str, problem: str) -> ModelError:
        return ModelError(f"{self.source}: field {field!r} {problem}")

    def integer(self, field: str, default: int | None = None, least: int = 1) -> int:
        value = self.config.get(field)
        if value is None:
            if default is None:
                raise self.fail(field, "is missing; a config.json of this architecture must state it")
            return default
        if isinstance(value, bool) or not isinstance(value, int):
            raise self.fail(field, f"must be a whole number, not {value!r}")
        if value < least:
            raise self.fail(field, f"must be at least {least}, not {value}")
        return value

    def flag(self, field: str, default: bool) -> bool:
        value = self.config.get(field)
        if value is None:
            return default
        if not isinstance(value, bool):
            raise self.fail(field, f"must be true or false, not {value!r}")
        return value


def parse(config: Mapping[str, Any], *, name: str, source: str) -> Model:
    """The Model that a config.json describes.

    Raises ModelError naming `source` and the field, for a missing or impossible value and for an
    architecture that this package does not know (so that no wrong count is ever made up).
    """
    text, notes = _text_part(config, source)
    kind = text.get("model_type")
    if not isinstance(kind, str):
        raise ModelError(f"{source}: field 'model_type' is missing; it names the architecture")
    if text.get("kv_lora_rank") is not None:
        raise ModelError(
            f"{source}: field 'kv_lora_rank' asks for multi-head latent attention, which is not modelled; "
            f"supported are {_SUPPORTED}"
        )
    if kind not in _FAMILIES:
        raise ModelError(f"{source}: field 'model_type' is {kind!r}, which is not modelled; supported are {_SUPPORTED}")
    model = _FAMILIES[kind](_Fields(text, source), name)
    if model.heads % model.kv_heads:
        raise ModelError(
            f"{source}: field 'num_key_value_heads' ({model.kv_heads}) does not divide "
            f"'num_attention_heads' ({model.heads})"
        )
    return replace(model, notes=notes)


def _text_part(config: Mapping[str, Any], source: str) -> tuple[Mapping[str, Any], tuple[str, ...]]:
    """The language model inside a multimodal wrapper; the rest of the wrapper is told, not guessed."""
    inner = config.get("text_config")
    if inner is None:
        return config, ()
    if not isinstance(inner, Mapping) or "model_type" not in inner:
        raise ModelError(f"{source}: field 'text_config' is no plain description of a text model")
    note = "only the text model of this multimodal config is simulated; encoders take no time and no memory"
    tied = config.get("tie_word_embeddings")
    if "tie_word_embeddings" not in inner and tied is not None:
        inner = {**inner, "tie_word_embeddings": tied}
    return inner, (note,)


def _decoder(fields: _Fields, name: str, family: str, **facts: Any) -> Model:
    """What all families but OPT spell alike."""
    heads = fields.integer("num_attention_heads")
    hidden = fields.integer("hidden_size")
    head_dim = fields.integer("head_dim", default=hidden // heads)
    facts.setdefault("intermediate", 0)
    facts.setdefault("tied_embeddings", fields.flag("tie_word_embeddings", False))
    return Model(
        name=name,
        family=family,
        layers=fields.integer("num_hidden_layers"),
        hidden=hidden,
        heads=heads,
        kv_heads=fields.integer("num_key_value_heads", default=heads),
        head_dim=head_dim,
        vocab=fields.integer("vocab_size"),
        max_position=fields.integer("max_position_embeddings"),
        **facts,
    )


def _llama(fields: _Fields, name: str) -> Model:
    """Llama 1-3 and CodeLlama."""
    attention_bias = fields.flag("attention_bias", False)
    return _decoder(
        fields,
        name,
        "llama",
        intermediate=fields.integer("intermediate_size"),
        qkv_bias=attention_bias,
        o_bias=attention_bias,
        mlp_bias=fields.flag("mlp_bias", False),
    )


def _mistral(fields: _Fields, name: str) -> Model:
    """Mistral 7B and its successors of the same shape; v0.1 has a sliding window in every layer."""
    window = fields.integer("sliding_window", default=0, least=0)
    model = _decoder(fields, name, "mistral", intermediate=fields.integer("intermediate_size"))
    return replace(model, sliding_window=window, sliding_layers=model.layers if window else 0)


def _mixtral(fields: _Fields, name: str) -> Model:
    window = fields.integer("sliding_window", default=0, least=0)
    model = _decoder(
        fields,
        name,
        "mixtral",
        experts=fields.integer("num_local_experts"),
        experts_per_token=fields.integer("num_experts_per_tok"),
        expert_intermediate=fields.integer("intermediate_size"),
        moe_layers=fields.integer("num_hidden_layers"),
    )
    sliding = model.layers if window else 0
    return _checked_mixture(fields, replace(model, sliding_window=window, sliding_layers=sliding))


def _qwen2(fields: _Fields, name: str) -> Model:
    """Qwen1.5, Qwen2 and Qwen2.5: biased query, key and value projections."""
    model = _decoder(fields, name, "qwen2", intermediate=fields.integer("intermediate_size"), qkv_bias=True)
    return _qwen_window(fields, model)


def _qwen3(fields: _Fields, name: str) -> Model:
    """Qwen3: normed queries and keys, biases only where the config asks."""
    attention_bias = fields.flag("attention_bias", False)
    model = _decoder(
        fields,
        name,
        "qwen3",
        intermediate=fields.integer("intermediate_size"),
        qk_norm=True,
        qkv_bias=attention_bias,
        o_bias=attention_bias,
    )
    return _qwen_window(fields, model)


def _qwen2_moe(fields: _Fields, name: str) -> Model:
    shared = fields.integer("shared_expert_intermediate_size")
    model = _decoder(
        fields, name, "qwen2_moe", qkv_bias=True, shared_expert_intermediate=shared, **_qwen_experts(fields)
    )
    return _checked_mixture(fields, _qwen_window(fields, model))


def _qwen3_moe(fields: _Fields, name: str) -> Model:
    attention_bias = fields.flag("attention_bias", False)
    model = _decoder(
        fields,
        name,
        "qwen3_moe",
        qk_norm=True,
        qkv_bias=attention_bias,
        o_bias=attention_bias,
        **_qwen_experts(fields),
    )
    return _checked_mixture(fields, _qwen_window(fields, model))


def _qwen_experts(fields: _Fields) -> dict[str, int]:
    """Every `decoder_sparse_step`-th layer is a mixture, save those listed in `mlp_only_layers`."""
    layers = fields.integer("num_hidden_layers")
    step = fields.integer("decoder_sparse_step", default=1)
    dense = fields.config.get("mlp_only_layers") or []
    if not isinstance(dense, list) or not all(isinstance(i, int) for i in dense):
        raise fields.fail("mlp_only_layers", f"must be a list of layer numbers, not {dense!r}")
    mixtures = sum(1 for layer in range(layers) if layer not in dense and (layer + 1) % step == 0)
    return {
        "moe_layers": mixtures,
        "intermediate": fields.integer("intermediate_size") if mixtures < layers else 0,
        "experts": fields.integer("num_experts"),
        "experts_per_token": fields.integer("num_experts_per_tok"),
        "expert_intermediate": fields.integer("moe_intermediate_size"),
    }


def _qwen_window(fields: _Fields, model: Model) -> Model:
    """Layers from `max_window_layers` on slide, and only if `use_sliding_window` says so."""
    if not fields.flag("use_sliding_window", False):
        return model
    window = fields.integer("sliding_window", default=0, least=0)
    full = min(fields.integer("max_window_layers", default=model.layers, least=0), model.layers)
    return replace(model, sliding_window=window, sliding_layers=model.layers - full if window else 0)


def _checked_mixture(fields: _Fields, model: Model) -> Model:
    if model.experts_per_token > model.experts:
        raise fields.fail("num_experts_per_tok", f"is {model.experts_per_token}, more than the {model.experts} experts")
    return model


def _gemma(fields: _Fields, name: str) -> Model:
    """Gemma 1: explicit head_dim, tied embeddings, gated GeLU."""
    fields.integer("head_dim")
    return _decoder(
        fields,
        name,
        "gemma",
        intermediate=fields.integer("intermediate_size"),
        tied_embeddings=fields.flag("tie_word_embeddings", True),
    )


def _gemma2(fields: _Fields, name: str) -> Model:
    """Gemma 2: norms before and after both blocks; every other layer slides."""
    model = replace(_gemma(fields, name), family="gemma2", norms_per_layer=4)
    window = fields.integer("sliding_window", default=0, least=0)
    return replace(model, sliding_window=window, sliding_layers=(model.layers + 1) // 2 if window else 0)


def _gemma3(fields: _Fields, name: str) -> Model:
    """Gemma 3 text: normed queries and keys; all but every sixth layer slide."""
    model = replace(_gemma(fields, name), family="gemma3", norms_per_layer=4, qk_norm=True)
    window = fields.integer("sliding_window", default=0, least=0)
    pattern = fields.integer("sliding_window_pattern", default=6)
    sliding = model.layers - model.layers // pattern
    return replace(model, sliding_window=window, sliding_layers=sliding if window else 0)


def _phi3(fields: _Fields, name: str) -> Model:
    """Phi-3 and Phi-4: Llama's shape with the projections stored fused."""
    window = fields.integer("sliding_window", default=0, least=0)
    model = _decoder(fields, name, "phi3", intermediate=fields.integer("intermediate_size"))
    if window >= model.max_position:  # such a window never cuts anything off
        window = 0
    return replace(model, sliding_window=window, sliding_layers=model.layers if window else 0)


def _phi(fields: _Fields, name: str) -> Model:
    """Phi-1, 1.5 and 2: one LayerNorm, parallel attention and MLP, biases everywhere."""
    if fields.flag("qk_layernorm", False):
        raise fields.fail("qk_layernorm", "is true, which is not modelled for Phi")
    return _decoder(
        fields,
        name,
        "phi",
        intermediate=fields.integer("intermediate_size"),
        gated_mlp=False,
        qkv_bias=True,
        o_bias=True,
        mlp_bias=True,
        lm_head_bias=True,
        norms_per_layer=1,
        norm_bias=True,
        parallel_blocks=True,
    )


def _opt(fields: _Fields, name: str) -> Model:
    """OPT: learned positions (two rows more than the context), LayerNorm, biases, plain MLP."""
    hidden = fields.integer("hidden_size")
    if fields.integer("word_embed_proj_dim", default=hidden) != hidden:
        raise fields.fail("word_embed_proj_dim", "differs from 'hidden_size', which is not modelled")
    if not fields.flag("do_layer_norm_before", True):
        raise fields.fail("do_layer_norm_before", "is false, which is not modelled")
    bias = fields.flag("enable_bias", True)
    positions = fields.integer("max_position_embeddings")
    return _decoder(
        fields,
        name,
        "opt",
        intermediate=fields.integer("ffn_dim"),
        tied_embeddings=fields.flag("tie_word_embeddings", True),
        gated_mlp=False,
        qkv_bias=bias,
        o_bias=bias,
        mlp_bias=bias,
        norm_bias=True,
        rotary=False,
        learned_positions=positions + 2,
    )


_FAMILIES: dict[str, Callable[[_Fields, str], Model]] = {
    "llama": _llama,
    "mistral": _mistral,
    "mixtral": _mixtral,
    "qwen2": _qwen2,
    "qwen3": _qwen3,
    "qwen2_moe": _qwen2_moe,
    "qwen3_moe": _qwen3_moe,
    "gemma": _gemma,
    "gemma2": _gemma2,
    "gemma3_text": _gemma3,
    "phi": _phi,
    "phi3": _phi3,
    "opt": _opt,
}
