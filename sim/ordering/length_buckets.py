"""Requests of like length together: less padding and fewer stragglers in a batch."""

from bisect import bisect_left
from dataclasses import dataclass
from itertools import pairwise
from typing import Annotated, Literal

from pydantic import Field

from sim.engine import Engine
from sim.engine.waiting import KeyQueue
from sim.request import Request

Length = Annotated[int, Field(ge=1)]


@dataclass(frozen=True)
class LengthBuckets:
    """Groups of `group` requests of one bucket, each group in the place of the one that began it.

    `edges` are the upper bounds of all buckets but the last, in tokens of `by`: the prompt, the predicted answer,
    or both together (total). Arrivals of a bucket fill its open group, and the next begins a new one; groups go
    first come, first served by their first member. So nobody starves: whoever is overtaken is overtaken by at
    most group - 1 requests of every other bucket. With `group` as large as the batch this is multi-bin
    batching (Guldogan et al., arXiv:2412.04504), but that an incomplete group is not waited for.

       arrivals  s1 L1 s2 L2 s3 s4    group: 3
       order     s1 s2 s3 L1 L2 s4

    The latest admitted is preempted first; it then goes by its own arrival.
    """

    edges: Annotated[tuple[Length, ...], Field(min_length=1)]
    """Upper bounds of all buckets but the last, in tokens. E.g. `[128, 512]`."""
    group: Annotated[int, Field(ge=1)] = 32
    """Requests of one bucket that go together."""
    by: Literal["prompt", "answer", "total"] = "answer"
    """What is measured: the prompt, the predicted answer, or both."""

    def __post_init__(self) -> None:
        if any(low >= high for low, high in pairwise(self.edges)):
            raise ValueError(f"edges must rise, and {', '.join(map(str, self.edges))} do not")

    def bucket(self, request: Request) -> int:
        """Which bucket a request is in, from 0."""
        answer = 0 if self.by == "prompt" else request.predicted_tokens
        prompt = 0 if self.by == "answer" else request.prompt_tokens
        return bisect_left(self.edges, prompt + answer)

    def queue(self, engine: Engine) -> KeyQueue:
        """The queue of one replica."""
        return KeyQueue(_Groups(self).key)

    def victim(self, running: list[Request]) -> Request:
        """The last of the running list."""
        return running[-1]


class _Groups:
    """The open group of every bucket: its first member, and how many places are left."""

    def __init__(self, order: LengthBuckets) -> None:
        self._order = order
        self._open: dict[int, tuple[float, int, int]] = {}

    def key(self, request: Request) -> tuple[float, ...]:
        """Order by the first member of the group, then arrival, then id."""
        if request.seat >= 0:
            return (request.arrival_s, request.id, request.arrival_s, request.id)
        bucket = self._order.bucket(request)
        arrival_s, first, left = self._open.get(bucket, (0.0, 0, 0))
        if not left:
            arrival_s, first, left = request.arrival_s, request.id, self._order.group
        self._open[bucket] = (arrival_s, first, left - 1)
        return (arrival_s, first, request.arrival_s, request.id)
