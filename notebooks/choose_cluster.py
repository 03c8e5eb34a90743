# ---
# jupyter:
#   jupytext:
#     formats: ipynb,py:percent
#     text_representation: {extension: .py, format_name: percent}
#   kernelspec: {display_name: Python 3, language: python, name: python3}
# ---

# %% [markdown]
# # Choose a cluster under an SLO and a budget
# Which GPUs carry this traffic within the targets, and what do they cost?

# %%
import sim

SCENARIO = {
    "name": "choose",
    "model": "llama-3.1-8b",
    "workload": {
        "arrivals": {"poisson": {"rate_per_s": 12}},
        "prompt_tokens": {"lognormal": {"mean": 600, "p99": 3000}},
        "output_tokens": {"lognormal": {"mean": 150, "p99": 600}},
        "requests": 400,
    },
    "cluster": {"gpu": "h100-sxm", "router": "least_outstanding"},
    "slo": {"ttft": "500ms", "tpot": "60ms"},
    "variants": {"two L40S": {"cluster": {"gpu": "l40s", "replicas": 2}}},
}
sizes = sim.size(SCENARIO, gpus=["h100-sxm", "l40s"], jobs=1)
[(size.gpu, size.replicas, size.usd_per_hour) for size in sizes]

# %% [markdown]
# Two L40S carry it for less than half the price of the one H100 that is enough.

# %%
cheap, dear = sizes
assert (cheap.gpu, cheap.replicas, dear.gpu, dear.replicas) == ("l40s", 2, "h100-sxm", 1)
assert cheap.usd_per_hour < dear.usd_per_hour / 2

# %% [markdown]
# What does each trade for its price? The same requests on both, with two seeds.

# %%
comparison = sim.compare(SCENARIO, seeds=2, jobs=1)
comparison

# %% [markdown]
# The H100's tokens come more than twice as fast; the targets do not ask for it.

# %%
tpot = {name: comparison.summaries[name, 0]["mean_tpot_ms"] for name in comparison.variants}
assert tpot["two L40S"] > 2 * tpot["as written"]
tpot

# %% [markdown]
# And around the choice: settings that no other beats.

# %%
sweep = sim.sweep(SCENARIO, ["engine.max_num_seqs=16,64", "cluster.replicas=1,2"], jobs=1)
sweep
