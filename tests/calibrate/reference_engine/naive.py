"""The plain meaning of the model: whole sequences, one at a time, no cache, none of the engine's kernels."""

import math

import torch
from torch import Tensor

from calibrate.reference_engine.model import Mixture, Mlp, Norm, Transformer


def greedy(transformer: Transformer, prompt: list[int], count: int) -> list[int]:
    """The answer of `count` tokens, each from a forward pass over everything before it."""
    tokens = list(prompt)
    for _ in range(count):
        tokens.append(int(logits(transformer, tokens)[-1].argmax()))
    return tokens[len(prompt) :]


def logits(transformer: Transformer, tokens: list[int]) -> Tensor:
    """[tokens, vocabulary]."""
    model = transformer.model
    x = transformer.embedding[tokens]
    places = torch.arange(len(tokens))
    if transformer.positions is not None:
        x = x + transformer.positions[places + 2]  # OPT leaves the first two rows of its table out
    for layer in transformer.layers:
        qkv = normed(x, layer.before_attention) @ layer.qkv.weight.T
        if layer.qkv.bias is not None:
            qkv = qkv + layer.qkv.bias
        heads = qkv.reshape(len(tokens), -1, model.head_dim)
        q, k = heads[:, : model.heads], heads[:, model.heads : model.heads + model.kv_heads]
        v = heads[:, model.heads + model.kv_heads :]
        if layer.query_norm is not None:
            q, k = normed(q, layer.query_norm), normed(k, layer.key_norm)
        if model.rotary:
            q, k = turned(q, places), turned(k, places)
        share = model.heads // model.kv_heads
        each = [attention(q[:, h], k[:, h // share], v[:, h // share]) for h in range(model.heads)]
        out = torch.cat(each, 1) @ layer.out.weight.T
        x = x + (out if layer.out.bias is None else out + layer.out.bias)
        y = normed(x, layer.before_mlp)
        x = x + (mixture(layer.mlp, y) if isinstance(layer.mlp, Mixture) else mlp(layer.mlp, y))
    return normed(x, transformer.last_norm) @ transformer.head.weight.T


def attention(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
    """One head, [tokens, head_dim] each: every token sees itself and those before it."""
    scores = q @ k.T / math.sqrt(q.shape[-1])
    for row in range(len(q)):
        scores[row, row + 1 :] = -math.inf
    return torch.softmax(scores, -1) @ v


def normed(x: Tensor, norm: Norm) -> Tensor:
    """RMSNorm, or LayerNorm where there is an offset."""
    if norm.bias is None:
        return x / torch.sqrt((x**2).mean(-1, keepdim=True) + 1e-6) * norm.weight
    centred = x - x.mean(-1, keepdim=True)
    return centred / torch.sqrt((centred**2).mean(-1, keepdim=True) + 1e-6) * norm.weight + norm.bias


def turned(x: Tensor, places: Tensor) -> Tensor:
    """Rotary embedding: numbers i and i + half are one complex number, turned by place / 10000^(i / half)."""
    half = x.shape[-1] // 2
    angle = torch.outer(places.double(), 10_000.0 ** (-torch.arange(half).double() / half)).unsqueeze(1)
    z = torch.complex(x[..., :half], x[..., half:]) * torch.exp(1j * angle)
    return torch.cat((z.real, z.imag), -1).to(x.dtype)


def mlp(weights: Mlp, x: Tensor) -> Tensor:
    """SiLU-gated, or plain with ReLU."""
    up = x @ weights.up.weight.T + (0 if weights.up.bias is None else weights.up.bias)
    if weights.gated:
        width = up.shape[-1] // 2
        inner = up[:, :width] * torch.sigmoid(up[:, :width]) * up[:, width:]
    else:
        inner = up.clamp(min=0)
    return inner @ weights.down.weight.T + (0 if weights.down.bias is None else weights.down.bias)


def mixture(weights: Mixture, x: Tensor) -> Tensor:
    """Token by token, expert by expert."""
    rows = []
    for token in x:
        scores = weights.router.weight @ token
        best = torch.argsort(scores, descending=True)[: weights.picks]
        shares = torch.softmax(scores[best], 0)
        total = torch.zeros_like(token)
        for share, expert in zip(shares, best, strict=True):
            up = token @ weights.up[expert]
            width = len(up) // 2
            inner = up[:width] * torch.sigmoid(up[:width]) * up[width:]
            total = total + share * (inner @ weights.down[expert])
        if weights.shared is not None:
            gate = torch.sigmoid(weights.shared_gate.weight @ token)
            total = total + gate * mlp(weights.shared, token[None])[0]
        rows.append(total)
    return torch.stack(rows)
