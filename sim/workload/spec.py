"""Workload: a scenario's `workload:` section, and how it becomes a table of requests."""

import dataclasses
from collections.abc import Iterable
from functools import partial
from pathlib import Path
from typing import Annotated, Any, Self

import numpy as np
from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, model_validator

from sim.choice import Choice
from sim.errors import ScenarioError
from sim.quantity import Name, Seconds
from sim.streams import stream
from sim.workload.adapting import with_adapters
from sim.workload.answers import with_answers
from sim.workload.beams import with_beams
from sim.workload.content import Named
from sim.workload.conversations import converse
from sim.workload.fields import NonNegative, Positive
from sim.workload.giveup import GiveUp
from sim.workload.grid import spread, told_of_grid
from sim.workload.guess import FORMATS, no_bare_file
from sim.workload.mix import mixed
from sim.workload.points import MAX_REQUESTS, UserLoop
from sim.workload.prefixes.repeated_prompts import RepeatedPrompts
from sim.workload.retries import Retries
from sim.workload.sessions import SessionFile
from sim.workload.table import MAX_TOKENS, ONE_TENANT, ClosedLoop, Floats, Ints, RequestTable, rounded
from sim.workload.waiting import after_thinking

_SYNTHETIC = (
    "arrivals", "prompt_tokens", "output_tokens", "lengths", "requests", "duration", "prefix", "priorities",
    "tenants", "patience", "multi_turn", "sessions",
)  # fmt: skip


