"""The requests that decode together, counted instead of visited.

Nearly all of a serving engine's steps add one token to each of the same requests. So no request is
touched by such a step: one clock ticks for all, and what a step must know (how many they are, how much
context they attend to, who needs a new KV block, who is done) is kept in counts, sums and a heap.
"""

from heapq import heapify, heappop, heappush

from sim.request import Request


class DecodeGroup:
    """Requests that each compute exactly one token in every step.

    A member's computed tokens are its `lead` plus the group's clock. A member needs a new block in the
    tick at which its computed tokens are a multiple of the block size, so members are counted by the
    clock's remainder at which that happens. With `grows` off they never need one, as they hold all from the start.
    """

    __slots__ = (
        "block_size", "clock", "finish_heap", "grows", "last_seat", "lead_sum", "measured", "named", "new_blocks",
        "size",
    )  # fmt: skip

    def __init__(self, block_size: int, grows: bool = True) -> None:
        self.block_size = block_size
        self.grows = grows
        self.clock = 0
        self.clear()

    def clear(self) -> None:
        """Forget all members."""
        self.size = 0
        self.measured = 0  # members inside the statistics window
        self.lead_sum = 0
        self.last_seat = -1  # no member has a later seat (an upper bound while members leave)
        self.new_blocks = [0] * self.block_size
        self.finish_heap: list[tuple[int, int, Request]] = []
        self.named: dict[Request, None] = {}  # members whose output others may repeat

    def join(self, request: Request) -> None:
        """Take in a request that has one known token left to compute."""
        lead = request.lead = request.computed_tokens - self.clock
        self.size += 1
        self.measured += request.measured
        self.lead_sum += lead
        self.new_blocks[-lead % self.block_size] += self.grows
        if request.seat > self.last_seat:
            self.last_seat = request.seat
        finish_tick = self.clock + request.output_tokens - request.generated_tokens
        heappush(self.finish_heap, (finish_tick, request.seat, request))
        if request.output_name is not None:
            self.named[request] = None

    def settle(self, request: Request) -> None:
        """Write the member's counters back to the request."""
        request.computed_tokens = request.lead + self.clock
        request.generated_tokens = request.computed_tokens - request.prompt_tokens + 1

    @property
    def context_tokens(self) -> int:
        """KV tokens that the next tick attends to, its own new ones included."""
        return self.lead_sum + self.size * (self.clock + 1)

    @property
    def blocks_needed(self) -> int:
        """New KV blocks that the next tick takes."""
        return self.new_blocks[self.clock % self.block_size]

    def blocks_over(self, first: int, last: int) -> int:
        """New KV blocks that the ticks from `first` up to, not with, `last` take, counted from now."""
        size = self.block_size
        cycles, rest = divmod(last - first, size)
        begin = (self.clock + first) % size
        end = begin + rest
        blocks = cycles * self.size * self.grows + sum(self.new_blocks[begin:end])
        return blocks + sum(self.new_blocks[: end - size]) if end > size else blocks

    def ticks_within(self, free_blocks: int, most: int) -> int:
        """How many ticks, at most `most`, need no more than `free_blocks` new blocks in all."""
        if not self.grows:
            return most
        cycles, free_blocks = divmod(free_blocks, self.size)
        ticks = cycles * self.block_size
        if ticks >= most:
            return most
        for tick in range(self.clock, self.clock + self.block_size):
            free_blocks -= self.new_blocks[tick % self.block_size]
            if free_blocks < 0:
                break
            ticks += 1
        return min(ticks, most)

    @property
    def ticks_to_finish(self) -> int:
        """Ticks until the first member is done."""
        return self.finish_heap[0][0] - self.clock

    def tick(self, ticks: int) -> list[Request]:
        """Let time pass; return the members that are done, settled and taken out."""
        self.clock += ticks
        done: list[Request] = []
        heap = self.finish_heap
        while heap and heap[0][0] <= self.clock:
            request = heappop(heap)[2]
            self.settle(request)
            self._forget(request)
            done.append(request)
        return done

    def leave(self, request: Request) -> None:
        """Settle and take out a member that is not done."""
        self.settle(request)
        self.finish_heap = [entry for entry in self.finish_heap if entry[2] is not request]
        heapify(self.finish_heap)
        self._forget(request)

    def _forget(self, request: Request) -> None:
        self.size -= 1
        self.measured -= request.measured
        self.lead_sum -= request.lead
        self.new_blocks[-request.lead % self.block_size] -= self.grows
        if self.named:
            self.named.pop(request, None)
        if not self.size:
            self.last_seat = -1

    def dissolve(self) -> list[Request]:
        """Settle and take out every member, earliest finish first."""
        members = [request for _, _, request in self.finish_heap]
        for request in members:
            self.settle(request)
        self.clear()
        return members
