"""Collectives between several GPUs: one process per GPU, NCCL; between processes on one CPU, Gloo.

The processes are started once per number of ranks and measure all of its points, cheap as they are. Rank 0
writes each result as a line as soon as it is there, so that nothing is lost if a later point hangs.
"""

import json
import multiprocessing
import os
import signal
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import torch
import torch.distributed as dist

from calibrate.gpu.planfile import PlanPoint
from calibrate.gpu.timing import Timing, capture, first_line, summary

START_S = 30.0
"""Seconds that starting the processes may take; no group is begun with less time left."""
_POINT_S = 1.0
_SEND_RANKS = 2
_BUFFERS = 4
_SAMPLES = 15
_SAMPLE_S = 5e-4
_MOST_CALLS = 50
_TOLERANCE = 0.02
_CHECKED = 1000
Result = tuple[PlanPoint, str, Timing | None, str]
Run = Callable[[torch.Tensor], object]


def ranks_of(point: PlanPoint) -> int:
    """Processes that a point needs."""
    return _SEND_RANKS if point.op == "send_recv" else point.number("ranks")


def kernel(device: torch.device) -> str:
    """The library that measures, as the column `kernel` names it."""
    return "nccl" if device.type == "cuda" else "cpu_gloo"


def unavailable(device: torch.device, ranks: int) -> str:
    """Why there are not that many ranks; empty if there are."""
    if not dist.is_available():
        return "this torch was built without torch.distributed"
    if device.type == "cuda":
        count = torch.cuda.device_count()
        return "" if count >= ranks else f"needs {ranks} GPUs, and there are {count}"
    count = os.cpu_count() or 1
    return "" if count >= ranks else f"needs {ranks} processors, and there are {count}"


def measure(points: list[PlanPoint], device: torch.device, ranks: int, limit_s: float) -> list[Result]:
    """Every point's result; those that the processes did not get to within limit_s are missing.

    Processes that hang are given up after a while, which is the failure of the point that they were at.
    """
    jobs = [(point.op, point.number("bytes")) for point in points]
    patience_s = START_S + _POINT_S * len(jobs)
    with tempfile.TemporaryDirectory() as folder:
        why = _spawn(Path(folder), device, ranks, jobs, min(limit_s, patience_s))
        if patience_s < limit_s:
            why = why or f"no answer within {patience_s:.0f} s"
        file = Path(folder, "results")
        lines = file.read_text(encoding="utf-8").splitlines() if file.exists() else []
    found = [json.loads(line) for line in lines]
    results: list[Result] = []
    for point, (status, timing, note) in zip(points, found, strict=False):
        results.append((point, status, Timing(**timing) if timing else None, note))
    if why and len(results) < len(points):
        results.append((points[len(results)], "failed", None, why))
    return results


def _spawn(folder: Path, device: torch.device, ranks: int, jobs: list[tuple[str, int]], limit_s: float) -> str:
    """Run the processes; why they ended early, if they did."""
    deadline = time.monotonic() + limit_s
    context = multiprocessing.get_context("spawn")
    processes = [
        context.Process(target=_work, args=(rank, ranks, device.type, folder, jobs), daemon=True)
        for rank in range(ranks)
    ]
    try:
        for process in processes:
            process.start()
        while any(process.is_alive() for process in processes) and time.monotonic() < deadline:
            if any(process.exitcode for process in processes):
                break  # one failed; the others would wait for it
            time.sleep(0.05)
    finally:
        for process in processes:
            if process.is_alive():
                process.kill()
            process.join()
    failures = sorted(folder.glob("failure-*"))
    return failures[0].read_text(encoding="utf-8") if failures else ""


