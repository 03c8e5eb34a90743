"""A radix tree of everything that was computed, as SGLang's RadixCache: prefixes of any length, whole leaves evicted.

What differs from vLLM's hashed blocks: a prefix is found up to its last equal page (`engine.block_size` tokens;
SGLang's own default is 1), and only once the step that computed it has ended. Of two requests that computed the same
tokens at once, the second gives its copies back. The answer joins the tree when the request finishes; a retracted
request keeps only its prompt there. Whoever runs locks the path to its last node; when memory runs out, leaves
that nobody locks go, whole, the least recently used first, until there is enough.

Source: SGLang, python/sglang/srt/mem_cache/radix_cache.py (match_prefix, insert, evict, cache_unfinished_req,
cache_finished_req), allocation.py (evict_from_tree_cache). There a look-up also counts as a use, here only the
admission that follows; and there as many tokens are evicted as a step asks for, not only what it lacks.
"""

from bisect import bisect_right
from collections.abc import Hashable, Iterable
from dataclasses import dataclass
from heapq import heapify, heappop, heappush
from itertools import accumulate
from typing import ClassVar

from sim.kvcache.content import BlockKeys, Piece
from sim.kvcache.protocol import MISS, Hit, KVRoom
from sim.kvcache.tiers.transfers import Transfers
from sim.request import Request


@dataclass(frozen=True)
class Radix:
    """Pages of `engine.block_size` tokens in a radix tree of prefixes (SGLang: --page-size)."""

    def build(self, room: KVRoom) -> "RadixKVCache":
        """An empty tree."""
        return RadixKVCache(room)


class _Content:
    """What a request's prompt and answer hold, token by token, as pieces of named segments."""

    __slots__ = ("ends", "pieces")

    def __init__(self, request: Request) -> None:
        prompt = request.segments or ((("private", request.id), request.prompt_tokens),)
        answer = ("answer", request.id) if request.output_name is None else request.output_name
        self.pieces = [*prompt, (answer, request.output_tokens)]
        self.ends = list(accumulate(length for _, length in self.pieces))

    def cut(self, first: int, last: int) -> tuple[Piece, ...]:
        """Tokens `first` up to, not with, `last`."""
        found = []
        index = bisect_right(self.ends, first)
        while first < last:
            name, length = self.pieces[index]
            offset = first - self.ends[index] + length
            taken = min(length - offset, last - first)
            found.append((name, offset, taken))
            first += taken
            index += 1
        return tuple(found)


def _common(one: tuple[Piece, ...], other: tuple[Piece, ...]) -> int:
    """Tokens that two pieces of content have in common at their beginning."""
    tokens = 0
    for (name, offset, length), (other_name, other_offset, other_length) in zip(one, other, strict=False):
        if name != other_name or offset != other_offset:
            break
        tokens += min(length, other_length)
        if length != other_length:
            break
    return tokens


def _divide(pieces: tuple[Piece, ...], tokens: int) -> tuple[tuple[Piece, ...], tuple[Piece, ...]]:
    """The first `tokens` tokens, and the rest."""
    for index, (name, offset, length) in enumerate(pieces):
        if tokens < length:
            head = ((name, offset, tokens),) if tokens else ()
            return pieces[:index] + head, ((name, offset + tokens, length - tokens), *pieces[index + 1 :])
        tokens -= length
    return pieces, ()


class Node:
    """Tokens that follow those of the parent: their content, who locks them, and when they were used last."""

    __slots__ = ("children", "key", "locks", "parent", "serial", "tokens", "used")

    def __init__(self, parent: "Node | None", key: tuple[Piece, ...], tokens: int, locks: int, serial: int) -> None:
        self.parent = parent
        self.key = key
        self.tokens = tokens
        self.locks = locks  # running requests below
        self.serial = serial
        self.used = 0
        self.children: dict[tuple[Piece, ...], Node] = {}  # by their first pages


