"""A decoder-only transformer with random weights, in the shape that `sim.models` tells.

Speed does not depend on what the weights are, so nothing is downloaded. The layers are those whose operations
`sim.models.operations` lists, one line each.
"""

from collections.abc import Callable
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from calibrate.gpu.ops.sampling import Sample, argmax
from calibrate.reference_engine.kernels import Kernels
from sim.errors import ModelError
from sim.models import Model

Attend = Callable[[int, Tensor], Tensor]
"""(layer, qkv [rows, heads, head_dim]) -> [rows, query heads * head_dim]; stores keys and values as well."""

_THETA = 10_000.0


class Weights:
    """Random tensors, drawn one after another from one seed."""

    def __init__(self, device: torch.device, dtype: torch.dtype, seed: int) -> None:
        self.device, self.dtype = device, dtype
        self.generator = torch.Generator(device).manual_seed(seed)

    def matrix(self, *shape: int) -> Tensor:
        """Normal numbers that keep the size of what is multiplied with them."""
        matrix = torch.empty(shape, device=self.device, dtype=self.dtype)
        return matrix.normal_(std=shape[-1] ** -0.5, generator=self.generator)

    def vector(self, size: int, around: float = 0.0) -> Tensor:
        """A bias, or with `around` = 1 the gains of a norm."""
        vector = torch.empty(size, device=self.device, dtype=self.dtype)
        return vector.normal_(mean=around, std=0.1, generator=self.generator)

    def linear(self, rows: int, columns: int, bias: bool) -> "Linear":
        """A projection from `columns` to `rows` numbers."""
        return Linear(self.matrix(rows, columns), self.vector(rows) if bias else None)

    def norm(self, size: int, bias: bool) -> "Norm":
        """RMSNorm, or LayerNorm with a bias."""
        return Norm(self.vector(size, around=1.0), self.vector(size) if bias else None)


@dataclass(frozen=True)
class Linear:
    """x W^T + b."""

    weight: Tensor
    bias: Tensor | None

    def __call__(self, x: Tensor) -> Tensor:
        return F.linear(x, self.weight, self.bias)


@dataclass(frozen=True)
class Norm:
    """Gains, and offsets of a LayerNorm."""

    weight: Tensor
    bias: Tensor | None


@dataclass(frozen=True)
class Mlp:
    """Up, activation, down; with a gate the up-projection is twice as wide."""

    up: Linear
    down: Linear
    gated: bool

    def __call__(self, x: Tensor, kernels: Kernels) -> Tensor:
        return self.down(kernels.activate(self.up(x), self.gated))


