"""The decode group of a model whose layers see a window: also counted instead of visited.

Two things change while a member grows. When it has `window` tokens, it begins to see the same number in every step.
And once tokens have left its window, it gives back one block in every `block_size` steps, of each sliding KV group.
"""

from heapq import heappop, heappush

from sim.engine.decoders import DecodeGroup
from sim.kvcache._hybrid import HybridKVCache
from sim.request import Request

_COUNTED = -1


class WindowedDecodeGroup(DecodeGroup):
    """A decode group that knows what its members see, and what leaves their windows (kv: None if that is kept).

    `slid_clock` is the clock up to which blocks have been given back. It is that of the settled tokens: behind
    `clock` by the steps under way, as those still read what was in the window before.
    """

    __slots__ = ("_events", "_leaving", "_modes", "_rising", "_rising_lead", "_tops", "kv", "slid_clock", "window")

    def __init__(self, block_size: int, grows: bool, window: int, kv: HybridKVCache | None) -> None:
        self.window = window
        self.kv = kv
        self.slid_clock = 0
        super().__init__(block_size, grows)

    def clear(self) -> None:
        """Forget all members."""
        super().clear()
        self._rising: dict[Request, int] = {}  # members that see one token more in every step: until which clock
        self._rising_lead = 0
        self._tops: list[tuple[int, int, Request]] = []  # the same as a heap
        # Members whose windows are followed: the clock of their next event, or _COUNTED if only numbers leave.
        self._modes: dict[Request, int] = {}
        self._events: list[tuple[int, int, Request]] = []
        self._leaving = [0] * self.block_size  # counted ones, by the clock's remainder at which a block leaves

    def join(self, request: Request) -> None:
        """Take in a request that has one known token left to compute."""
        super().join(request)
        top = self.window - 1 - request.lead
        if top > self.clock:
            self._rising[request] = top
            self._rising_lead += request.lead
            heappush(self._tops, (top, request.seat, request))

    def _forget(self, request: Request) -> None:
        super()._forget(request)
        if self._rising.pop(request, None) is not None:
            self._rising_lead -= request.lead
        if self._modes.pop(request, None) == _COUNTED:
            self._leaving[self._remainder(request)] -= 1

    def settle(self, request: Request) -> None:
        """Write the member's counters back to the request."""
        super().settle(request)
        self.note_window(request)

    def note_window(self, request: Request) -> None:
        """Write down how much of a member has left its window."""
        if self.kv is not None and request in self._modes:
            settled = request.lead + self.slid_clock
            request.window_start = self.kv.groups.outside_blocks(settled, self.block_size)

    # What the members see.

    @property
    def growing(self) -> int:
        """Members that see one token more in every step."""
        return len(self._rising)

    @property
    def window_tokens(self) -> int:
        """KV tokens that the next tick attends to in a layer with a window."""
        rising = len(self._rising)
        return self._rising_lead + rising * (self.clock + 1) + (self.size - rising) * self.window

    @property
    def ticks_alike(self) -> int | None:
        """Ticks until one member more sees the same number in every step; None: never."""
        tops = self._tops
        while tops and self._rising.get(tops[0][2]) != tops[0][0]:
            heappop(tops)
        return tops[0][0] - self.clock if tops else None

    def tick(self, ticks: int) -> list[Request]:
        """Let time pass; return the members that are done, settled and taken out."""
        done = super().tick(ticks)
        tops = self._tops
        while tops and tops[0][0] <= self.clock:
            top, _, request = heappop(tops)
            if self._rising.get(request) == top:
                del self._rising[request]
                self._rising_lead -= request.lead
        return done

    # What they take and give back.

    @property
    def blocks_needed(self) -> int:
        """New KV blocks that the next tick takes, of all groups."""
        return super().blocks_needed * self._groups

    def blocks_over(self, first: int, last: int) -> int:
        """The same for the ticks from `first` up to, not with, `last`."""
        return super().blocks_over(first, last) * self._groups

    def ticks_within(self, free_blocks: int, most: int) -> int:
        """How many ticks, at most `most`, need no more than `free_blocks` new blocks, if none is given back."""
        return super().ticks_within(free_blocks // self._groups, most)

    @property
    def _groups(self) -> int:
        return 1 if self.kv is None else self.kv.groups.count

    def follows(self, request: Request) -> bool:
        """Whether a member's window slides with the group's clock."""
        return request in self._modes

    def follow(self, request: Request) -> None:
        """All that a new member computed before it joined is settled now: from here on its window slides."""
        event = self._next_event(request)
        self._modes[request] = event
        heappush(self._events, (event, request.seat, request))

    def _next_event(self, request: Request) -> int:
        """When the next block with a name leaves the window; without names, when the window begins to slide."""
        begins = self.window - 1 - request.lead
        if not self._has_names(request):
            return max(begins, self.slid_clock)
        return begins + (request.window_start + 1) * self.block_size

    def _has_names(self, request: Request) -> bool:
        assert self.kv is not None
        named = request.output_name is not None or request.window_start < len(request.blocks)
        return self.kv.prefix_caching and named

    def _remainder(self, request: Request) -> int:
        return (self.window - 1 - request.lead) % self.block_size

    def slide_to(self, clock: int) -> None:
        """All tokens up to `clock` are settled: free what has left the windows.

        Of one tick, blocks with names come first, by seat; so the order does not depend on the ticks that are
        done at once.
        """
        kv = self.kv
        assert kv is not None
        events = self._events
        while events and events[0][0] <= clock:
            now = events[0][0]
            self._drop_until(now - 1)
            counted, unnamed = [], 0
            while events and events[0][0] == now:
                _, _, request = heappop(events)
                if self._modes.get(request) != now:
                    continue
                unnamed += kv.slide(request, request.lead + now)
                if self._has_names(request):
                    self._modes[request] = event = self._next_event(request)
                    heappush(events, (event, request.seat, request))
                else:
                    counted.append(request)
            kv.drop(unnamed)
            self._drop_until(now)
            for request in counted:
                self._modes[request] = _COUNTED
                self._leaving[self._remainder(request)] += 1
        self._drop_until(clock)

    def _drop_until(self, clock: int) -> None:
        """Free the blocks without names that leave the windows of counted members."""
        ticks = clock - self.slid_clock
        if ticks <= 0:
            return
        assert self.kv is not None
        cycles, rest = divmod(ticks, self.block_size)
        leaving, begin = self._leaving, (self.slid_clock + 1) % self.block_size
        blocks = cycles * sum(leaving) if cycles else 0
        blocks += sum(leaving[(begin + i) % self.block_size] for i in range(rest))
        self.slid_clock = clock
        self.kv.drop(blocks)
