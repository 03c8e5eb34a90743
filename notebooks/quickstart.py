# ---
# jupyter:
#   jupytext:
#     formats: ipynb,py:percent
#     text_representation: {extension: .py, format_name: percent}
#   kernelspec: {display_name: Python 3, language: python, name: python3}
# ---

# %% [markdown]
# # Quickstart
# Sample chat traffic, grown eightfold, on two H100s: does the first token come within half a second?

# %%
import sim

result = sim.run("quickstart")
result

# %% [markdown]
# Nearly: more than 98% of the requests meet both targets, and the slowest first tokens come in bursts.

# %%
assert 0.98 < result.summary["slo_attainment"]["all"] < 0.99
result.plot_latency("ttft")

# %%
result.plot_timeline("queue_depth")

# %% [markdown]
# Where did the GPU time go? Most of it into decoding, hardly any into waiting for work: these GPUs are full.

# %%
result.plot_gpu_time()
share = result.summary["gpu_time"]["fraction"]
assert share["decode"] > 0.5 and share["starved"] < 0.05

# %% [markdown]
# Every table is a pandas frame.

# %%
result.requests.groupby("replica")[["ttft_s", "tpot_s", "e2e_s"]].mean()

# %% [markdown]
# What should be known before believing it?

# %%
result.warnings
