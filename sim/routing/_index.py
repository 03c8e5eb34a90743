"""What a router believes the replicas' KV caches to hold, from the prompts that it sent there.

Prompts are known by their full blocks; each replica is thought to keep the `capacity_blocks` blocks that were sent
there last. What is in fact evicted, or computed for somebody else, the router does not learn.

Source: the approximate prefix-cache index of the Gateway API Inference Extension and llm-d (an LRU of chained block
hashes for each pod, 16 tokens a block, 31,250 blocks); SGLang's router keeps a radix tree for the same purpose.
"""

from collections import OrderedDict

from sim.kvcache.content import BlockKeys
from sim.request import Request
from sim.routing import Candidates, ReplicaView


class PrefixIndex:
    """For each replica, by its index, the blocks it is thought to have."""

    def __init__(self, candidates: Candidates, block_tokens: int, capacity_blocks: int) -> None:
        candidates.watch(self.forget_the_gone)
        self.capacity_blocks = capacity_blocks
        self._names = BlockKeys(block_tokens)
        self._blocks: dict[int, OrderedDict[int, None]] = {}  # by replica, the oldest first
        self._holders: dict[int, dict[int, None]] = {}  # by block

    def keys(self, request: Request) -> list[int]:
        """The prompt's full blocks; none for one whose content has no name, as nothing can equal it."""
        return [] if request.segments is None else self._names.chain(request.segments)

    def match(self, keys: list[int]) -> dict[int, int]:
        """By replica: how many of the first blocks it is thought to have, for those that have any."""
        found: dict[int, int] = {}
        having: list[int] | None = None
        for count, key in enumerate(keys, 1):
            holders = self._holders.get(key, {})
            having = list(holders) if having is None else [index for index in having if index in holders]
            if not having:
                break
            for index in having:
                found[index] = count
        return found

    def sent(self, index: int, keys: list[int]) -> None:
        """A prompt of these blocks goes there; its beginning counts as used last."""
        blocks = self._blocks.setdefault(index, OrderedDict())
        for key in reversed(keys):
            blocks[key] = None
            blocks.move_to_end(key)
            self._holders.setdefault(key, {})[index] = None
        while len(blocks) > self.capacity_blocks:
            key, _ = blocks.popitem(last=False)
            self._drop(key, index)

    def _drop(self, key: int, index: int) -> None:
        holders = self._holders[key]
        del holders[index]
        if not holders:
            del self._holders[key]

    def forget_the_gone(self, replica: ReplicaView) -> None:
        """A replica that takes no more requests may come back without its cache."""
        if not replica.accepting:
            for key in self._blocks.pop(replica.index, ()):
                self._drop(key, replica.index)

    def size(self, index: int) -> int:
        """Blocks that the replica is thought to have."""
        return len(self._blocks.get(index, ()))