@dataclass(frozen=True)
class Mixture:
    """Every token through the experts that a router picks, and through a shared one where there is one."""

    router: Linear
    up: Tensor  # [experts, hidden, width of all up-projections]
    down: Tensor  # [experts, width, hidden]
    picks: int
    gated: bool
    shared: Mlp | None
    shared_gate: Linear | None

    def __call__(self, x: Tensor, kernels: Kernels) -> Tensor:
        weights, experts = kernels.top_k(self.router(x), self.picks)
        chosen, order = torch.sort(experts.flatten(), stable=True)
        numbers = torch.arange(len(self.up), device=x.device, dtype=chosen.dtype)
        ends = torch.searchsorted(chosen, numbers, right=True, out_int32=True)
        inner = kernels.activate(kernels.grouped(x[order // self.picks], self.up, ends), self.gated)
        outer = kernels.grouped(inner, self.down, ends)
        each = torch.empty_like(outer).index_copy_(0, order, outer)
        mixed = kernels.weighted_sum(each.view(*experts.shape, -1), weights)
        if self.shared is not None and self.shared_gate is not None:
            mixed = mixed + torch.sigmoid(self.shared_gate(x)) * self.shared(x, kernels)
        return mixed


@dataclass(frozen=True)
class Layer:
    """One decoder layer."""

    before_attention: Norm
    qkv: Linear
    query_norm: Norm | None
    key_norm: Norm | None
    out: Linear
    before_mlp: Norm
    mlp: Mlp | Mixture


class Transformer:
    """The whole model on one device.

    Raises ModelError for layers of another shape than norm, attention, norm, MLP.
    """

    def __init__(
        self,
        model: Model,
        kernels: Kernels,
        device: torch.device,
        dtype: torch.dtype,
        seed: int = 0,
        sample: Sample = argmax,
    ) -> None:
        if model.norms_per_layer != 2 or model.parallel_blocks:
            raise ModelError(
                f"{model.name}: the reference engine runs layers of norm, attention, norm and MLP, and those "
                f"of family {model.family} differ; take a Llama, Mistral, Mixtral, Qwen or OPT model"
            )
        self.model, self.kernels, self.sample = model, kernels, sample
        weights = Weights(device, dtype, seed)
        self.embedding = weights.matrix(model.vocab, model.hidden)
        places = model.learned_positions
        self.positions = weights.matrix(places, model.hidden) if places else None
        self.layers = [_layer(model, weights, number) for number in range(model.layers)]
        self.last_norm = weights.norm(model.hidden, model.norm_bias)
        head = self.embedding if model.tied_embeddings else weights.matrix(model.vocab, model.hidden)
        self.head = Linear(head, weights.vector(model.vocab) if model.lm_head_bias else None)
        self.rotation = _rotation(model, device, dtype) if model.rotary else None

    def forward(self, tokens: Tensor, positions: Tensor, attend: Attend) -> Tensor:
        """Hidden states [rows, hidden] of the rows' tokens at their positions (both int64 [rows])."""
        model, kernels = self.model, self.kernels
        x = F.embedding(tokens, self.embedding)
        if self.positions is not None:
            x += F.embedding(positions + (model.learned_positions - model.max_position), self.positions)
        residual = torch.zeros_like(x)
        for number, layer in enumerate(self.layers):
            kernels.add_norm(x, residual, layer.before_attention.weight, layer.before_attention.bias)
            qkv = layer.qkv(x).view(len(x), -1, model.head_dim)
            if layer.query_norm is not None and layer.key_norm is not None:
                gains = layer.query_norm.weight, layer.key_norm.weight
                kernels.head_norm(qkv, *gains, model.heads, model.kv_heads)
            if self.rotation is not None:
                kernels.rotary(qkv, *self.rotation, positions, model.heads + model.kv_heads)
            x = layer.out(attend(number, qkv))
            kernels.add_norm(x, residual, layer.before_mlp.weight, layer.before_mlp.bias)
            x = layer.mlp(x, kernels)
        kernels.add_norm(x, residual, self.last_norm.weight, self.last_norm.bias)
        return x

    def next_tokens(self, hidden: Tensor) -> Tensor:
        """The token that follows each of the rows [rows, hidden]."""
        return self.sample(self.head(hidden))


def _rotation(model: Model, device: torch.device, dtype: torch.dtype) -> tuple[Tensor, Tensor]:
    """Cosines and sines [positions, head_dim / 2] of the rotary embedding, in float32 at least."""
    halves = torch.arange(0, model.head_dim, 2, device=device, dtype=torch.float64) / model.head_dim
    places = torch.arange(model.max_position, device=device, dtype=torch.float64)
    angles = torch.outer(places, _THETA**-halves)
    dtype = torch.promote_types(dtype, torch.float32)
    return angles.cos().to(dtype), angles.sin().to(dtype)


def _layer(model: Model, weights: Weights, number: int) -> Layer:
    queries, others = model.heads * model.head_dim, 2 * model.kv_heads * model.head_dim
    mixture = number >= model.dense_layers
    return Layer(
        weights.norm(model.hidden, model.norm_bias),
        weights.linear(queries + others, model.hidden, model.qkv_bias),
        weights.norm(model.head_dim, False) if model.qk_norm else None,
        weights.norm(model.head_dim, False) if model.qk_norm else None,
        weights.linear(model.hidden, queries, model.o_bias),
        weights.norm(model.hidden, model.norm_bias),
        _mixture(model, weights) if mixture else _mlp(model, weights, model.intermediate),
    )


def _mlp(model: Model, weights: Weights, width: int) -> Mlp:
    ups = 2 if model.gated_mlp else 1
    up = weights.linear(ups * width, model.hidden, model.mlp_bias)
    return Mlp(up, weights.linear(model.hidden, width, model.mlp_bias), model.gated_mlp)


def _mixture(model: Model, weights: Weights) -> Mixture:
    ups = 2 if model.gated_mlp else 1
    width, hidden, shared = model.expert_intermediate, model.hidden, model.shared_expert_intermediate
    return Mixture(
        weights.linear(model.experts, hidden, False),
        weights.matrix(model.experts, ups * width, hidden).transpose(1, 2),
        weights.matrix(model.experts, hidden, width).transpose(1, 2),
        model.experts_per_token,
        model.gated_mlp,
        _mlp(model, weights, shared) if shared else None,
        weights.linear(1, hidden, False) if shared else None,
    )
