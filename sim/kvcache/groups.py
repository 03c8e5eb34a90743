"""Which layers share a block table: the KV cache groups of a model whose layers do not all see the same tokens.

All groups draw blocks of one size from one pool, so every group has as many layers. Source: vLLM,
docs/design/hybrid_kv_cache_manager.md and _get_kv_cache_groups_uniform_page_size in vllm/v1/core/kv_cache_utils.py.
"""

from dataclasses import dataclass

from sim.models.model import Model
from sim.models.windows import outside_tokens


@dataclass(frozen=True)
class KVGroups:
    """`full` groups that keep all tokens and `sliding` ones that keep a window, each of `layers` layers."""

    layers: int
    full: int = 1
    sliding: int = 0
    window: int = 0
    in_flight_tokens: int = 0
    """Most tokens that are scheduled and not settled: one batch, or two with asynchronous scheduling."""

    @property
    def count(self) -> int:
        """Groups: a block of tokens takes so many blocks of the pool."""
        return self.full + self.sliding

    @property
    def slots(self) -> int:
        """Layers and the padding that makes the groups equal."""
        return self.layers * self.count

    def outside_blocks(self, settled_tokens: int, block_size: int) -> int:
        """Leading blocks that a sliding group has given back, when so many tokens are computed and no more read."""
        return outside_tokens(settled_tokens, self.window) // block_size if self.sliding else 0

    def most_sliding_blocks(self, tokens: int, block_size: int) -> int:
        """Most blocks that a request of that length holds at once in a sliding group.

        Its window, what is in flight, and one block more as a window may begin inside a block. Source: vLLM,
        SlidingWindowSpec.max_admission_blocks_per_request in vllm/v1/kv_cache_interface.py.
        """
        return -(-min(self.window - 1 + self.in_flight_tokens, tokens) // block_size) + 1

    def request_blocks(self, tokens: int, block_size: int) -> int:
        """Blocks that one request of that length takes at most, all groups together, as vLLM's start-up counts them."""
        whole = -(-tokens // block_size)
        return self.full * whole + (self.sliding * self.most_sliding_blocks(tokens, block_size) if self.sliding else 0)


def kv_groups(model: Model, in_flight_tokens: int = 0, hybrid: bool = True) -> KVGroups:
    """The groups of a model; one group of all layers without windows, or without a hybrid manager.

    The smaller kind gives the size of a group, unless the other is less than half as large again: then the larger,
    with padding in the smaller. The last group of a kind is padded.
    """
    sliding, full = model.sliding_layers, model.full_layers
    if not sliding or not hybrid:
        return KVGroups(model.layers)
    if not full:
        return KVGroups(sliding, 0, 1, model.sliding_window, in_flight_tokens)
    smaller, larger = sorted((sliding, full))
    size = larger if larger < 1.5 * smaller else smaller
    return KVGroups(size, -(-full // size), -(-sliding // size), model.sliding_window, in_flight_tokens)
