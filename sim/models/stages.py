"""The layers of a model spread over the stages of a pipeline."""

from dataclasses import replace

from sim.errors import ModelError
from sim.models.model import Model


def layer_counts(layers: int, stages: int) -> list[int]:
    """Layers of each stage: equal; what is left over goes to the last but one, and on towards the front.

    The last stage, which has the LM head too, never gets more. Source: vLLM, `get_pp_indices`.
    """
    counts = [layers // stages] * stages
    for i in range(2, layers % stages + 2):
        counts[-i] += 1
    return counts


def split_stages(model: Model, stages: int) -> tuple[Model, ...]:
    """The model of each stage: the first embeds, the last samples, and each has its layers' weights and KV.

    Mixtures and sliding windows are spread evenly over the layers, since a `Model` only counts them. Raises
    ModelError for more stages than layers.
    """
    if stages > model.layers:
        raise ModelError(f"{model.name}: pipeline_parallel {stages} is more than its {model.layers} layers")
    parts: list[Model] = []
    end = 0
    for index, layers in enumerate(layer_counts(model.layers, stages)):
        begin, end = end, end + layers
        part = replace(
            model,
            name=f"{model.name} (stage {index + 1} of {stages})",
            layers=layers,
            moe_layers=_share(model.moe_layers, begin, end, model.layers),
            sliding_layers=_share(model.sliding_layers, begin, end, model.layers),
            embeds=index == 0,
            samples=index == stages - 1,
        )
        parts.append(part)
    return tuple(parts)


def _share(count: int, begin: int, end: int, layers: int) -> int:
    """How many of `count` layers, spread evenly over all, lie from `begin` up to `end`."""
    return count * end // layers - count * begin // layers
