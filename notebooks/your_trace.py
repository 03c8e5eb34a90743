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
# usual names). Here the sample that ships, with arrival_s, prompt_tokens and output_tokens, stands for yours.

# %%
import pandas as pd

import sim
from sim.paths import data_dir

TRACE = data_dir("scenarios") / "traces" / "chat-sample.csv"
trace = pd.read_csv(TRACE)
trace.describe()

# %% [markdown]
# The mean hides the bursts: in its busiest second several times the mean arrives.

# %%
each_second = trace["arrival_s"].astype(int).value_counts()
mean_rate = len(trace) / trace["arrival_s"].max()
assert each_second.max() > 4 * mean_rate
mean_rate, each_second.max()

# %% [markdown]
# Serve it, and the same mean load without bursts.

# %%
base = {
    "model": "llama-3.1-8b",
    "cluster": {"gpu": "l40s", "replicas": 2, "router": "least_outstanding"},
    "slo": {"ttft": "500ms", "tpot": "60ms"},
}
bursty = sim.run({**base, "name": "trace", "workload": {"trace": {"csv": {"path": str(TRACE)}}}})
smooth = sim.run(
    {
        **base,
        "name": "smooth",
        "workload": {
            "arrivals": {"poisson": {"rate_per_s": float(mean_rate)}},
            "lengths": {"empirical": {"path": str(TRACE)}},
            "requests": len(trace),
        },
    }
)
pd.DataFrame({run.scenario.name: run.summary for run in (bursty, smooth)}).loc[["mean_ttft_ms", "p99_ttft_ms"]]

# %% [markdown]
# With the trace's bursts the slowest first tokens take a quarter longer, and 99.0% instead of 99.6% are in time: whoever
# sizes for the mean rate alone sizes too small.

# %%
assert bursty.summary["p99_ttft_ms"] > 1.2 * smooth.summary["p99_ttft_ms"]
assert bursty.summary["slo_attainment"]["all"] < smooth.summary["slo_attainment"]["all"]
axes = bursty.plot_latency("ttft")
smooth.plot_latency("ttft", ax=axes)
