"""A model cut into stages: vLLM's layer counts, and nothing lost or doubled but a tied embedding."""

import pytest

from sim.errors import ModelError
from sim.models import builtin_names, load
from sim.models.operations import step_operations
from sim.models.shape import BatchShape
from sim.models.stages import layer_counts, split_stages


@pytest.mark.parametrize(
    ("layers", "stages", "counts"),
    [
        (32, 4, [8, 8, 8, 8]),
        (61, 2, [31, 30]),
        (61, 4, [15, 15, 16, 15]),
        (22, 4, [5, 6, 6, 5]),
        (7, 3, [2, 3, 2]),
        (5, 3, [2, 2, 1]),
        (43, 10, [4, 4, 4, 4, 4, 4, 5, 5, 5, 4]),
    ],
)
def test_layers_as_vllm_spreads_them(layers: int, stages: int, counts: list[int]) -> None:
    """Examples from the documentation of vLLM and of projects that follow it."""
    assert layer_counts(layers, stages) == counts


@pytest.mark.parametrize("name", builtin_names())
@pytest.mark.parametrize("stages", [2, 3])
def test_the_stages_are_the_model(name: str, stages: int) -> None:
    model = load(name)
    parts = split_stages(model, stages)
    twice = model.vocab * model.hidden if model.tied_embeddings else 0
    assert sum(part.num_parameters for part in parts) == model.num_parameters + twice
    assert sum(part.kv_bytes_per_token() for part in parts) == model.kv_bytes_per_token()
    assert sum(part.moe_layers for part in parts) == model.moe_layers
    shape = BatchShape([(100, 0)], 5, 500, 6)
    for tp in (1, 2):
        whole = sum(operation.flops * operation.times for operation in step_operations(model, shape, tp))
        cut = sum(op.flops * op.times for part in parts for op in step_operations(part, shape, tp))
        assert cut == whole
        moved = sum(operation.bytes * operation.times for operation in step_operations(model, shape, tp))
        assert sum(op.bytes * op.times for part in parts for op in step_operations(part, shape, tp)) == moved


def test_more_stages_than_layers() -> None:
    with pytest.raises(ModelError, match="pipeline_parallel 33 is more than its 32 layers"):
        split_stages(load("llama-3.1-8b"), 33)
