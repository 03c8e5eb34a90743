"""How many KV blocks a GPU has room for, derived as vLLM does it; or a refusal with the arithmetic shown."""

from collections.abc import Callable
from dataclasses import dataclass

from sim.errors import CapacityError, ModelError
from sim.hardware import Profile
from sim.kvcache.groups import KVGroups, kv_groups
from sim.models.dtypes import ACTIVATION_BYTES
from sim.models.model import Model

GIB = 2**30

RUNTIME_BYTES = round(0.3 * GIB)
"""Workspaces of CUDA libraries and allocator slack that vLLM counts before the KV cache.

Assumed; with it the four block counts logged by vLLM 0.15 on H100 are met to better than 1%. CUDA graphs are
captured after the KV cache is laid out and live in the share that gpu_memory_utilization leaves free.
"""

COLLECTIVE_BYTES = {1: 0, 2: 358_612_992, 4: 411_041_792, 8: 411_041_792}
"""NCCL buffers by number of ranks. Imported: AIConfigurator 0.12.0 system tables (Apache-2.0)."""

SAMPLER_BYTES_PER_LOGIT = 22
"""Peak of sampling: bf16 logits, fp32 copy, probabilities, sorted values and 64-bit indices (assumed)."""


@dataclass(frozen=True)
class MemorySplit:
    """What the memory of one GPU holds, in bytes; num_gpu_blocks counts the null block, as vLLM logs it."""

    model: str
    gpu: str
    tensor_parallel: int
    weight_dtype: str
    kv_dtype: str
    memory_bytes: int
    gpu_memory_utilization: float
    weight_bytes: int
    activation_bytes: int
    runtime_bytes: int
    kv_bytes: int
    bytes_per_block: int
    block_size: int
    num_gpu_blocks: int
    given_blocks: bool
    adapter_bytes: int = 0

    @property
    def room_bytes(self) -> int:
        """Memory beside the weights, adapters and libraries: no KV cache is larger, whoever gives its size."""
        return self.memory_bytes - self.weight_bytes - self.adapter_bytes - self.runtime_bytes

    @property
    def usable_tokens(self) -> int:
        """KV tokens that requests can hold: one block, the null block, is never handed out."""
        return max(0, self.num_gpu_blocks - 1) * self.block_size

    def request_blocks(self, tokens: int) -> int:
        """Most blocks that one request of that length, prompt and answer, holds at once."""
        return -(-tokens // self.block_size)

    def requests_that_fit(self, tokens: int) -> float:
        """How many requests of that length fit at once: vLLM's "Maximum concurrency", null block included."""
        return self.num_gpu_blocks / self.request_blocks(tokens)

    def whole_requests(self, tokens: int) -> int:
        """How many requests of that length really fit at once."""
        return max(0, self.num_gpu_blocks - 1) // self.request_blocks(tokens)

    @property
    def longest_request_tokens(self) -> int:
        """The longest request that fits alone."""
        return self.usable_tokens

    def explain(self) -> str:
        """The arithmetic, one line per term, for one GPU."""
        budget = self.memory_bytes * self.gpu_memory_utilization
        share = f" / {self.tensor_parallel} GPUs" if self.tensor_parallel > 1 else ""
        lines = [
            f"memory of one {self.gpu}     {_gib(self.memory_bytes)}",
            f"x gpu_memory_utilization {self.gpu_memory_utilization:g} = {_gib(budget)}",
            f"- weights of {self.model} in {self.weight_dtype}{share}: {_gib(self.weight_bytes)}",
            *([f"- slots of LoRA adapters: {_gib(self.adapter_bytes)}"] if self.adapter_bytes else []),
            f"- activations of the largest step: {_gib(self.activation_bytes)}",
            f"- libraries and collectives: {_gib(self.runtime_bytes)}",
            f"= KV cache in {self.kv_dtype}: {_gib(self.kv_bytes)}, in blocks of {self._each_block()}",
        ]
        equals = "num_gpu_blocks given:" if self.given_blocks else "="
        unit = "" if self.given_blocks else " blocks"
        lines.append(f"{equals} {self.num_gpu_blocks:,}{unit}; one of them, the null block, holds nothing")
        lines.append(f"= {self._whole_room()}")
        return "\n".join(lines)

    def _each_block(self) -> str:
        return f"{self.block_size} tokens of {self.bytes_per_block // self.block_size:,} bytes"

    def _whole_room(self) -> str:
        return f"{max(0, self.num_gpu_blocks - 1):,} blocks x {self.block_size} = {self.usable_tokens:,} tokens"


NO_WINDOWS = KVGroups(1)


@dataclass(frozen=True)
class HybridMemorySplit(MemorySplit):
    """The same for layers in several KV cache groups, each of which takes a block for a block of tokens."""

    kv_groups: KVGroups = NO_WINDOWS

    @property
    def usable_tokens(self) -> int:
        """KV tokens that requests can hold while none has left a window, as vLLM logged them up to 0.20."""
        return max(0, self.num_gpu_blocks - 1) // self.kv_groups.count * self.block_size

    def request_blocks(self, tokens: int) -> int:
        """Most blocks that one request of that length holds at once, all groups together."""
        return self.kv_groups.request_blocks(tokens, self.block_size)

    @property
    def longest_request_tokens(self) -> int:
        """The longest request that fits alone; beyond its window it takes blocks of the full groups only."""
        groups, blocks = self.kv_groups, max(0, self.num_gpu_blocks - 1)
        capped = groups.window - 1 + groups.in_flight_tokens
        if self.request_blocks(capped) <= blocks:
            if not groups.full:
                return 1 << 62
            left = blocks - groups.sliding * groups.most_sliding_blocks(capped, self.block_size)
            return left // groups.full * self.block_size
        return max(0, (blocks - groups.sliding) // groups.count * self.block_size)

    def _each_block(self) -> str:
        groups = self.kv_groups
        kinds = f"{groups.full} full, {groups.sliding} of a {groups.window:,}-token window"
        return (
            f"{self.block_size} tokens of {self.bytes_per_block // self.block_size:,} bytes "
            f"for each of {groups.count} groups of {groups.layers} layers ({kinds})"
        )

    def _whole_room(self) -> str:
        windows = self.kv_groups.sliding * self.kv_groups.most_sliding_blocks(1 << 62, self.block_size)
        return f"{self.usable_tokens:,} tokens before any leaves a window; {windows:,} blocks hold a request's windows"


def split_memory(
    model: Model,
    profile: Profile,
    *,
    tensor_parallel: int = 1,
    weight_dtype: str = "bf16",
    kv_dtype: str = "bf16",
    gpu_memory_utilization: float = 0.9,
    max_num_batched_tokens: int = 8192,
    max_num_seqs: int = 256,
    max_model_len: int | None = None,
    block_size: int = 16,
    num_gpu_blocks: int | None = None,
    draft: Model | None = None,
    adapter_bytes: int = 0,
    hybrid_in_flight: int | None = None,
) -> MemorySplit:
    """Divide a GPU's memory as vLLM does: memory x utilisation - weights - activations - runtime = KV cache.

    max_model_len: default is the model's own context length. num_gpu_blocks: the count that a real engine
    logged (null block included), instead of the derived one. draft: a model that drafts for it, whose weights
    and KV of the same tokens lie beside its own. adapter_bytes: slots of LoRA adapters. hybrid_in_flight: the engine
    frees what leaves a sliding window, with at most so many tokens in flight; None: such layers keep the whole
    context. Raises CapacityError, with the
    arithmetic and the mend, if the weights leave no room or one request of max_model_len does not fit; ModelError
    for a tensor_parallel or dtype that the model does not take.
    """
    split = _split(
        model,
        profile,
        tensor_parallel,
        weight_dtype,
        kv_dtype,
        gpu_memory_utilization,
        max_num_batched_tokens,
        max_num_seqs,
        block_size,
        num_gpu_blocks,
        draft,
        adapter_bytes,
        hybrid_in_flight,
    )
    longest = model.max_position if max_model_len is None else max_model_len
    if num_gpu_blocks is not None and num_gpu_blocks * split.bytes_per_block > max(split.room_bytes, 0):
        raise CapacityError(
            f"num_gpu_blocks_override {num_gpu_blocks} takes {_gib(num_gpu_blocks * split.bytes_per_block)} "
            f"of KV cache, and beside {_gib(split.weight_bytes)} of weights a {split.gpu} has room for "
            f"{_gib(split.room_bytes)}; remove engine.num_gpu_blocks_override, or lower it to at most "
            f"{max(split.room_bytes, 0) // split.bytes_per_block}"
        )
    if split.longest_request_tokens >= longest and split.weight_bytes < split.memory_bytes:
        return split

    def fits(tp: int, dtype: str) -> bool:
        other = _split(
            model,
            profile,
            tp,
            dtype,
            kv_dtype,
            gpu_memory_utilization,
            max_num_batched_tokens,
            max_num_seqs,
            block_size,
            None,
            draft,
            adapter_bytes,
            hybrid_in_flight,
        )
        return other.longest_request_tokens >= longest

    raise CapacityError(_refusal(split, longest, _mends(model, split, longest, fits, profile.gpus_per_node)))


def activation_bytes(model: Model, tensor_parallel: int, max_num_batched_tokens: int, max_num_seqs: int) -> int:
    """Peak of the tensors alive at once in the largest step, on one GPU.

    The larger of the widest point of a layer (residual, block input and output; the MLP's gate, up and
    product, or the same per pick in a mixture; or query, key, value and output) and the sampler's work.
    """
    act, tp, rows = ACTIVATION_BYTES, tensor_parallel, max_num_batched_tokens
    ups = 2 if model.gated_mlp else 1
    mlp = (ups + 1) * (model.intermediate // tp)
    if model.moe_layers:
        each = (ups + 1) * (model.expert_intermediate // tp) + model.hidden
        shared = (ups + 1) * (model.shared_expert_intermediate // tp)
        mlp = max(mlp, model.experts_per_token * each + shared)
    attention = 2 * (model.heads_on_gpu(tp) + model.kv_heads_on_gpu(tp)) * model.head_dim
    layer = rows * (3 * model.hidden + max(mlp, attention)) * act
    sampler = max_num_seqs * model.vocab * SAMPLER_BYTES_PER_LOGIT * model.samples
    return max(layer, sampler)


def _split(
    model: Model,
    profile: Profile,
    tp: int,
    weight_dtype: str,
    kv_dtype: str,
    utilization: float,
    max_num_batched_tokens: int,
    max_num_seqs: int,
    block_size: int,
    num_gpu_blocks: int | None,
    draft: Model | None,
    adapter_bytes: int,
    hybrid_in_flight: int | None,
) -> MemorySplit:
    held = [model] if draft is None else [model, draft]
    weights = sum(one.weight_bytes(weight_dtype, tp) for one in held)
    activations = activation_bytes(model, tp, max_num_batched_tokens, max_num_seqs)
    runtime = RUNTIME_BYTES + COLLECTIVE_BYTES.get(tp, COLLECTIVE_BYTES[8])
    left = int(profile.memory_bytes * utilization) - weights - adapter_bytes - activations - runtime
    per_block = block_size * sum(one.kv_bytes_per_token(kv_dtype, tp) for one in held)
    groups = kv_groups(model, hybrid_in_flight or 0, hybrid_in_flight is not None and draft is None)
    per_block = per_block // model.layers * groups.layers if groups.sliding else per_block
    derived = max(0, left) // per_block
    split = MemorySplit(
        model=" and ".join(one.name for one in held),
        gpu=profile.name,
        tensor_parallel=tp,
        weight_dtype=weight_dtype,
        kv_dtype=kv_dtype,
        memory_bytes=profile.memory_bytes,
        gpu_memory_utilization=utilization,
        weight_bytes=weights,
        activation_bytes=activations,
        runtime_bytes=runtime,
        kv_bytes=left,
        bytes_per_block=per_block,
        block_size=block_size,
        num_gpu_blocks=derived if num_gpu_blocks is None else num_gpu_blocks,
        given_blocks=num_gpu_blocks is not None,
        adapter_bytes=adapter_bytes,
    )
    return HybridMemorySplit(**vars(split), kv_groups=groups) if groups.sliding else split


def _mends(
    model: Model, split: MemorySplit, longest: int, fits: Callable[[int, str], bool], gpus_per_node: int
) -> list[str]:
    """What would make it fit, each checked by the same arithmetic."""
    mends = []
    if split.longest_request_tokens > 0:
        mends.append(f"lower max_model_len to at most {split.longest_request_tokens}")
    if split.given_blocks:
        return [*mends, "raise engine.num_gpu_blocks_override, or remove it"]
    for tp in range(split.tensor_parallel + 1, gpus_per_node + 1):
        try:
            if fits(tp, split.weight_dtype):
                mends.append(f"raise tensor_parallel to at least {tp}")
                break
        except ModelError:  # this degree does not divide the model
            continue
    for dtype in ("fp8", "int4"):
        smaller = model.weight_bytes(dtype, split.tensor_parallel) < split.weight_bytes
        if smaller and fits(split.tensor_parallel, dtype):
            mends.append(f"quantise the weights to {dtype}")
            break
    if split.activation_bytes > split.memory_bytes // 4:
        mends.append("lower max_num_batched_tokens")
    if split.bytes_per_block > split.memory_bytes // 4:
        mends.append("lower block_size")
    return mends or ["use a GPU with more memory"]


def _refusal(split: MemorySplit, longest: int, mends: list[str]) -> str:
    where = f"{split.tensor_parallel} x {split.gpu}"
    if split.longest_request_tokens == 0:
        what = f"{split.model} in {split.weight_dtype} leaves no room for a KV cache on {where}"
    elif split.weight_bytes >= split.memory_bytes:
        what = f"{split.model} in {split.weight_dtype} does not fit {where}"
    else:
        what = (
            f"one request of max_model_len {longest} tokens does not fit the KV cache of "
            f"{split.longest_request_tokens} tokens that {split.model} in {split.weight_dtype} leaves on {where}"
        )
    return f"{what}; {' or '.join(mends)}.\nPer GPU:\n{split.explain()}"


def _gib(amount: float) -> str:
    return f"{amount / GIB:.2f} GiB"
