"""One small result of every kind."""

from functools import cache
from pathlib import Path

import sim
from sim.insight import Comparison, Diagnosis, Sweep
from sim.run import Result

SMALL = ("workload.trace.csv.limit=60",)


@cache
def run() -> Result:
    """The quickstart's first requests."""
    return sim.run("quickstart", overrides=SMALL)


@cache
def comparison() -> Comparison:
    """Its variants."""
    return sim.compare("quickstart", overrides=SMALL, jobs=1)


@cache
def diagnosis() -> Diagnosis:
    """What holds it back under twelvefold load."""
    overrides = ("workload.trace.csv.limit=80", "workload.trace.csv.speedup=60", "cluster.replicas=1")
    return sim.diagnose("quickstart", overrides=(*overrides, "slo.ttft=100ms"), jobs=1)


@cache
def sweep() -> Sweep:
    """Its requests under two batch limits."""
    return sim.sweep("quickstart", ["engine.max_num_seqs=4,64"], overrides=SMALL, jobs=1)


def write_sweep(folder: Path) -> None:
    """A sweep's table, written by hand."""
    folder.mkdir()
    head = "engine.max_num_seqs,cluster.replicas,request_goodput,output_throughput,p99_ttft_ms,saturated,frontier,error"
    rows = ("16,1,0.5,1800,21000,True,False,", "64,2,9.25,4600,145,False,True,", "1,2,,,,False,False,too <small>")
    (folder / "sweep.csv").write_text("\n".join((head, *rows, "")), encoding="utf-8")
