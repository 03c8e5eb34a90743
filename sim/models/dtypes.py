"""Number formats: bytes per element of weights and of the KV cache, and where each applies."""

from sim.errors import ModelError

ACTIVATION_BYTES = 2
"""Activations, norms, biases, embedding and LM head are bf16 whatever the weight format, as in vLLM."""

INT4_GROUP = 128
"""Weights that share one scale under int4 (the default of AWQ and GPTQ)."""

_WEIGHT_BYTES = {
    "bf16": 2.0,
    "fp16": 2.0,
    # One scale per tensor or output channel: less than 0.1% of the weights, not counted.
    "fp8": 1.0,
    "int8": 1.0,
    # Half a byte, and per group of 128 one 16-bit scale and one 4-bit zero point: 0.51953125 bytes.
    "int4": 0.5 + (2.0 + 0.5) / INT4_GROUP,
}
_KV_BYTES = {"bf16": 2, "fp16": 2, "fp8": 1}

WEIGHT_DTYPES = tuple(_WEIGHT_BYTES)
KV_DTYPES = tuple(_KV_BYTES)


def weight_bytes_per_element(dtype: str) -> float:
    """Bytes of one weight of a quantisable matrix (projections and experts), scales included.

    Raises ModelError for an unknown format.
    """
    if dtype not in _WEIGHT_BYTES:
        raise ModelError(f"unknown weight dtype {dtype!r}; use one of {', '.join(_WEIGHT_BYTES)}")
    return _WEIGHT_BYTES[dtype]


def kv_bytes_per_element(dtype: str) -> int:
    """Bytes of one number in the KV cache.

    Raises ModelError for an unknown format.
    """
    if dtype not in _KV_BYTES:
        raise ModelError(f"unknown KV cache dtype {dtype!r}; use one of {', '.join(_KV_BYTES)}")
    return _KV_BYTES[dtype]


def compute_dtype(weight_dtype: str) -> str:
    """The format in which a matrix product with such weights is done: the peak FLOP/s that applies.

    fp8 and int8 weights come with activations of the same format (W8A8); int4 is weight-only (W4A16).
    """
    weight_bytes_per_element(weight_dtype)
    return {"fp8": "fp8", "int8": "int8"}.get(weight_dtype, "bf16")
