"""How fast servecast simulates fleets: requests per CPU second and peak memory, for 1 to 1,000 replicas.

    python -m bench.fleet                    # 100,000 requests a case, a few minutes
    python -m bench.fleet --requests 1000000 --replicas 1000 --router least_outstanding

Each case runs in a process of its own: llama-3.1-8b on H100s, prompts of 512 and answers of 256 tokens, 8 requests per
second and replica as a Poisson stream, prefix caching on, full records and metrics. CPU time is that of the run alone,
without imports; memory is the peak of the whole process, Python and libraries included.
"""

import argparse
import json
import resource
import subprocess
import sys
import time
from typing import Any

REPLICAS = (1, 10, 100, 1000)
ROUTERS = ("round_robin", "least_outstanding")


def measure(requests: int, replicas: int, router: str) -> dict[str, Any]:
    """Run one case in this process."""
    import sim
    from bench.speed import scenario

    def run(requests: int) -> Any:
        one = scenario(requests, replicas, 8.0)
        one["cluster"]["router"] = router
        return sim.run(one)

    run(100)
    began, began_cpu = time.perf_counter(), time.process_time()
    result = run(requests)
    cpu_s, wall_s = time.process_time() - began_cpu, time.perf_counter() - began
    return {
        "requests": requests,
        "replicas": replicas,
        "router": router,
        "finished": result.summary["requests"]["finished"],
        "requests_per_cpu_s": round(requests / cpu_s),
        "wall_s": round(wall_s, 1),
        "peak_memory_mb": round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 / 1e6),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--json", action="store_true", help="one JSON object a case")
    parser.add_argument("--requests", type=int, default=100_000, help="requests of each case")
    parser.add_argument("--replicas", type=int, nargs="*", default=REPLICAS)
    parser.add_argument("--router", nargs="*", default=ROUTERS)
    parser.add_argument("--repeat", type=int, default=1, help="runs of each case; the fastest counts")
    parser.add_argument("--case", help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.case:
        print(json.dumps(measure(*json.loads(given.case))))
        return
    if not given.json:
        print("  requests  replicas             router  req per CPU s  wall s  peak MB")
    for replicas in given.replicas:
        for router in given.router:
            command = [sys.executable, "-m", "bench.fleet", "--case", json.dumps([given.requests, replicas, router])]
            runs = [json.loads(subprocess.check_output(command)) for _ in range(given.repeat)]
            run = max(runs, key=lambda run: run["requests_per_cpu_s"])
            if given.json:
                print(json.dumps(run), flush=True)
            else:
                print(
                    f"{run['requests']:>10,} {run['replicas']:>9,} {run['router']:>18} "
                    f"{run['requests_per_cpu_s']:>14,} {run['wall_s']:>7,} {run['peak_memory_mb']:>8,}",
                    flush=True,
                )


if __name__ == "__main__":
    main()