def _work(rank: int, ranks: int, device_type: str, folder: Path, jobs: list[tuple[str, int]]) -> None:
    """One process: all jobs in order, in step with the others; a failure is left in a file."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the parent decides
    try:
        _measure_all(rank, ranks, device_type, folder, jobs)
    except Exception as error:  # whatever it is, the parent must hear of it
        text = f"{type(error).__name__}: {first_line(error)}"
        (folder / f"failure-{rank}").write_text(text, encoding="utf-8")
        os._exit(1)  # the library's threads may wait for the other ranks for ever


def _measure_all(rank: int, ranks: int, device_type: str, folder: Path, jobs: list[tuple[str, int]]) -> None:
    cuda = device_type == "cuda"
    device = torch.device("cuda", rank) if cuda else torch.device("cpu")
    if cuda:
        torch.cuda.set_device(device)
        torch.cuda.set_stream(torch.cuda.Stream(device))
    dist.init_process_group(
        "nccl" if cuda else "gloo", init_method=f"file://{folder}/meeting", world_size=ranks, rank=rank
    )
    checked: dict[str, str] = {}
    for op, count in jobs:
        if op not in checked:
            checked[op] = _wrong(op, rank, ranks, device)
        status, timing, note = "failed", None, checked[op]
        if not note:
            timing = _time(op, max(1, count // 2), rank, ranks, device)
            status, note = "noisy" if timing.noisy else "ok", timing.note
        if rank == 0:
            with (folder / "results").open("a", encoding="utf-8") as lines:
                lines.write(json.dumps([status, timing and vars(timing), note]) + "\n")
    dist.barrier()
    os._exit(0)  # taking the group down in order can wait for ever in some versions


def _runner(op: str, rank: int, ranks: int, count: int, device: torch.device) -> Run:
    """One collective on a buffer of `count` numbers."""
    if op == "all_reduce":
        return dist.all_reduce
    if op == "all_gather":
        parts = [torch.empty(count, dtype=torch.bfloat16, device=device) for _ in range(ranks)]
        whole = torch.empty(ranks * count, dtype=torch.bfloat16, device=device)
        if device.type == "cuda":
            return lambda x: dist.all_gather_into_tensor(whole, x)
        return lambda x: dist.all_gather(parts, x)
    return (lambda x: dist.send(x, 1)) if rank == 0 else (lambda x: dist.recv(x, 0))


def _wrong(op: str, rank: int, ranks: int, device: torch.device) -> str:
    """Why the collective must not be used; every rank comes to the same answer."""
    inputs = [
        torch.randn(_CHECKED, generator=torch.Generator().manual_seed(1 + other)).to(torch.bfloat16)
        for other in range(ranks)
    ]
    x = inputs[rank].clone().to(device)
    if op == "all_gather":
        parts = [torch.full_like(x, float("nan")) for _ in range(ranks)]
        dist.all_gather(parts, x)
        out, want = torch.cat(parts), torch.cat(inputs)
    elif op == "all_reduce":
        dist.all_reduce(x)
        out, want = x, torch.stack([part.float() for part in inputs]).sum(0)
    else:
        _runner(op, rank, ranks, _CHECKED, device)(x)
        out, want = x, inputs[0]
    error = (out.float().cpu() - want.float()).norm() / want.float().norm()
    worst = torch.nan_to_num(error, nan=1e9).to(device)
    dist.all_reduce(worst, op=dist.ReduceOp.MAX)
    return "" if float(worst) <= _TOLERANCE else f"wrong: relative error {float(worst):.3g} against float32"


def _time(op: str, count: int, rank: int, ranks: int, device: torch.device) -> Timing:
    """Seconds of one run: of each sample the slowest rank counts."""
    run = _runner(op, rank, ranks, count, device)
    buffers = [torch.randn(count, device=device).to(torch.bfloat16) for _ in range(_BUFFERS)]

    def calls(number: int) -> None:
        for i in range(number):
            run(buffers[i % _BUFFERS])

    calls(3)
    one_s = _slowest([_elapsed(lambda: calls(1), device) for _ in range(3)], device)[1]
    number = max(1, min(_MOST_CALLS, round(_SAMPLE_S / max(one_s, 1e-7))))
    again: Callable[[], object] = lambda: calls(number)  # noqa: E731
    note = ""
    if device.type == "cuda" and op != "send_recv":
        try:
            # NCCL's own thread asks for events meanwhile, which the stricter mode would not allow.
            again = capture([again], torch.cuda.current_stream(), errors="thread_local").replay
        except RuntimeError as error:
            note = f"timed without a CUDA graph ({first_line(error)})"
    again()
    samples = _slowest([_elapsed(again, device) for _ in range(_SAMPLES)], device)
    return summary([sample / number for sample in samples], number, note)


def _elapsed(run: Callable[[], object], device: torch.device) -> float:
    """Seconds of a run that all ranks begin together."""
    if device.type != "cuda":
        dist.barrier()
        start = time.perf_counter()
        run()
        return time.perf_counter() - start
    began, ended = torch.cuda.Event(enable_timing=True), torch.cuda.Event(enable_timing=True)
    dist.barrier()
    torch.cuda.synchronize()
    began.record()
    run()
    ended.record()
    torch.cuda.synchronize()
    return float(began.elapsed_time(ended)) * 1e-3


def _slowest(samples: list[float], device: torch.device) -> list[float]:
    """Per sample the time of the slowest rank; in order of time."""
    times = torch.tensor(samples, dtype=torch.float64, device=device)
    dist.all_reduce(times, op=dist.ReduceOp.MAX)
    ordered: list[float] = times.sort().values.tolist()
    return ordered
