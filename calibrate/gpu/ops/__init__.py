"""How each operation of a plan is run: per op, the kernels that may run it."""

from collections.abc import Callable

from calibrate.gpu.bench import Bench, Candidate
from calibrate.gpu.ops import copies, decode, elementwise, gemm, grouped, host, prefill, sampling
from calibrate.gpu.planfile import PlanPoint

COLLECTIVES = ("all_reduce", "all_gather", "send_recv")
"""Measured by several processes; see calibrate/gpu/collectives.py."""

OPS: dict[str, Callable[[PlanPoint, Bench], list[Candidate]]] = {
    "gemm": gemm.candidates,
    "grouped_gemm": grouped.candidates,
    "attention_prefill": prefill.candidates,
    "attention_decode": decode.candidates,
    "sampling": sampling.candidates,
    "copy_d2d": copies.candidates,
    "copy_h2d": copies.candidates,
    "copy_d2h": copies.candidates,
    **host.OPS,
    **dict.fromkeys(elementwise.OPS, elementwise.candidates),
}
"""op -> the kernels that may run one of its points, the one that an engine would use first."""
