"""Many runs at once: counts that cannot be, and Ctrl-C."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

import sim
from sim.errors import ScenarioError
from sim.insight.runs import run_all, run_each
from tests.insight.test_size import PROMPTS

INTERRUPTED = """
import multiprocessing, os, signal, sys, threading, time
after_s = float(sys.argv.pop())

def interrupt_all_while_workers_start():
    while not multiprocessing.active_children():
        time.sleep(0.001)
    time.sleep(after_s)
    os.killpg(0, signal.SIGINT)  # as a terminal does

threading.Thread(target=interrupt_all_while_workers_start, daemon=True).start()
from sim.cli import main
sys.argv[0] = "servecast"
main()
"""


@pytest.mark.skipif(os.name == "nt", reason="signals are POSIX's")
@pytest.mark.parametrize("after_s", ["0.02", "0.3"])
def test_ctrl_c_is_one_line_whatever_the_workers_are_doing(after_s: str) -> None:
    line = ["compare", "quickstart", "--seeds", "40", "--jobs", "2", after_s]
    done = subprocess.run(
        [sys.executable, "-c", INTERRUPTED, *line], cwd=Path(__file__).parents[2], capture_output=True, text=True,
        timeout=60, start_new_session=True,
    )  # fmt: skip
    complained = [line for line in done.stderr.splitlines() if not line.startswith("note: ")]
    assert complained == ["servecast: stopped, nothing was written"]
    assert done.returncode == 130


@pytest.mark.parametrize(
    ("ask", "words"),
    [
        (lambda: sim.size(PROMPTS, tensor_parallel=[0]), "tensor-parallel must be at least 1, not 0"),
        (lambda: sim.size(PROMPTS, jobs=-3), "jobs must be at least 1, not -3"),
        (lambda: sim.compare(PROMPTS, seeds=0), "seeds must be at least 1, not 0"),
        (lambda: sim.capacity(PROMPTS, seeds=0), "seeds must be at least 1, not 0"),
        (lambda: sim.diagnose(PROMPTS, jobs=0), "jobs must be at least 1, not 0"),
        (lambda: sim.sweep(PROMPTS, ["cluster.replicas=1,2"], jobs=0), "jobs must be at least 1, not 0"),
    ],
)
def test_counts_below_one(ask: object, words: str) -> None:
    assert callable(ask)
    with pytest.raises(ScenarioError, match=words):
        ask()


def test_what_is_there_first_is_given_first_and_told_in_order() -> None:
    """A long run does not keep back the short ones behind it, which a sweep that is stopped then has."""
    scenarios = [sim.load(PROMPTS, [f"workload.requests={count}"]) for count in (40_000, 5, 6, 7)]
    places = [place for place, _ in run_each(scenarios, 2)]
    assert sorted(places) == [0, 1, 2, 3]
    assert places[0] != 0
    counts = [outcome.summary["num_prompts"] for outcome in run_all(scenarios[1:], 2) if outcome.summary is not None]
    assert counts == [5, 6, 7]
