"""How true is it? Errors on real vLLM runs, as shipped, refitted, and left out of the fit.

    python -m bench.accuracy RUNS                    # errors with the constants that ship
    python -m bench.accuracy RUNS --leave-one-out    # fit on all but one run, predict that one; for each run
    python -m bench.accuracy RUNS --picture FILE.png # and draw them

RUNS holds experiments.json and NAME.requests.csv.gz, as `../shared/reference/vllm_h100`. The fit looks for the few
constants that all runs share, starting from what is known without them (PRIORS: value and relative spread), so that
what a set of runs does not tell stays where it was. Prints Markdown.
"""

import argparse
import json
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from bench.accuracy_picture import draw
from calibrate.engine_fit.replay import HOST_COSTS, LATENCIES, Latencies, Replay, mean_errors
from sim.hardware import Profile
from sim.scenario import load
from sim.workload.measured.read import read_measured

MODELS = {
    "meta-llama/Llama-2-7b-hf": "llama-2-7b",
    "meta-llama/Llama-2-70b-hf": "llama-2-70b",
    "mistralai/Mixtral-8x7B-v0.1": "mixtral-8x7b",
    "codellama/CodeLlama-34b-Instruct-hf": "codellama-34b",
}
PRIORS = {  # constant: (what is known without these runs, relative standard deviation)
    "gemm_bandwidth": (0.80, 0.06),  # independent kernel tables: 2.6-2.7 of 3.35 TB/s
    "gemm_flops": (0.77, 0.04),  # the same: 740-780 of 989 TFLOP/s
    "decode_attention_bandwidth": (0.91, 0.03),  # the same: 3.0-3.1 of 3.35 TB/s
    "grouped_gemm_flops": (0.55, 0.15),  # fused Triton kernels reach less than cuBLAS
    "kernel_latency_s": (2e-6, 0.3),
    "all_reduce_one_shot_s": (4e-6, 0.4),
    "all_reduce_two_shot_s": (8e-6, 0.4),
    "all_reduce_shot_bandwidth_bytes_per_s": (200e9, 0.25),  # of 450 GB/s a direction
    "intra_node_latency_s": (2e-6, 0.5),  # NCCL's rings, a hop
    "host_exposed_s": (5e-4, 0.6),
    "host_request_s": (4e-3, 0.5),
    "host_output_s": (4e-5, 0.6),
}
SPREAD = {"tpot": 0.01, "ttft": 0.02, "cold": 0.03}  # of one observed mean: what the model need not meet
WARM = 150  # requests until all prompts are in the prefix cache and all kernels compiled
COLD = slice(10, 100)
STEP = 0.05  # relative change of a constant for its derivative

Constants = dict[str, float]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("runs", type=Path)
    parser.add_argument("--leave-one-out", action="store_true")
    parser.add_argument("--picture", type=Path, metavar="FILE.png")
    arguments = parser.parse_args()
    replays = load_runs(arguments.runs)
    print("## As shipped\n")
    found = {"as shipped": print_errors(replays, [shipped(replay) for replay in replays])}
    if arguments.leave_one_out:
        found["left out of the fit"] = leave_one_out(replays)
    if arguments.picture:
        draw(replays, found, arguments.picture)


def load_runs(folder: Path) -> list[Replay]:
    """Every run of the folder with the scenario that its experiments.json tells."""
    found = []
    for name, facts in json.loads((folder / "experiments.json").read_text()).items():
        file = folder / facts["requests_file"]
        found.append(Replay(name, load(scenario(facts), workload=measured(file)), read_measured(file)))
    return found


def scenario(facts: Mapping[str, Any]) -> dict[str, Any]:
    """What was served and how, as a scenario without a workload."""
    engine = facts["engine"]
    return {
        "name": facts["requests_file"].removesuffix(".requests.csv.gz"),
        "model": MODELS[facts["model"]],
        "cluster": {"gpu": "h100-sxm", "tensor_parallel": facts["tp"]},
        "engine": {
            "moe_first_use_s": 0.93,  # the servers were fresh
            "num_gpu_blocks_override": engine["gpu_kv_blocks"],
            **{key: engine[key] for key in ("max_num_seqs", "max_num_batched_tokens", "max_model_len", "block_size")},
        },
    }


def measured(file: Path) -> dict[str, Any]:
    return {"trace": {"measured": {"path": str(file.resolve())}}}


def shipped(replay: Replay) -> Constants:
    """The constants of the profile and the preset, by name."""
    profile = replay.setup.profile
    known = {**vars(profile), **vars(profile.derates), **replay.costs}
    return {name: float(known[name]) for name in PRIORS}


def simulate(replay: Replay, constants: Constants) -> Latencies:
    profile: Profile = replay.setup.profile
    shares = {name: min(value, 1.0) for name, value in constants.items() if name in vars(profile.derates)}
    facts = {name: value for name, value in constants.items() if name in vars(profile)}
    costs = {name: value for name, value in constants.items() if name in HOST_COSTS}
    return replay.simulated(costs, replace(profile, derates=replace(profile.derates, **shares), **facts))


