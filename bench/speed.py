"""How fast servecast simulates: requests per CPU second and memory per request, with everything on.

    python bench/speed.py              # all cases, about a minute
    python bench/speed.py --json       # for machines

Each case runs in a process of its own: llama-3.1-8b on H100s, prompts of 512 and answers of 256 tokens,
Poisson arrivals, prefix caching on, full records and metrics. CPU time is that of the run alone, without
imports; memory is the growth of the process's peak over a run of 100 requests.
"""

import argparse
import json
import resource
import subprocess
import sys
import time
from typing import Any

CASES = [
    # requests, replicas, requests per second and replica
    (10_000, 1, 1.0),
    (10_000, 1, 8.0),
    (10_000, 1, 30.0),
    (10_000, 16, 8.0),
    (100_000, 1, 8.0),
    (100_000, 1, 30.0),
    (100_000, 16, 8.0),
    (100_000, 16, 30.0),
]


def scenario(requests: int, replicas: int, rate_per_s: float) -> dict[str, Any]:
    """The benchmark's scenario; `rate_per_s` is per replica."""
    return {
        "model": "llama-3.1-8b",
        "cluster": {"gpu": "h100-sxm", "replicas": replicas, "router": "least_outstanding"},
        "workload": {
            "arrivals": {"poisson": {"rate_per_s": rate_per_s * replicas}},
            "prompt_tokens": {"fixed": {"tokens": 512}},
            "output_tokens": {"fixed": {"tokens": 256}},
            "requests": requests,
        },
    }


def measure(requests: int, replicas: int, rate_per_s: float) -> dict[str, Any]:
    """Run one case in this process."""
    import sim

    sim.run(scenario(100, replicas, rate_per_s))
    before_kib = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    began = time.process_time()
    result = sim.run(scenario(requests, replicas, rate_per_s))
    cpu_s = time.process_time() - began
    grown_kib = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before_kib
    return {
        "requests": requests,
        "replicas": replicas,
        "rate_per_s": rate_per_s,
        "requests_per_cpu_s": round(requests / cpu_s),
        "engine_steps": result.record.counters["engine_steps"],
        "bytes_per_request": round(grown_kib * 1024 / requests),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--json", action="store_true", help="one JSON object a case")
    parser.add_argument("--repeat", type=int, default=3, help="runs of each case; the median counts")
    parser.add_argument("--case", help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.case:
        requests, replicas, rate_per_s = json.loads(given.case)
        print(json.dumps(measure(requests, replicas, rate_per_s)))
        return
    if not given.json:
        print(" requests  replicas  req/s each  req per CPU s  bytes per req")
    for case in CASES:
        command = [sys.executable, __file__, "--case", json.dumps(case)]
        runs = [json.loads(subprocess.check_output(command)) for _ in range(given.repeat)]
        run = sorted(runs, key=lambda run: run["requests_per_cpu_s"])[len(runs) // 2]
        if given.json:
            print(json.dumps(run), flush=True)
        else:
            print(
                f"{run['requests']:>9,} {run['replicas']:>9} {run['rate_per_s']:>11g} "
                f"{run['requests_per_cpu_s']:>14,} {run['bytes_per_request']:>14,}",
                flush=True,
            )


if __name__ == "__main__":
    main()
