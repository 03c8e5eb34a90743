"""What the reference engine noted: every step and every request, and the CSV files of both."""

import csv
import io
from dataclasses import astuple, dataclass, fields
from math import nan
from pathlib import Path

from sim.models import BatchShape
from sim.request import Request


@dataclass(frozen=True)
class StepRow:
    """One step. Times in seconds since the first request could arrive.

    start_s: the end of the step before, or the arrival that woke the idle engine; end_s: its tokens are with
    the host. device_s: the forward pass; launch_s: of that, the host launching it. work: what was computed,
    as "request:new@before" for every scheduled request; preempted, finished: requests.
    """

    start_s: float
    end_s: float
    device_s: float
    launch_s: float
    prefills: int
    prefill_tokens: int
    decodes: int
    decode_context_tokens: int
    sampled: int
    running: int
    waiting: int
    kv_used_blocks: int
    work: str
    preempted: str
    finished: str

    @property
    def duration_s(self) -> float:
        """Seconds of the whole step."""
        return self.end_s - self.start_s

    @property
    def host_s(self) -> float:
        """Seconds of it in which no forward pass was under way."""
        return self.duration_s - self.device_s


@dataclass(frozen=True)
class RequestRow:
    """One request; latencies as `vllm bench serve` defines them, tpot_s is NaN where there is one token."""

    id: int
    arrival_s: float
    prompt_tokens: int
    output_tokens: int
    ttft_s: float
    tpot_s: float
    e2e_s: float
    preemptions: int

    @classmethod
    def of(cls, request: Request) -> "RequestRow":
        """The row of a finished request."""
        gaps = request.output_tokens - 1
        decoding_s = request.finish_s - request.first_token_s
        return cls(
            request.id,
            request.arrival_s,
            request.prompt_tokens,
            request.output_tokens,
            request.first_token_s - request.arrival_s,
            decoding_s / gaps if gaps else nan,
            request.finish_s - request.arrival_s,
            request.preemptions,
        )


@dataclass(frozen=True)
class ServingLog:
    """Of one schedule: its steps, its requests in the order of arrival, their answers, and their shapes."""

    steps: list[StepRow]
    shapes: list[BatchShape]
    requests: list[RequestRow]
    answers: list[list[int]]

    def write(self, folder: Path, name: str) -> None:
        """Write NAME_steps.csv and NAME_requests.csv."""
        for kind, rows in (("steps", self.steps), ("requests", self.requests)):
            text = io.StringIO()
            writer = csv.writer(text, lineterminator="\n")
            row_type = StepRow if kind == "steps" else RequestRow
            writer.writerow(field.name for field in fields(row_type))
            writer.writerows(map(astuple, rows))
            (folder / f"{name}_{kind}.csv").write_text(text.getvalue(), encoding="utf-8")
