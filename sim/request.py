"""The request: the one noun that every room passes around."""

from collections.abc import Hashable
from math import inf, nan
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from sim.kvcache.paged import CachedRun

Segments = tuple[tuple[Hashable, int], ...]
"""What a prompt holds: the first `length` tokens of each named segment, one after another.

Two tokens are equal if and only if their segment's name and their offset in it are."""


NO_ADAPTER = -1
"""The adapter of a request that wants the model as it is."""


class Request:
    """One prompt to be read and one answer to be written, with its progress so far.

    Times end in `_s` (virtual seconds, NaN until they happen); lengths are in tokens. `output_tokens`
    is exact: the request stops when it has generated that many.

    While a request decodes in step with the others its counters are kept by the engine's
    `DecodeGroup`, and `computed_tokens` and `generated_tokens` here are settled when it leaves.
    """

    __slots__ = (
        "adapter", "arrival_s", "block_keys", "blocks", "cached_tokens", "computed_tokens", "draft_tokens", "ends_as",
        "finish_s", "first_token_s", "generated_tokens", "high_water_tokens", "holder", "id", "keyed_tokens",
        "last_token_s", "lead", "measured", "output_name", "output_tokens", "patience_s", "pending_tokens",
        "predicted_tokens", "preemptions", "priority", "private_run", "prompt_tokens", "queued_s",
        "recomputed_tokens", "requeues", "scheduled_s", "seat", "segments", "session", "tenant", "window_start",
    )  # fmt: skip

    def __init__(
        self,
        id: int,
        arrival_s: float,
        prompt_tokens: int,
        output_tokens: int,
        priority: int = 0,
        segments: Segments | None = None,
        output_name: Hashable | None = None,
        measured: bool = True,
        tenant: int = 0,
        predicted_tokens: int | None = None,
        patience_s: float = inf,
        session: int = -1,
    ) -> None:
        self.id = id
        self.arrival_s = arrival_s
        self.prompt_tokens = prompt_tokens
        self.output_tokens = output_tokens
        self.predicted_tokens = output_tokens if predicted_tokens is None else predicted_tokens  # for orders
        self.priority = priority
        self.tenant = tenant  # whose request it is, as an index
        self.session = session  # requests of one session share this number; -1: of none
        self.adapter = NO_ADAPTER  # which LoRA adapter it wants, as an index
        self.segments = segments
        self.output_name = output_name  # set when a later prompt repeats this request's output
        self.measured = measured
        self.patience_s = patience_s  # its client waits so long for the whole answer
        self.ends_as = "finished"  # what it is when its last token is there: "cancelled" if more was to come
        # progress
        self.computed_tokens = 0  # tokens whose KV is present, or is being written by the current step
        self.generated_tokens = 0  # those of steps still under way included
        self.pending_tokens = 0  # of these, the ones whose step is under way, so that nobody knows them yet
        self.keyed_tokens = 0  # computed tokens that were known: the full blocks of these have a key
        self.draft_tokens = 0  # guesses behind the known tokens, to be computed and checked with them
        self.cached_tokens = 0  # tokens that a prefix hit spared
        self.recomputed_tokens = 0
        self.high_water_tokens = 0  # the most tokens ever computed before a preemption
        self.preemptions = 0
        self.requeues = 0  # times that the replica which had it crashed
        self.holder: Any = None  # who can give it up: the gateway, or a replica
        self.seat = -1  # rank of the latest admission; the running list is in this order
        self.lead = 0  # in the decode group: computed tokens minus the group's clock
        # KV content
        self.blocks: list[Any] = []  # held blocks whose content has a name others may hit, as the cache keeps them
        self.window_start = 0  # blocks of its beginning that layers with a sliding window have given back
        self.block_keys: dict[int, list[int]] | None = None  # keys of all nameable full blocks, by block size
        self.private_run: CachedRun | None = None  # own unnamed blocks left in the cache by a preemption
        # times
        self.queued_s = nan  # when it reached an engine's queue
        self.scheduled_s = nan
        self.first_token_s = nan
        self.last_token_s = nan
        self.finish_s = nan

    @property
    def known_tokens(self) -> int:
        """Prompt plus tokens generated so far: all that the next step could attend to."""
        return self.prompt_tokens + self.generated_tokens

    def __repr__(self) -> str:
        return f"Request({self.id}, prompt={self.prompt_tokens}, output={self.output_tokens})"
