"""Engines of models whose layers see a window: the same rules, and what leaves the windows as time goes on.

Blocks leave when the step that read them last has ended: before the next is decided, and after the finished are
freed, as in vLLM. There each request's leave when it is its turn to be scheduled, which differs only in a step in
which memory is so short that somebody is preempted.
"""

from typing import Any, cast

from sim.engine.core import Engine
from sim.engine.plan import StepPlan
from sim.engine.speculating import SpeculativeEngine
from sim.engine.windowed_decoders import WindowedDecodeGroup
from sim.kvcache._hybrid import HybridKVCache
from sim.request import Request


class WindowedEngine(Engine):
    """An engine of a model some of whose layers see only the newest `window` tokens.

    Its KV cache may be a hybrid one, which frees what no layer sees, or any other, which keeps all.
    """

    __slots__ = ()

    def __init__(self, *parts: Any, window: int, **more: Any) -> None:
        super().__init__(*parts, **more)
        kv = self.kv if isinstance(self.kv, HybridKVCache) else None
        self.decoders = WindowedDecodeGroup(self.limits.block_size, self.kv.grows, window, kv)

    @property
    def _group(self) -> WindowedDecodeGroup:
        return cast(WindowedDecodeGroup, self.decoders)

    def schedule(self, window_over: bool = False) -> StepPlan:
        """Decide the next step, and say what it sees."""
        plan = super().schedule(window_over)
        plan.window = self._group.window
        return plan

    def schedule_decodes(self, plan: StepPlan) -> None:
        """Schedule one token for every member of the decode group."""
        super().schedule_decodes(plan)
        plan.window_tokens, plan.window_growing = self._group.window_tokens, self._group.growing

    def steady_steps(self, plan: StepPlan) -> int:
        """The same, until what somebody sees, or who gives back blocks, changes its law."""
        steps = super().steady_steps(plan)
        if steps == 1 or self.leaving or any(earlier.chunks for earlier in self.under_way):
            return 1  # when those land, windows slide
        if self._group.kv is not None and self.waiting and self.has_seat:
            return 1  # what leaves the windows could let the head of the queue in
        alike = self._group.ticks_alike
        if alike is not None:
            steps = min(steps, alike)
        rows, window = plan.padding_decodes, self._group.window
        if rows and plan.padding_context_tokens < rows * window:
            steps = min(steps, max(1, window - plan.padding_context_tokens // rows))
        return steps

    def repeat(self, steps: int, done: int = 1) -> None:
        """Schedule the decode steps that follow the planned one, each after the one before it has landed."""
        super().repeat(steps, done)
        if steps > done and self._group.kv is not None:
            self._group.slide_to(self._settled_clock() + steps - 1)

    def land(self, plan: StepPlan, finished: list[Request]) -> None:
        """The oldest step under way has ended: its tokens are known, the finished leave, and windows slide."""
        super().land(plan, finished)
        group, kv = self._group, self._group.kv
        if kv is None:
            return
        clock = self._settled_clock()
        group.slide_to(clock)
        for request, new, before in plan.chunks:
            if request not in self.running or request.generated_tokens == request.output_tokens:
                continue  # all that it has is freed with it
            if group.follows(request):
                continue
            settled = before + plan.gained.get(request, new)
            kv.drop(kv.slide(request, settled))
            if request not in self.prefilling and request.lead + clock == settled:
                group.follow(request)

    def _settled_clock(self) -> int:
        """The decode group's clock after the last step that has ended."""
        return self.decoders.clock - sum(1 for plan in self.under_way if plan.decodes)

    def _in_memory(self, tokens: int) -> int:
        """The same, once for each group of layers that keeps them."""
        kv = self._group.kv
        return super()._in_memory(tokens) if kv is None else kv.tokens_in_blocks(tokens)

    def check(self) -> None:
        """As any engine."""
        for request in self.running:
            if self.decodes(request):
                self._group.note_window(request)
        super().check()


class WindowedSpeculativeEngine(WindowedEngine, SpeculativeEngine):
    """The same with drafts to check."""

    __slots__ = ()