@dataclass(slots=True)
class _Seat:
    """A running request: the last node on its path, and the tokens up to there; its later pages are its own."""

    content: _Content
    node: Node
    depth: int


class RadixKVCache:
    """The tree, and the pages that are in none."""

    __slots__ = (
        "block_size", "doubled", "empty_blocks", "evictable_blocks", "evicted_blocks", "leaves", "nodes", "now",
        "num_blocks", "prefix_caching", "root", "seats",
    )  # fmt: skip

    grows: ClassVar[bool] = True
    coarse: ClassVar[bool] = True
    transfers: ClassVar[Transfers | None] = None
    lands: ClassVar[bool] = True

    def __init__(self, room: KVRoom) -> None:
        self.num_blocks = self.empty_blocks = room.num_blocks
        self.block_size = room.block_size
        self.prefix_caching = room.prefix_caching
        self.evictable_blocks = 0  # in the tree, locked by nobody
        self.evicted_blocks = 0
        self.doubled = 0
        self.now = 0
        self.nodes = 0
        self.root = Node(None, (), 0, 1, 0)
        self.leaves: dict[Node, None] = {}  # those that can be evicted
        self.seats: dict[Request, _Seat] = {}

    @property
    def free_blocks(self) -> int:
        """Pages that hold nothing, or what nobody who runs needs."""
        return self.empty_blocks + self.evictable_blocks

    @property
    def used_blocks(self) -> int:
        """Pages of running requests."""
        return self.num_blocks - self.free_blocks

    @property
    def doubled_tokens(self) -> int:
        """Tokens of locked nodes, for every lock beyond the first."""
        return self.doubled

    def blocks_for(self, tokens: int) -> int:
        """Pages that `tokens` tokens occupy."""
        return -(-tokens // self.block_size)

    def whole_blocks(self, request: Request) -> int:
        """Pages of the whole prompt and answer."""
        return self.blocks_for(request.prompt_tokens + request.output_tokens)

    def growth_blocks(self, request: Request, new_tokens: int) -> int:
        """Pages that begin within the next `new_tokens` tokens."""
        return self.blocks_for(request.computed_tokens + new_tokens) - self.blocks_for(request.computed_tokens)

    def lookup(self, request: Request) -> Hit:
        """The longest beginning in the tree, in whole pages; the last known token is never part of it."""
        if not self.prefix_caching or not self.root.children:
            return MISS
        content = _Content(request)
        limit = self._whole_pages(request.known_tokens - 1)
        node, depth, evictable = self.root, 0, 0
        while depth < limit:
            child = self._child(node, content, depth, limit)
            if child is None:
                break
            common = self._match(child, content, depth, limit)
            if child.locks == 0:
                evictable += common
            depth += common
            node = child
            if common < child.tokens:
                break
        size = self.block_size
        return Hit(depth, depth // size, evictable // size) if depth else MISS

    def content(self) -> "RadixKVCache":
        """A copy of the tree, good for look-ups alone."""
        copy = RadixKVCache(KVRoom(self.num_blocks, self.block_size, 0, self.prefix_caching))
        left = [(self.root, copy.root)]
        while left:
            node, twin = left.pop()
            for page, child in node.children.items():
                twin.children[page] = Node(twin, child.key, child.tokens, child.locks, child.serial)
                left.append((child, twin.children[page]))
        return copy

    def share_names(self, names: dict[int, BlockKeys]) -> None:
        """Content is known by its segments here."""

    def beginning(self, request: Request, tokens: int) -> Hashable | None:
        """The content of the first tokens themselves."""
        if not self.prefix_caching or request.segments is None or tokens > request.prompt_tokens:
            return None
        return _Content(request).cut(0, tokens)

    def can_admit(self, request: Request, hit: Hit, tokens: int, spared_blocks: int) -> bool:
        """Whether pages for the first `tokens` tokens, those found included, can be had."""
        needed = self.blocks_for(tokens) - hit.blocks
        return max(needed, 0) + hit.evictable_blocks + spared_blocks <= self.free_blocks

    def adopt(self, request: Request, hit: Hit) -> None:
        """Lock the path that was found."""
        content = _Content(request)
        node, _ = self._descend(content, hit.tokens)
        self._lock(node)
        self.seats[request] = _Seat(content, node, hit.tokens)
        request.computed_tokens = hit.tokens

    def grow(self, request: Request, new_tokens: int) -> None:
        """Take pages of the request's own; nobody finds them before they have been computed."""
        self.take(self.growth_blocks(request, new_tokens))
        request.computed_tokens += new_tokens

    def shrink(self, request: Request, tokens: int) -> None:
        """Count the last tokens, which are in no node, as not computed, and free the pages behind."""
        self.empty_blocks -= self.growth_blocks(request, -tokens)
        request.computed_tokens -= tokens

    def take(self, blocks: int) -> None:
        """Hand out empty pages, and evict whole leaves while they do not suffice."""
        if blocks > self.empty_blocks:
            self._evict(blocks - self.empty_blocks)
        self.empty_blocks -= blocks

    def key(self, request: Request, tokens: int) -> None:
        """Nothing: content is named as a whole."""

    def landed(self, request: Request, tokens: int) -> None:
        """The prompt up to there joins the tree."""
        if self.prefix_caching:
            self._insert(self.seats[request], tokens)

    def free(self, request: Request) -> None:
        """A finished request's tokens join the tree."""
        if self.prefix_caching:
            self._insert(self.seats[request], request.computed_tokens)
        self._let_go(request)

    def set_aside(self, request: Request, valid_tokens: int) -> None:
        """Of a retracted request only those tokens stay that are in the tree already."""
        self._let_go(request)

    def _let_go(self, request: Request) -> None:
        seat = self.seats.pop(request)
        self.empty_blocks += self.blocks_for(request.computed_tokens) - seat.depth // self.block_size
        self._unlock(seat.node)

    def _insert(self, seat: _Seat, tokens: int) -> None:
        """Put the seat's content up to there, in whole pages, into the tree, and move its lock."""
        end = self._whole_pages(tokens)
        node, depth = self._descend(seat.content, end)
        self.empty_blocks += (depth - seat.depth) // self.block_size  # copies of what others computed meanwhile
        if depth < end:
            key = seat.content.cut(depth, end)
            self.nodes += 1
            leaf = Node(node, key, end - depth, 0, self.nodes)
            leaf.used = self.now
            node.children[self._first_page(key)] = leaf
            self.evictable_blocks += leaf.tokens // self.block_size
            self._note_leaf(node)
            node = leaf
            self._note_leaf(node)
        self._lock(node)
        self._unlock(seat.node)
        seat.node, seat.depth = node, end

    def _descend(self, content: _Content, end: int) -> tuple[Node, int]:
        """The node at which content and tree part, at the latest at `end`, and its depth: split off, and used now."""
        self.now += 1
        node, depth = self.root, 0
        while depth < end:
            child = self._child(node, content, depth, end)
            if child is None:
                break
            common = self._match(child, content, depth, end)
            if common < child.tokens:
                child = self._split(child, common)
            child.used = self.now
            node = child
            depth += common
        return node, depth

    def _child(self, node: Node, content: _Content, depth: int, end: int) -> Node | None:
        """The child that begins with the content's next page."""
        return node.children.get(content.cut(depth, min(depth + self.block_size, end)))

    def _match(self, node: Node, content: _Content, depth: int, end: int) -> int:
        """Tokens of the node, in whole pages, that the content has there too."""
        return self._whole_pages(_common(node.key, content.cut(depth, min(depth + node.tokens, end))))

    def _split(self, node: Node, tokens: int) -> Node:
        """Make the first `tokens` tokens of a node its parent, and return that."""
        head, rest = _divide(node.key, tokens)
        assert node.parent is not None
        self.nodes += 1
        upper = Node(node.parent, head, tokens, node.locks, self.nodes)
        node.parent.children[self._first_page(head)] = upper
        upper.children[self._first_page(rest)] = node
        node.parent, node.key, node.tokens = upper, rest, node.tokens - tokens
        node.used = self.now
        return upper

    def _first_page(self, key: tuple[Piece, ...]) -> tuple[Piece, ...]:
        return _divide(key, self.block_size)[0]

    def _whole_pages(self, tokens: int) -> int:
        return tokens // self.block_size * self.block_size

    def _lock(self, node: Node) -> None:
        while node.parent is not None:
            if node.locks == 0:
                self.evictable_blocks -= node.tokens // self.block_size
            else:
                self.doubled += node.tokens
            node.locks += 1
            self._note_leaf(node)
            node = node.parent

    def _unlock(self, node: Node) -> None:
        while node.parent is not None:
            node.locks -= 1
            if node.locks == 0:
                self.evictable_blocks += node.tokens // self.block_size
            else:
                self.doubled -= node.tokens
            self._note_leaf(node)
            node = node.parent

    def _note_leaf(self, node: Node) -> None:
        if node.locks == 0 and not node.children:
            self.leaves[node] = None
        else:
            self.leaves.pop(node, None)

    def _evict(self, blocks: int) -> None:
        """Evict leaves until at least `blocks` pages are gone."""
        heap = [(leaf.used, leaf.serial, leaf) for leaf in self.leaves]
        heapify(heap)
        gone = 0
        while gone < blocks:
            leaf = heappop(heap)[2]
            parent = leaf.parent
            assert parent is not None
            del parent.children[self._first_page(leaf.key)], self.leaves[leaf]
            gone += leaf.tokens // self.block_size
            self._note_leaf(parent)
            if parent in self.leaves:
                heappush(heap, (parent.used, parent.serial, parent))
        self.empty_blocks += gone
        self.evictable_blocks -= gone
        self.evicted_blocks += gone

    def abandon(self, request: Request) -> None:
        """Nothing: whoever waits has nothing here."""

    def check(self, running: Iterable[tuple[Request, int]]) -> None:
        """Raise AssertionError unless empty pages, the tree and the requests' own make up the memory (INV-2)."""
        held = dict(running)
        if set(held) != set(self.seats):
            raise AssertionError("INV-2: the requests that lock the tree are not those that run")
        own = sum(self.blocks_for(tokens) - self.seats[r].depth // self.block_size for r, tokens in held.items())
        locks: dict[Node, int] = {}
        for seat in self.seats.values():
            node: Node | None = seat.node
            while node is not None and node.parent is not None:
                locks[node] = locks.get(node, 0) + 1
                node = node.parent
        tree = evictable = doubled = 0
        nodes = list(self.root.children.values())
        while nodes:
            node = nodes.pop()
            nodes += node.children.values()
            if node.locks != locks.get(node, 0) or node.tokens % self.block_size or node.tokens == 0:
                raise AssertionError(f"INV-2: a node of {node.tokens} tokens has {node.locks} locks")
            if (node in self.leaves) != (not node.locks and not node.children):
                raise AssertionError("INV-2: the leaves noted are not those of the tree")
            tree += node.tokens // self.block_size
            evictable += 0 if node.locks else node.tokens // self.block_size
            doubled += max(node.locks - 1, 0) * node.tokens
        if evictable != self.evictable_blocks or doubled != self.doubled:
            raise AssertionError(f"INV-2: {self.evictable_blocks} pages can be evicted by count, {evictable} are")
        if self.empty_blocks < 0 or self.empty_blocks + tree + own != self.num_blocks:
            raise AssertionError(
                f"INV-2: {self.empty_blocks} empty, {tree} in the tree, {own} of requests, in all {self.num_blocks}"
            )
