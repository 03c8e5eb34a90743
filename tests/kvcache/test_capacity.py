"""KV capacity against block counts that real engines logged, and the refusals."""

import pytest

from sim import hardware, models
from sim.errors import CapacityError
from sim.kvcache.capacity import split_memory

LOGGED = [  # model, GPUs, blocks of 16 tokens that vLLM 0.15 laid out on H100 SXM 80 GB
    ("llama-2-7b", 1, 7462),
    ("llama-2-70b", 4, 31356),
    ("mixtral-8x7b", 2, 27510),
    ("codellama-34b", 2, 26602),
]


@pytest.mark.parametrize(("name", "tp", "blocks"), LOGGED)
def test_blocks_of_real_engines_to_one_per_cent(name: str, tp: int, blocks: int) -> None:
    """gpu_memory_utilization 0.9, 2048 batched tokens, 128 sequences, 4096 tokens of context."""
    split = split_memory(
        models.load(name),
        hardware.load("h100-sxm"),
        tensor_parallel=tp,
        gpu_memory_utilization=0.9,
        max_num_batched_tokens=2048,
        max_num_seqs=128,
        max_model_len=4096,
    )
    assert split.num_gpu_blocks == pytest.approx(blocks, rel=0.01)


def test_the_terms_sum_to_the_budget() -> None:
    split = split_memory(models.load("llama-3.1-8b"), hardware.load("h100-sxm"), max_model_len=8192)
    parts = split.weight_bytes + split.activation_bytes + split.runtime_bytes + split.kv_bytes
    assert parts == int(split.memory_bytes * 0.9)
    assert split.weight_bytes == 16_060_522_496
    assert split.num_gpu_blocks == split.kv_bytes // (16 * 131072)
    assert split.usable_tokens == (split.num_gpu_blocks - 1) * 16  # the null block holds nothing


def test_explain_shows_each_term() -> None:
    text = split_memory(models.load("llama-3.1-8b"), hardware.load("h100-sxm")).explain()
    assert "79.22 GiB" in text  # the GPU
    assert "71.30 GiB" in text  # 0.9 of it
    assert "14.96 GiB" in text  # 16.06e9 bytes of weights
    assert "131,072 bytes" in text  # per token
    assert len(text.splitlines()) == 8
    assert "28,259 blocks x 16 = 452,144 tokens" in text  # without the null block


def test_larger_steps_leave_fewer_blocks() -> None:
    model, gpu = models.load("llama-3.1-8b"), hardware.load("h100-sxm")
    blocks = [
        split_memory(model, gpu, max_num_batched_tokens=tokens, max_model_len=8192).num_gpu_blocks
        for tokens in (2048, 8192, 32768)
    ]
    assert blocks[0] > blocks[1] > blocks[2]


def test_fp8_cache_doubles_the_blocks() -> None:
    model, gpu = models.load("llama-3.1-8b"), hardware.load("h100-sxm")
    bf16, fp8 = (split_memory(model, gpu, kv_dtype=dtype).num_gpu_blocks for dtype in ("bf16", "fp8"))
    assert fp8 in (2 * bf16, 2 * bf16 + 1)


def test_given_blocks_replace_the_derived_ones() -> None:
    split = split_memory(models.load("llama-2-7b"), hardware.load("h100-sxm"), num_gpu_blocks=7462, max_model_len=4096)
    assert split.num_gpu_blocks == 7462
    assert split.usable_tokens == 7461 * 16
    assert "num_gpu_blocks given: 7,462" in split.explain()


def refusal(model: str, gpu: str, **settings: object) -> str:
    with pytest.raises(CapacityError) as error:
        split_memory(models.load(model), hardware.load(gpu), **settings)  # type: ignore[arg-type]
    return str(error.value)


def test_model_that_does_not_fit_names_the_gpus_it_needs() -> None:
    text = refusal("llama-3.1-70b", "h100-sxm")
    assert "leaves no room for a KV cache on 1 x h100-sxm" in text
    assert "raise tensor_parallel to at least 4" in text  # 2 hold the weights, but not 131,072 tokens of KV cache too
    assert "131.42 GiB" in text and "71.30 GiB" in text
    split_memory(models.load("llama-3.1-70b"), hardware.load("h100-sxm"), tensor_parallel=4)
    assert "at least 2" in refusal("llama-3.1-70b", "h100-sxm", max_model_len=8192)


def test_quantising_is_offered_where_it_helps() -> None:
    text = refusal("llama-2-13b", "l4", max_model_len=4096)
    assert "quantise the weights to fp8" in text
    split_memory(models.load("llama-2-13b"), hardware.load("l4"), weight_dtype="fp8", max_model_len=2048)


def test_longest_request_that_does_not_fit_names_one_that_does() -> None:
    model, gpu = models.load("llama-3.1-8b"), hardware.load("a10g")
    text = refusal("llama-3.1-8b", "a10g")
    assert "one request of max_model_len 131072 tokens does not fit" in text
    longest = int(text.split("lower max_model_len to at most ")[1].split()[0])
    split_memory(model, gpu, max_model_len=longest)
    with pytest.raises(CapacityError):
        split_memory(model, gpu, max_model_len=longest + 1)


def test_given_blocks_too_few_for_one_request() -> None:
    text = refusal("llama-2-7b", "h100-sxm", num_gpu_blocks=257, max_model_len=4097)
    assert "lower max_model_len to at most 4096 or raise engine.num_gpu_blocks_override, or remove it" in text


def test_given_blocks_beyond_the_memory() -> None:
    """55 GiB of KV blocks logged on an H100 cannot be on a card of 22 GiB."""
    text = refusal("llama-3.1-8b", "l4", num_gpu_blocks=28125, max_model_len=8192)
    assert "28125 takes 54.93 GiB of KV cache" in text
    assert "remove engine.num_gpu_blocks_override" in text
