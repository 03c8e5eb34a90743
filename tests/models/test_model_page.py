"""The formulas of docs/model.md, written out by hand, give the FLOPs and bytes that the operations have."""

import pytest

from sim import models
from sim.models.operations import step_operations
from sim.models.shape import BatchShape

NEW, BEFORE, DECODES, CONTEXT = 512, 100, 10, 5000
TP = 2
Cost = tuple[float, float]


@pytest.mark.parametrize("name", ["llama-3.1-8b", "qwen3-30b-a3b", "mixtral-8x7b"])
def test_the_page_and_the_code_agree(name: str) -> None:
    model = models.load(name)
    rows, sampled, layers = NEW + DECODES, DECODES + 1, model.layers
    hidden, head = model.hidden, model.head_dim
    heads, kv_heads = model.heads // TP, model.kv_heads // TP
    act = weight = kv = 2
    ups = 2  # all three have gated MLPs

    def product(m: float, k: float, n: float) -> Cost:
        return 2 * m * n * k, weight * n * k + act * m * (k + n)

    parts: list[tuple[int, Cost]] = [
        (layers, product(rows, hidden, (heads + 2 * kv_heads) * head)),
        (layers, product(rows, heads * head, hidden)),
        (1, product(sampled, hidden, -(-model.vocab // TP))),
        (1, (0, 18 * model.vocab * sampled)),
        (1, (0, rows * 2 * act * hidden)),
        (2 * layers + 1, (0, rows * 4 * act * hidden)),
        (layers * (2 if model.qk_norm else 1), (0, rows * 2 * act * (heads + kv_heads) * head)),
        (layers, (0, rows * 2 * (act + kv) * kv_heads * head)),
        (
            layers,
            (
                4 * heads * head * (NEW * BEFORE + NEW * (NEW + 1) / 2),
                2 * act * NEW * heads * head + 2 * kv * (BEFORE + NEW) * kv_heads * head,
            ),
        ),
        (
            layers,
            (4 * heads * head * CONTEXT, 2 * act * DECODES * heads * head + 2 * kv * CONTEXT * kv_heads * head),
        ),
    ]
    if model.experts:
        picks, width = model.experts_per_token, model.expert_intermediate // TP
        in_use = model.experts * (1 - (1 - picks / model.experts) ** rows)
        parts.append((layers, product(rows, hidden, model.experts)))
        for n, k in ((ups * width, hidden), (hidden, width)):
            read = weight * n * k * in_use + act * picks * rows * (n + k)
            parts.append((layers, (2 * picks * n * k * rows, read)))
        beside = act * model.experts + 8 * picks + picks * (ups + 1) * act * width + (picks + 1) * act * hidden
        parts.append((layers, (0, rows * beside)))
    else:
        width = model.intermediate // TP
        parts += [(layers, product(rows, hidden, ups * width)), (layers, product(rows, width, hidden))]
        parts.append((layers, (0, rows * (ups + 1) * act * width)))

    shape = BatchShape([(NEW, BEFORE)], DECODES, CONTEXT, sampled)
    kernels = [one for one in step_operations(model, shape, TP) if not one.kind.startswith("all_")]
    assert sum(one.flops * one.times for one in kernels) == pytest.approx(sum(n * cost[0] for n, cost in parts))
    assert sum(one.bytes * one.times for one in kernels) == pytest.approx(sum(n * cost[1] for n, cost in parts))
