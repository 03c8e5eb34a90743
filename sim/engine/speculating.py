"""Speculative decoding: a cheap model drafts some tokens, and the model checks them all in one step.

A request that decodes computes its newest token and `num_speculative_tokens` drafts in one step. Each draft is
accepted with the same chance, the first refusal ends it, and the step yields one token more than it accepted: on
average (1 - a^(k + 1)) / (1 - a). Source: Leviathan, Kalman, Matias, Fast Inference from Transformers via
Speculative Decoding, ICML 2023, equation 1, whose assumption of independent acceptances this is.

Steps then differ from request to request, so requests are scheduled one by one and no steps are skipped over.
"""

from dataclasses import dataclass
from typing import Any

from sim.engine.core import Engine
from sim.engine.plan import StepPlan
from sim.request import Request

_WORD = (1 << 64) - 1


@dataclass(frozen=True)
class Speculation:
    """How many tokens are drafted, and with which chance each is accepted."""

    num_speculative_tokens: int
    acceptance_rate: float
    seed: int = 0

    @property
    def mean_tokens(self) -> float:
        """Expected tokens of one step of one request."""
        k, a = self.num_speculative_tokens, self.acceptance_rate
        return k + 1.0 if a == 1.0 else (1.0 - a ** (k + 1)) / (1.0 - a)

    def accepted(self, request: Request, drafts: int) -> int:
        """How many of the drafts behind the request's tokens so far are accepted.

        A pseudo-random number that depends on the seed, the request and the place alone: so two variants, or
        a request that is preempted, see the same luck at the same place.
        """
        chance = _hash(self.seed + _hash(request.id + _hash(request.generated_tokens))) / (_WORD + 1.0)
        accepted, bound = 0, self.acceptance_rate
        while accepted < drafts and chance < bound:
            accepted += 1
            bound *= self.acceptance_rate
        return accepted


def _hash(value: int) -> int:
    """Sixty-four bits that look random (the finaliser of SplitMix64, Steele, Lea, Flood 2014)."""
    value = (value + 0x9E3779B97F4A7C15) & _WORD
    value = ((value ^ (value >> 30)) * 0xBF58476D1CE4E5B9) & _WORD
    value = ((value ^ (value >> 27)) * 0x94D049BB133111EB) & _WORD
    return value ^ (value >> 31)


class SpeculativeEngine(Engine):
    """An engine whose decoding requests have drafts to check; steps must not be decided ahead.

    Its policy must schedule `Request.draft_tokens` with the known ones, as vLLM V1's does.
    """

    __slots__ = ("speculation",)

    def __init__(self, *parts: Any, speculation: Speculation, **more: Any) -> None:
        more["group_decodes"] = False
        super().__init__(*parts, **more)
        self.speculation = speculation

    def sample(self, plan: StepPlan) -> list[Request]:
        """Give every request that computed all its known tokens what was accepted, and one token more.

        Drafts beyond the step's budget or the model's length were not computed; refused ones give their
        blocks back.
        """
        finished = []
        for request, new, _ in plan.chunks:
            drafts = request.computed_tokens - request.known_tokens
            if drafts < 0:
                continue
            gained = 1
            if drafts:
                most = request.output_tokens - request.generated_tokens
                gained = min(1 + self.speculation.accepted(request, drafts), most)
                self.kv.shrink(request, new - gained)
                plan.gained[request] = gained
            if self._note_tokens(plan, request, gained):
                finished.append(request)
                request.draft_tokens = 0
            else:
                request.draft_tokens = self.speculation.num_speculative_tokens
        return finished

    def preempt(self, request: Request, plan: StepPlan) -> int:
        """As any engine; the drafts are lost."""
        request.draft_tokens = 0
        return super().preempt(request, plan)
