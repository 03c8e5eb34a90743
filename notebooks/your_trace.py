# ---
# jupyter:
#   jupytext:
#     formats: ipynb,py:percent
#     text_representation: {extension: .py, format_name: percent}
#   kernelspec: {display_name: Python 3, language: python, name: python3}
# ---
# %% [markdown]
# # Bring your own trace
# A log with times, prompt and output lengths is all it takes (`columns:` says what its columns are called, where these are no
# usual names); a dozen other formats are known (`servecast trace describe FILE` tells which). Here the sample that ships,
# with `arrival_s`, `prompt_tokens` and `output_tokens`, stands for yours: put your file's path into TRACE.

# %%
from matplotlib import pyplot

import sim
from sim.insight.traces.describe import describe
from sim.insight.traces.opened import open_trace
from sim.insight.traces.picture import picture
from sim.paths import data_dir

TRACE = data_dir("scenarios") / "traces" / "chat-sample.csv"
trace = open_trace(TRACE)
told = describe(trace)
picture(trace, told)

# %% [markdown]
# The mean hides the bursts: in its busiest second five times the mean arrives, and the counts in windows of 10 s vary far
# more than those of a Poisson process, whose variance is its mean (1.0).

# %%
arrivals = told["arrivals"]
assert arrivals["most_in_1_s"] > 5 * arrivals["rate_per_s"] and arrivals["index_of_dispersion"]["10s"] > 5
arrivals

# %% [markdown]
# ## What do the bursts cost?
# Serve it on two L40S, and then the same mean load without bursts: Poisson arrivals, lengths drawn from the same file.

# %%
base = {
    "model": "llama-3.1-8b",
    "cluster": {"gpu": "l40s", "replicas": 2, "router": "least_outstanding"},
    "slo": {"ttft": "500ms", "tpot": "60ms"},
}
bursty = sim.run({**base, "name": "as traced", "workload": {"trace": {"csv": {"path": str(TRACE)}}}})
smooth = sim.run(
    {
        **base,
        "name": "without bursts",
        "workload": {
            "arrivals": {"poisson": {"rate_per_s": arrivals["rate_per_s"]}},
            "lengths": {"empirical": {"path": str(TRACE)}},
            "requests": len(trace.table),
        },
    }
)
bursty

# %%
figure, (left, right) = pyplot.subplots(1, 2, figsize=(13, 3.2), layout="constrained")
for run in (bursty, smooth):
    run.plot_latency("ttft", ax=left)
    run.plot_timeline("running", ax=right)

# %% [markdown]
# With the trace's bursts the slowest first tokens take a quarter longer, and 99.0% instead of 99.7% are in time: whoever
# sizes for the mean rate alone sizes too small.

# %%
assert bursty.summary["p99_ttft_ms"] > 1.2 * smooth.summary["p99_ttft_ms"]
assert [round(run.summary["slo_attainment"]["all"], 3) for run in (bursty, smooth)] == [0.99, 0.997]
{run.scenario.name: (run.summary["p99_ttft_ms"], run.summary["slo_attainment"]["all"]) for run in (bursty, smooth)}

# %% [markdown]
# ## How much would it carry?
# The trace, faster or slower, so that at least 99% of the requests are in time. As traced it is a hair less, so these GPUs
# have no room left, and carry a little less than this traffic.

# %%
room = sim.capacity(bursty.scenario, attainment=0.99, tolerance=0.1, jobs=1)
room

# %%
assert 0.85 < room[0].rate_per_s / arrivals["rate_per_s"] < 1
room.plot()
