# ---
# jupyter:
#   jupytext:
#     formats: ipynb,py:percent
#     text_representation: {extension: .py, format_name: percent}
#   kernelspec: {display_name: Python 3, language: python, name: python3}
# ---

# %% [markdown]
# # Quickstart: are two GPUs enough?
# Five minutes of sample chat traffic, eight times as fast, on two H100s that serve Llama 3.1 8B. The target: the first
# token within half a second, every further one within 50 ms.

# %%
import sim

result = sim.run("quickstart")
result

# %% [markdown]
# **Nearly.** 98.5% of the requests meet both targets. The box says how far to believe it: step times are computed from
# the GPU's datasheet, and the p99 comes from few bursts. The bar below says where the GPUs' time went.

# %%
assert 0.98 < result.summary["slo_attainment"]["all"] < 0.99
result.plot()

# %% [markdown]
# Who waits, and when? The slowest first tokens are those of one burst, at 27 s, when some thirty requests queue at once.

# %%
queue = result.timeline.set_index("time_s")["queue_depth"]
assert 25 < queue.idxmax() < 29 and 25 < queue.max() < 35
axes = result.plot_timeline("queue_depth")

# %% [markdown]
# Most of the GPU time goes into decoding, hardly any into waiting for work. Does that mean that these GPUs are full?

# %%
share = result.summary["gpu_time"]["fraction"]
assert share["decode"] > 0.5 and share["starved"] < 0.05
axes = result.plot_gpu_time()

# %% [markdown]
# ## What would a third GPU do?
# The scenario has variants. The same requests are served under one of them, and drawn into the same axes.

# %%
third = sim.run("quickstart", variant="three GPUs")
axes = result.plot_latency("ttft", label="two GPUs")
axes = third.plot_latency("ttft", ax=axes, label="three GPUs")

# %% [markdown]
# With it everybody meets the targets. And three GPUs are hardly idle either: a step that decodes for few requests takes
# nearly as long as one for many, so a GPU with little to do looks busy. Look at the batch instead.

# %%
assert third.summary["slo_attainment"]["all"] == 1 and third.summary["gpu_time"]["fraction"]["starved"] < 0.05
batches = {"two GPUs": result.summary["batch_size_mean"], "three GPUs": third.summary["batch_size_mean"]}
assert batches["three GPUs"] < 0.6 * batches["two GPUs"]
batches

# %% [markdown]
# All variants beside each other, the best of each line marked:

# %%
sim.compare("quickstart", jobs=1)

# %% [markdown]
# ## Your own question
# Every table is a pandas frame, with one row per request, per run of like steps, or per moment.

# %%
slowest = result.requests.nlargest(5, "ttft_s")
slowest[["arrival_s", "prompt_tokens", "queue_wait_s", "ttft_s", "tpot_s"]].round(3)

# %%
assert slowest["arrival_s"].between(24, 29).all()  # they are the burst's
result.warnings
