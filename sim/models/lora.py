"""LoRA adapters of a model: their size, and the products that a step computes for them.

An adapter of rank r adds to the output of every matrix of attention and MLP, x W, the product x A B of two small
ones: A (k, r), the shrink, and B (r, n), the expand. vLLM's Punica kernels compute both for all rows of a step and
all adapters in it, one kernel each for every matrix (those that are fused, such as query, key and value, share the
kernel and each have their own A). Adapters of embeddings and LM head, which vLLM can hold too, are not counted.

Source: Hu et al., LoRA, ICLR 2022; vLLM, vllm/lora/layers and vllm/lora/ops/triton_ops (the result of the shrink is
kept in fp32); without fully_sharded_loras tensor parallelism cuts B of column-parallel matrices and A of
row-parallel ones, and every GPU holds the other whole.
"""

from collections.abc import Iterator
from typing import Any, NamedTuple

import numpy as np

from sim.errors import ModelError
from sim.models.dtypes import ACTIVATION_BYTES
from sim.models.model import Model
from sim.models.operations import Amount, Operation

_SHRUNK_BYTES = 4


class Adapted(NamedTuple):
    """A matrix (k, n) of every layer on one GPU, `parts` matrices side by side, that adapters add to."""

    name: str
    k: int
    n: int
    parts: int

    @property
    def elements_per_rank(self) -> int:
        """Numbers in A and B together, for each unit of the rank."""
        return self.parts * self.k + self.n


def adapted_matrices(model: Model, tp: int = 1) -> list[Adapted]:
    """The matrices of one layer. Raises ModelError for a mixture, whose experts' adapters are not modelled."""
    if model.moe_layers:
        raise ModelError(f"LoRA adapters of a mixture's experts, as {model.name} has them, are not modelled")
    model.check_tp(tp)
    queries = model.heads_on_gpu(tp) * model.head_dim
    keys = model.kv_heads_on_gpu(tp) * model.head_dim
    width, ups = model.intermediate // tp, 2 if model.gated_mlp else 1
    return [
        Adapted("qkv", model.hidden, queries + 2 * keys, 3),
        Adapted("o", queries, model.hidden, 1),
        Adapted("gate_up" if model.gated_mlp else "up", model.hidden, ups * width, ups),
        Adapted("down", width, model.hidden, 1),
    ]


def adapter_bytes(model: Model, rank: int, tp: int = 1) -> int:
    """Bytes of one adapter of that rank on one of `tp` GPUs, in 16 bits."""
    elements = sum(matrix.elements_per_rank for matrix in adapted_matrices(model, tp))
    return model.layers * rank * elements * ACTIVATION_BYTES


def lora_operations(model: Model, rows: Amount, adapters: int, rank: int, tp: int = 1) -> Iterator[Operation]:
    """The shrinks and expands of one step in which `rows` rows belong to `adapters` adapters.

    `rank` is that of the slots (max_lora_rank): the kernels compute all of it, whatever an adapter's own. Of the
    bytes, every row's inputs are read once, and its outputs read and written, as the expand adds to them.
    """
    act: Any = ACTIVATION_BYTES
    active: Any = np.minimum(adapters, rows)
    for matrix in adapted_matrices(model, tp):
        shrunk = matrix.parts * rank * _SHRUNK_BYTES
        weights = active * (rank * act)
        yield Operation(
            "lora", f"{matrix.name}_shrink", model.layers,
            flops=rows * (2 * rank * matrix.parts * matrix.k),
            read_bytes=rows * (matrix.k * act) + weights * (matrix.parts * matrix.k),
            write_bytes=rows * shrunk,
            m=rows, n=matrix.parts * rank, k=matrix.k,
        )  # fmt: skip
        yield Operation(
            "lora", f"{matrix.name}_expand", model.layers,
            flops=rows * (2 * rank * matrix.n),
            read_bytes=rows * (shrunk + matrix.n * act) + weights * matrix.n,
            write_bytes=rows * (matrix.n * act),
            m=rows, n=matrix.n, k=rank,
        )  # fmt: skip