def observations(replay: Replay, simulated: Latencies) -> np.ndarray:
    """log(simulated / measured) over its spread: TPOT and median TTFT of each stage, TPOT while the cache is cold."""
    real = replay.measured
    stages = np.array(replay.run.stage)[replay.rows]
    rows = np.arange(len(stages))
    seen = []
    for stage in np.unique(stages):
        mask = (stages == stage) & (rows >= WARM)
        seen.append(np.log(simulated.tpot[mask].mean() / real.tpot[mask].mean()) / SPREAD["tpot"])
        seen.append(np.log(np.median(simulated.ttft[mask]) / np.median(real.ttft[mask])) / SPREAD["ttft"])
    if not replay.setup.model.moe_layers:  # a mixture's first seconds are stalls
        seen.append(np.log(simulated.tpot[COLD].mean() / real.tpot[COLD].mean()) / SPREAD["cold"])
    return np.array(seen)


def leave_one_out(replays: list[Replay]) -> list[Latencies]:
    """Gauss-Newton steps of the regularised least squares, all runs and all but each; what is predicted of each."""
    best = fitted(replays, {name: value for name, (value, _) in PRIORS.items()})
    print("\n## Fitted to all runs\n")
    print_errors(replays, [best] * len(replays))
    columns = {"prior": {name: value for name, (value, _) in PRIORS.items()}, "shipped": shipped(replays[0])}
    columns["all runs"] = best
    out = []
    for left in replays:
        others = [replay for replay in replays if replay is not left]
        out.append(fitted(others, best))
        columns[f"without {left.name.split('-tp')[0]}"] = out[-1]
    print("\n## Each run left out of the fit\n")
    predicted = print_errors(replays, out)
    print("\n## Constants\n\n| constant | " + " | ".join(columns) + " |")
    print("| --- |" + " ---: |" * len(columns))
    for name in PRIORS:
        print(f"| {name} | " + " | ".join(shown(name, column[name]) for column in columns.values()) + " |")
    return predicted


def shown(name: str, value: float) -> str:
    """A constant in a unit that suits it."""
    if name.endswith("bytes_per_s"):
        return f"{value / 1e9:.0f} GB/s"
    if not name.endswith("_s"):
        return f"{value:.3f}"
    return f"{value * 1e6:.3g} us" if value < 1e-3 else f"{value * 1e3:.3g} ms"


_derivatives: dict[tuple[str, ...], dict[str, tuple[np.ndarray, np.ndarray]]] = {}


def fitted(replays: list[Replay], start: Constants) -> Constants:
    """The constants that meet the runs best; two steps from `start`, with derivatives kept from one fit to another."""
    names = list(PRIORS)
    centre = np.log([PRIORS[name][0] for name in names])
    spread = np.array([PRIORS[name][1] for name in names])
    at = np.log([start[name] for name in names])
    for _ in range(2):
        lines = linearised(replays, at, names)
        residual = np.concatenate([lines[replay.name][0] for replay in replays] + [(at - centre) / spread])
        slope = np.concatenate([lines[replay.name][1] for replay in replays] + [np.diag(1 / spread)])
        at = at - np.linalg.lstsq(slope, residual, rcond=None)[0]
    return {name: float(np.exp(value)) for name, value in zip(names, at, strict=True)}


def linearised(replays: list[Replay], at: np.ndarray, names: list[str]) -> dict[str, tuple[np.ndarray, np.ndarray]]:
    """Per run: observations at a point, and their derivatives by the logarithms of the constants."""
    key = tuple(f"{value:.12g}" for value in at)
    known = _derivatives.setdefault(key, {})
    for replay in replays:
        if replay.name in known:
            continue
        here = observations(replay, simulate(replay, constants(names, at)))
        columns = []
        for i in range(len(names)):
            moved = at.copy()
            moved[i] += STEP
            columns.append((observations(replay, simulate(replay, constants(names, moved))) - here) / STEP)
        known[replay.name] = here, np.stack(columns, axis=1)
    return known


def constants(names: list[str], at: np.ndarray) -> Constants:
    return {name: float(np.exp(value)) for name, value in zip(names, at, strict=True)}


def print_errors(replays: list[Replay], chosen: list[Constants]) -> list[Latencies]:
    """A table of the errors under the constants chosen for each run; returns what was simulated."""
    print("| run | mean TTFT | mean TPOT | mean E2E |\n| --- | ---: | ---: | ---: |")
    found, errors = [], []
    for replay, values in zip(replays, chosen, strict=True):
        found.append(simulate(replay, values))
        error = mean_errors(replay.measured, found[-1])
        errors.append([abs(error[name]) for name in LATENCIES])
        print(f"| {replay.name} | " + " | ".join(f"{error[name] * 100:+.1f}%" for name in LATENCIES) + " |")
    median = np.median(errors, axis=0)
    print("| median of the absolute errors | " + " | ".join(f"{value * 100:.1f}%" for value in median) + " |")
    return found


if __name__ == "__main__":
    main()