class Workload(BaseModel):
    """When requests arrive and how long they are: a `trace`, or `arrivals` with lengths and an end.

    A trace without times (sharegpt, weka, vllm_custom) has `arrivals` beside it, which start its sessions.
    Lengths are `prompt_tokens` and `output_tokens`, drawn apart, or `lengths`, drawn together. The end is
    `requests` (how many), `duration` (arrivals before that time) or whichever of both comes first.
    With `multi_turn` what arrives are sessions, of which `requests` ends the last early, and `sessions` counts them;
    lengths are what each turn adds to its prompt; prefix, priorities and tenants are drawn for each session.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True)

    trace: Annotated[Any, Choice(FORMATS), BeforeValidator(no_bare_file)] | None = None
    """A file of requests, by its format. E.g. `{csv: {path: monday.csv}}`."""
    arrivals: Annotated[Any, Choice("sim.workload.arrivals")] | None = None
    """A process that makes requests. E.g. `{poisson: {rate_per_s: 12}}`."""
    prompt_tokens: Annotated[Any, Choice("sim.workload.lengths")] | None = None
    """Lengths of the prompts; a bare number: all of them that long. E.g. `{lognormal: {mean: 800, p99: 4000}}`."""
    output_tokens: Annotated[Any, Choice("sim.workload.lengths")] | None = None
    """Lengths of the outputs; a bare number: all of them that long. E.g. `{lognormal: {mean: 200, p99: 800}}`."""
    lengths: Annotated[Any, Choice("sim.workload.pairs")] | None = None
    """Prompt and output drawn together, instead of apart. E.g. `{empirical: {path: lengths.csv}}`."""
    requests: Annotated[int, Field(ge=1, le=MAX_REQUESTS)] | None = None
    """How many requests arrive. E.g. `5000`."""
    duration: Annotated[Seconds, Field(gt=0)] | None = None
    """No more requests arrive after this time. E.g. `1h`."""
    sessions: Annotated[int, Field(ge=1, le=MAX_REQUESTS)] | None = None
    """With `multi_turn`, how many sessions arrive. E.g. `500`."""
    multi_turn: Annotated[Any, Choice("sim.workload.multi_turn")] | None = None
    """Sessions whose every turn waits for the answer before and repeats what was said; default: single requests. E.g.
    `{chat: {turns: {uniform: {low: 2, high: 8}}, think_time: {exponential: {mean: 20s}}}}`."""
    prefix: Annotated[Any, Choice("sim.workload.prefixes")] | None = None
    """What prompts have in common; default: nothing. E.g. `{shared_prefix: {groups: 10, shared_tokens: 1024}}`."""
    priorities: Annotated[dict[int, Positive], Field(min_length=1)] | None = None
    """Priority value -> weight; lower values are more urgent. E.g. `{0: 1, 1: 9}`."""
    tenants: Annotated[dict[Name, Positive], Field(min_length=1)] | None = None
    """Tenant -> weight: whose request each one is. E.g. `{web: 3, batch: 1}`."""
    patience: Annotated[Any, Choice("sim.workload.patience")] | None = None
    """When clients cancel their requests; default: never. E.g. `{exponential: {mean: 20s}}`."""
    adapters: Annotated[Any, Choice("sim.workload.adapters")] | None = None
    """Which LoRA adapter each request (each session) wants, of a trace too; default: the trace's, or none. E.g.
    `{zipf: {count: 32}}`."""
    n: Annotated[int, Field(ge=1, le=1000)] = 1
    """Answers to each prompt (OpenAI's and vLLM's n): requests that share their prompt's KV blocks. E.g. `4`."""
    beam_width: Annotated[int, Field(ge=1, le=1000)] = 1
    """Beams of a search for each answer, as vLLM does it: rounds of one-token requests; 1: no search. E.g. `4`."""
    retries: Retries | None = None
    """Clients that are turned away (by `cluster.admission`, or since nobody serves) try again; default: they do not.
    E.g. `{max_attempts: 5, first_delay: 1s}`."""
    prediction_error: NonNegative = 0.0
    """How wrong schedulers guess output lengths: the standard deviation of ln(guess / truth); 0: they know. E.g.
    `0.5`."""
    mix: Annotated[dict[Name, "Workload"], Field(min_length=1)] | None = None
    """Several workloads at once, beside them only load: and retries:; the requests of each are a tenant's of its name.
    E.g. `{chat: {trace: {csv: {path: chat.csv}}}, batch: {trace: {csv: {path: batch.csv}}}}`."""
    load: Positive = 1.0
    """Everything arrives so many times as fast; `servecast capacity` turns this knob. E.g. `2.0`."""

    @model_validator(mode="after")
    def _one_whole_story(self) -> Self:
        if self.mix is not None:
            beside = sorted(self.model_fields_set - {"mix", "load", "retries"}, key=[*type(self).model_fields].index)
            changed = [name for name in beside if getattr(self, name) != type(self).model_fields[name].default]
            if changed:
                raise ValueError(f"{changed[0]} beside mix: says nothing of which workload; give it to one of them")
            for name, part in self.mix.items():
                if part.retries is not None:
                    raise ValueError(f"mix.{name}.retries: all clients try again alike; give retries: beside mix")
            return self
        if self.load != 1.0 and isinstance(self.arrivals, UserLoop):
            raise ValueError("a closed loop's rate follows from its users and think time: change these, not load:")
        self._check_beams()
        given = [name for name in _SYNTHETIC if getattr(self, name) is not None]
        if isinstance(self.trace, SessionFile):
            return self._check_sessions([name for name in given if name not in ("arrivals", "requests", "duration")])
        if self.trace is not None:
            if given:
                raise ValueError(f"a trace brings its own requests, so {given[0]} cannot be given with it; remove one")
            return self
        if self.arrivals is None:
            raise ValueError(
                "give trace: (a file of requests), arrivals: (a process that makes them), or mix: (several workloads)"
            )
        self._check_lengths()
        self._check_end()
        return self

    def _check_beams(self) -> None:
        if self.beam_width == 1:
            return
        if self.n > 1 or self.prediction_error:
            raise ValueError(
                f"beam_width with {'n' if self.n > 1 else 'prediction_error'} is not modelled; leave it out"
            )
        for name in ("multi_turn", "patience"):
            if getattr(self, name) is not None:
                raise ValueError(f"beam_width with {name} is not modelled; leave out one of them")
        if isinstance(self.trace, SessionFile):
            raise ValueError("beam_width with sessions of a trace is not modelled; leave it out")

    def _check_end(self) -> None:
        if self.sessions is not None and self.multi_turn is None:
            raise ValueError("sessions counts those of multi_turn:, which is missing; give it, or requests:")
        counted = self.requests is not None or self.sessions is not None
        if isinstance(self.arrivals, UserLoop):
            if self.n > 1:
                raise ValueError("users of a closed loop send one request at a time, so n must be 1")
            if not counted or self.duration is not None:
                raise ValueError("a closed loop sends requests as answers come, so it ends by requests:, not duration:")
        elif not counted and self.duration is None:
            raise ValueError("arrivals need an end; give requests: (how many) or duration: (how long), or both")

    def _check_sessions(self, excess: list[str]) -> Self:
        if excess:
            raise ValueError(f"a trace brings its own requests, so {excess[0]} cannot be given with it; remove one")
        if self.arrivals is None:
            raise ValueError("this trace has no arrival times; give arrivals: beside it, which start its sessions")
        if isinstance(self.arrivals, UserLoop):
            raise ValueError("sessions of a trace cannot be sent by a closed loop; give an open one, such as poisson")
        return self

    def _check_lengths(self) -> None:
        apart = [name for name in ("prompt_tokens", "output_tokens") if getattr(self, name) is not None]
        if self.lengths is not None:
            if apart:
                raise ValueError(f"lengths draws prompts and outputs together, so {apart[0]} cannot be given too")
            if isinstance(self.prefix, RepeatedPrompts):
                raise ValueError(
                    "repeated_prompts replaces prompts and would part them from their outputs; "
                    "give prompt_tokens: and output_tokens: in place of lengths:"
                )
        elif len(apart) < 2:
            missing = "output_tokens" if "prompt_tokens" in apart else "prompt_tokens"
            raise ValueError(f"{missing} is missing; give both lengths, or lengths: for pairs drawn together")

    def table(self, seed: int, base_dir: Path) -> RequestTable:
        """The requests: read from the trace, or drawn from streams of `seed`; paths start at `base_dir`.

        The same seed gives the same bytes. Raises TraceError for a row of a file that cannot be used, and
        ScenarioError for a workload without requests.
        """
        table = self._table(seed, base_dir)
        if self.beam_width > 1:
            table = with_beams(table, self.beam_width, stream(seed, "workload.beams"))
        return table if self.load == 1.0 else dataclasses.replace(table, arrival_s=rounded(table.arrival_s / self.load))

    def _table(self, seed: int, base_dir: Path) -> RequestTable:
        if self.mix is not None:
            seeds = {name: int(stream(seed, f"workload.mix.{name}").integers(1 << 62)) for name in self.mix}
            return mixed({name: part.table(seeds[name], base_dir) for name, part in self.mix.items()})
        if isinstance(self.trace, SessionFile):
            table = self._adapted(self._session_table(_located(self.trace, base_dir), seed), seed)
            return self._predicted(table if self.n == 1 else with_answers(table, self.n, None), seed)
        if self.trace is not None:
            table = self._adapted(self._timed_table(_located(self.trace, base_dir), seed), seed)
            return self._predicted(table if self.n == 1 else with_answers(table, self.n, None), seed)
        starts_s, loop = self._arrivals(seed)
        count = len(starts_s)
        if count == 0:
            raise ScenarioError("workload: no request arrives within the duration; lengthen it, or raise the rate")
        draw = self._single if self.multi_turn is None else self._sessions
        columns = draw(seed, count, base_dir)
        of = columns.pop("rows")
        gives_up = GiveUp() if self.patience is None else self.patience.draw(stream(seed, "workload.patience"), len(of))
        tenant = self._tenants(seed, count)
        table = RequestTable(
            arrival_s=starts_s[of],
            priority=self._priorities(seed, count)[of],
            closed_loop=loop and ClosedLoop(loop.users, loop.think_s[of]),
            tenant=None if tenant is None else tenant[of],
            tenants=tuple(self.tenants or (ONE_TENANT,)),
            cancel_after_s=gives_up.after_s,
            cancel_after_tokens=gives_up.after_tokens,
            source="synthetic",
            **columns,
        )
        table.check()
        table = self._adapted(table, seed)
        if self.n > 1:
            drawn = None
            if self.output_tokens is not None:
                lengths = _located(self.output_tokens, base_dir)
                drawn = lengths.draw(stream(seed, "workload.output_tokens"), len(table) * self.n)
            table = with_answers(table, self.n, drawn)
        return self._predicted(table, seed)

    def _share(self, seed: int, prompt_tokens: Ints) -> Named:
        if self.prefix is None:
            return Named(prompt_tokens, None)
        named: Named = self.prefix.share(stream(seed, "workload.prefix"), prompt_tokens)
        return named

    def _single(self, seed: int, count: int, base_dir: Path) -> dict[str, Any]:
        """Columns of single requests, and the arrival that each row belongs to."""
        prompts, outputs = self._lengths(seed, count, base_dir)
        named = self._share(seed, prompts)
        columns = {"prompt_tokens": named.prompt_tokens, "output_tokens": outputs, "segments": named.segments}
        return columns | {"rows": np.arange(count)}

    def _sessions(self, seed: int, count: int, base_dir: Path) -> dict[str, Any]:
        """Columns of all that `count` sessions send, and the session that each row belongs to."""
        kind = _located(self.multi_turn, base_dir)
        plan = kind.plan(lambda purpose: stream(seed, f"workload.multi_turn.{purpose}"), count)
        prompts, outputs = self._lengths(seed, len(plan.session), base_dir)
        share = partial(self._share, seed)
        found = converse(plan, prompts, outputs, share, kind.max_context_tokens, self.requests)
        rows = found.rows
        if len(rows) == 0:
            raise ScenarioError("workload: max_context_tokens leaves no session a first turn; raise it")
        return {
            "rows": plan.session[rows],
            "prompt_tokens": found.prompt_tokens,
            "output_tokens": outputs[rows],
            "segments": found.segments,
            "output_names": found.output_names,
            "sessions": plan.session[rows],
            "turns": plan.turn[rows],
            "pause_s": plan.pause_s[rows],
        }

    def _timed_table(self, trace: Any, seed: int) -> RequestTable:
        table: RequestTable = trace.read()
        if getattr(trace, "wait", False) and table.turns is None:
            if trace.think_time is None:
                raise ScenarioError(
                    f"workload: {table.source} does not tell how long after an answer the next turn is sent; "
                    "give think_time: to the trace, or leave wait: out"
                )
            table = after_thinking(table, trace.think_time, stream(seed, "workload.think_time"))
        jitter = getattr(trace, "jitter", None)
        return told_of_grid(table) if jitter is None else spread(table, jitter, stream(seed, "workload.jitter"))

    def _session_table(self, trace: SessionFile, seed: int) -> RequestTable:
        sessions = trace.read_sessions()
        starts = min(sessions.count, self.requests or sessions.count)
        open_loop: Any = self.arrivals
        starts_s: Floats = open_loop.times(stream(seed, "workload.arrivals"), starts, self.duration)
        return sessions.table(starts_s, self.requests, self.duration)

    def _arrivals(self, seed: int) -> tuple[Floats, ClosedLoop | None]:
        """When requests, or sessions, arrive; with sessions, more than `requests` allows perhaps."""
        rng = stream(seed, "workload.arrivals")
        count = min((most for most in (self.requests, self.sessions) if most is not None), default=None)
        if isinstance(self.arrivals, UserLoop):
            assert count is not None  # the validator saw to it
            return np.zeros(count), ClosedLoop(self.arrivals.users, self.arrivals.think_times(rng, count))
        open_loop: Any = self.arrivals
        times: Floats = open_loop.times(rng, count, self.duration)
        return times, None

    def _lengths(self, seed: int, count: int, base_dir: Path) -> tuple[Ints, Ints]:
        if self.lengths is not None:
            prompts, outputs = _located(self.lengths, base_dir).draw_pairs(stream(seed, "workload.lengths"), count)
            return prompts, outputs
        prompts, outputs = (
            _located(lengths, base_dir).draw(stream(seed, f"workload.{name}"), count)
            for name, lengths in (
                ("prompt_tokens", self.prompt_tokens),
                ("output_tokens", self.output_tokens),
            )
        )
        return prompts, outputs

    def _priorities(self, seed: int, count: int) -> Ints:
        if self.priorities is None:
            return np.zeros(count, dtype=np.int64)
        picked = _picked(stream(seed, "workload.priorities"), self.priorities.values(), count)
        drawn: Ints = np.array(list(self.priorities))[picked].astype(np.int64)
        return drawn

    def _tenants(self, seed: int, count: int) -> Ints | None:
        if self.tenants is None:
            return None
        return _picked(stream(seed, "workload.tenants"), self.tenants.values(), count)

    def _adapted(self, table: RequestTable, seed: int) -> RequestTable:
        return (
            table if self.adapters is None else with_adapters(table, self.adapters, stream(seed, "workload.adapters"))
        )

    def _predicted(self, table: RequestTable, seed: int) -> RequestTable:
        """The table with predicted output lengths: log-normal around the true ones, right in the median.

        One draw per request whatever the error, so that a larger one is the same guesses, further off.
        """
        if not self.prediction_error:
            return table
        if table.predicted_tokens is not None:
            raise ScenarioError(
                f"workload: {table.source} brings its own predicted_tokens, so prediction_error cannot be given; "
                "remove one"
            )
        off = np.exp(self.prediction_error * stream(seed, "workload.prediction").standard_normal(len(table)))
        guesses = np.clip(np.rint(table.output_tokens * off), 1, MAX_TOKENS).astype(np.int64)
        return dataclasses.replace(table, predicted_tokens=guesses)


def _picked(rng: np.random.Generator, weights: Iterable[float], count: int) -> Ints:
    """i8[count] of indices, each with a chance in proportion to its weight."""
    shares = np.array(list(weights))
    picked: Ints = rng.choice(len(shares), size=count, p=shares / shares.sum())
    return picked


def _located(choice: Any, base_dir: Path) -> Any:
    """The same choice with its `path`, if it has one, made to start at `base_dir`; so for choices inside it."""
    found: dict[str, Any] = {}
    for field in dataclasses.fields(choice):
        value = getattr(choice, field.name)
        if field.name == "path" and value is not None:
            found["path"] = str(base_dir / Path(value).expanduser())
        elif dataclasses.is_dataclass(value):
            found[field.name] = _located(value, base_dir)
    return dataclasses.replace(choice, **found) if found else choice
