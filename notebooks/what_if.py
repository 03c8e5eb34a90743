# ---
# jupyter:
#   jupytext:
#     formats: ipynb,py:percent
#     text_representation: {extension: .py, format_name: percent}
#   kernelspec: {display_name: Python 3, language: python, name: python3}
# ---

# %% [markdown]
# # What if? Batching and memory with sliders
# One L4 serves Llama 3.1 8B. It has little memory, so KV blocks decide who is served. Move a slider, and the same 120
# requests are served again.

# %%
import ipywidgets
from matplotlib import pyplot

import sim

SCENARIO = {
    "name": "what-if",
    "model": "llama-3.1-8b",
    "workload": {
        "arrivals": {"poisson": {"rate_per_s": 2}},
        "prompt_tokens": {"lognormal": {"mean": 800, "p99": 4000}},
        "output_tokens": {"lognormal": {"mean": 200, "p99": 800}},
        "requests": 120,
    },
    "cluster": {"gpu": "l4"},
    "engine": {"max_model_len": 8192},
    "slo": {"ttft": "2s", "tpot": "150ms"},
}


def serve(seats: int = 64, step_tokens: int = 2048, memory: float = 0.9) -> sim.Result:
    """The same requests under other limits."""
    engine = {"max_num_seqs": seats, "max_num_batched_tokens": step_tokens, "gpu_memory_utilization": memory}
    return sim.run(SCENARIO, overrides=[f"engine.{key}={value}" for key, value in engine.items()])


# %%
def show(seats: int, step_tokens: int, memory: float) -> sim.Result:
    result = serve(seats, step_tokens, memory)
    met, preempted = result.summary["slo_attainment"]["all"], result.summary["preemptions"]
    figure, (left, right) = pyplot.subplots(1, 2, figsize=(11, 3), layout="constrained")
    figure.suptitle(f"{met:.0%} meet the SLO, {preempted} preemptions", x=0.01, ha="left", weight="bold")
    result.plot_latency("ttft", ax=left)
    result.plot_timeline("kv_used_fraction", ax=right)
    return result


wide = {"layout": {"width": "38em"}, "style": {"description_width": "15em"}, "continuous_update": False}
sliders = ipywidgets.interactive(
    show,
    seats=ipywidgets.IntSlider(64, 1, 128, description="max_num_seqs", **wide),
    step_tokens=ipywidgets.IntSlider(2048, 256, 8192, 256, description="max_num_batched_tokens", **wide),
    memory=ipywidgets.FloatSlider(
        0.9, min=0.8, max=0.95, step=0.05, description="gpu_memory_utilization", readout_format=".0%", **wide
    ),
)
sliders

# %% [markdown]
# ## Memory is what this GPU lacks
# The last slider matters most. With 80% of the memory KV blocks run out: requests are preempted, start again and queue,
# and fewer than one in five is in time. With 95% nobody is preempted, and all but a few are.

# %%
less, more = serve(memory=0.8), serve(memory=0.95)
assert less.summary["slo_attainment"]["all"] < 0.2 and more.summary["slo_attainment"]["all"] > 0.95
assert less.summary["preemptions"] > 0 == more.summary["preemptions"]
_, (left, right) = pyplot.subplots(2, 1, figsize=(8, 5), layout="constrained")
for run, label in ((less, "80% of the memory"), (more, "95%")):
    run.plot_timeline("queue_depth", ax=left, label=label)
    run.plot_timeline("kv_used_fraction", ax=right, label=label)

# %% [markdown]
# ## Seats help until the memory is full
# Too few seats make requests queue, whatever the memory. Too many let in more than the KV blocks hold: requests are
# preempted, and fewer are in time than with half as many seats.

# %%
by_seats = sim.sweep(SCENARIO, ["engine.max_num_seqs=4,8,16,32,64,128"], jobs=1).table.set_index("engine.max_num_seqs")
axes = (
    by_seats["mean_ttft_ms"]
    .div(1e3)
    .plot(logx=True, logy=True, marker="o", figsize=(6, 3), title="mean TTFT [s] by max_num_seqs", grid=True)
)
assert by_seats["mean_ttft_ms"][4] > 10 * by_seats["mean_ttft_ms"][64]
assert by_seats["slo_attainment"].idxmax() == 64 and by_seats["preemptions"].idxmax() == 128
by_seats[["slo_attainment", "mean_ttft_ms", "p99_tpot_ms", "output_throughput", "preemptions"]].round(2)

# %% [markdown]
# ## Smaller steps
# A step of fewer tokens cuts long prompts into pieces, so that answers under way wait less for them: the slowest gaps
# between tokens shrink to a third with 512 tokens, at hardly any cost. With 256 new requests pay: their prompts take too
# many steps.

# %%
steps = {tokens: serve(step_tokens=tokens, memory=0.95).summary for tokens in (2048, 512, 256)}
assert steps[512]["p99_itl_ms"] < steps[2048]["p99_itl_ms"] / 3
assert steps[512]["mean_ttft_ms"] < 1.1 * steps[2048]["mean_ttft_ms"] < steps[256]["mean_ttft_ms"]
{tokens: {key: round(told[key]) for key in ("p99_itl_ms", "mean_ttft_ms")} for tokens, told in steps.items()}
