"""What the host does for a step: launching kernels, one by one or as a graph, and the work around them."""

from collections.abc import Callable

import numpy as np
import torch

from calibrate.gpu.bench import BLOCK_SIZE, Bench, Candidate
from calibrate.gpu.errors import UnavailableError
from calibrate.gpu.planfile import PlanPoint
from calibrate.gpu.timing import Call, capture

_TINY = 16
_LONGEST_TOKENS = 4096
_CHECKED_STEPS = 3


def launch_candidates(point: PlanPoint, bench: Bench) -> list[Candidate]:
    """m kernels that do next to nothing, from the first launch until all are done."""
    m, as_graph = point.number("m"), point.op == "launch_graph"

    def kernels(count: int) -> tuple[Call, torch.Tensor]:
        """(a call that adds one, count times; what it adds to)"""
        total = torch.zeros(_TINY, device=bench.device)
        one = torch.ones(_TINY, device=bench.device)

        def run() -> None:
            for _ in range(count):
                total.add_(one)

        if not as_graph:
            return run, total
        if not bench.cuda:
            raise UnavailableError("only a GPU has CUDA graphs")
        run()
        torch.cuda.synchronize()
        graph = capture([run], torch.cuda.current_stream())
        total.zero_()
        return graph.replay, total

    def prepare() -> Call:
        return kernels(m)[0]

    def check() -> float:
        run, total = kernels(5)
        run()
        return abs(float(total.mean().item()) - 5) / 5

    return [Candidate("add", prepare, check, (point.op,), graph=False, host=True, hot=True)]


def step_candidates(point: PlanPoint, bench: Bench) -> list[Candidate]:
    """A decode step of m sequences without the model: see `HostStep`."""
    m = point.number("m")

    def prepare() -> Call:
        return HostStep(bench, m).run

    def check() -> float:
        """The share of tokens, after some steps, that are not what the device was given plus one each
        step."""
        step = HostStep(bench, 5)
        first = list(step.tokens)
        for _ in range(_CHECKED_STEPS):
            step.run()
        wrong = sum(now != before + _CHECKED_STEPS for now, before in zip(step.tokens, first, strict=True))
        return wrong / len(first)

    return [Candidate("numpy", prepare, check, ("host_step",), graph=False, host=True, hot=True)]


class HostStep:
    """What a serving loop in Python does around the model's kernels, for m sequences that decode.

    Advance every sequence and give it a new block where it needs one; write token, position, slot and length
    into pinned arrays; copy them and the block table to the device; launch one kernel (each token plus one,
    in place of the model); copy the tokens back, wait, and append them.
    """

    def __init__(self, bench: Bench, sequences: int) -> None:
        self._cuda, device = bench.cuda, bench.device
        most = _LONGEST_TOKENS // BLOCK_SIZE
        self._host = self._pinned(4, sequences)
        self._table = self._pinned(sequences, most)
        self._view, self._table_view = self._host.numpy(), self._table.numpy()
        self._device = torch.zeros(4, sequences, dtype=torch.int64, device=device)
        self._device_table = torch.zeros(sequences, most, dtype=torch.int64, device=device)
        self._sampled = torch.zeros(sequences, dtype=torch.int64, device=device)
        self._back = self._pinned(sequences)
        self.lengths = [int(n) for n in bench.rng.integers(1, _LONGEST_TOKENS // 2, size=sequences)]
        self.tokens = [int(n) for n in bench.rng.integers(1, 30000, size=sequences)]
        self._blocks: list[list[int]] = [[] for _ in range(sequences)]
        self._outputs: list[list[int]] = [[] for _ in range(sequences)]
        self._next_block = 0

    def _pinned(self, *shape: int) -> torch.Tensor:
        return torch.zeros(shape, dtype=torch.int64, pin_memory=self._cuda)

    def run(self) -> None:
        """One step."""
        slots = []
        for place, blocks in enumerate(self._blocks):
            length = self._seat(place)
            slots.append(blocks[length // BLOCK_SIZE] * BLOCK_SIZE + length % BLOCK_SIZE)
        self._view[:] = np.array((self.tokens, self.lengths, slots, [n + 1 for n in self.lengths]))
        self._device.copy_(self._host, non_blocking=True)
        self._device_table.copy_(self._table, non_blocking=True)
        torch.add(self._device[0], 1, out=self._sampled)
        self._back.copy_(self._sampled, non_blocking=True)
        if self._cuda:
            torch.cuda.current_stream().synchronize()
        self.tokens = self._back.tolist()
        for place, token in enumerate(self.tokens):
            self._outputs[place].append(token)
            self.lengths[place] += 1

    def _seat(self, place: int) -> int:
        """Make sure of a block for one more token; the length before it. At the end a sequence begins
        again."""
        blocks = self._blocks[place]
        if self.lengths[place] == _LONGEST_TOKENS:
            self.lengths[place] = 0
            self._outputs[place].clear()
            blocks.clear()
        while len(blocks) * BLOCK_SIZE <= self.lengths[place]:
            self._table_view[place, len(blocks)] = self._next_block
            blocks.append(self._next_block)
            self._next_block += 1
        return self.lengths[place]


Candidates = Callable[[PlanPoint, Bench], list[Candidate]]
OPS: dict[str, Candidates] = {
    "launch_eager": launch_candidates,
    "launch_graph": launch_candidates,
    "host_step": step_candidates,
}
