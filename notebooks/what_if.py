# ---
# jupyter:
#   jupytext:
#     formats: ipynb,py:percent
#     text_representation: {extension: .py, format_name: percent}
#   kernelspec: {display_name: Python 3, language: python, name: python3}
# ---

# %% [markdown]
# # What if? Batching and memory with sliders
# Move a slider, and the same requests are served again. One L4 has little memory, so that KV blocks decide.

# %%
import ipywidgets

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


def serve(seats: int, step_tokens: int, memory: float) -> sim.Result:
    """The same requests under other limits."""
    engine = {"max_num_seqs": seats, "max_num_batched_tokens": step_tokens, "gpu_memory_utilization": memory}
    return sim.run(SCENARIO, overrides=[f"engine.{key}={value}" for key, value in engine.items()])


# %%
def show(seats: int, step_tokens: int, memory: float) -> None:
    result = serve(seats, step_tokens, memory)
    summary = result.summary
    print(f"{summary['slo_attainment']['all']:.0%} meet the SLO, {summary['preemptions']} preemptions")
    result.plot_latency("ttft")


ipywidgets.interact(
    show,
    seats=ipywidgets.IntSlider(64, 1, 128, continuous_update=False),
    step_tokens=ipywidgets.IntSlider(2048, 256, 8192, 256, continuous_update=False),
    memory=ipywidgets.FloatSlider(0.9, min=0.8, max=0.95, step=0.05, continuous_update=False),
)

# %% [markdown]
# Too few seats make requests queue, whatever the memory.

# %%
wide, narrow = serve(64, 2048, 0.9), serve(4, 2048, 0.9)
assert narrow.summary["mean_ttft_ms"] > 10 * wide.summary["mean_ttft_ms"]
{name: run.summary["mean_ttft_ms"] for name, run in {"64 seats": wide, "4 seats": narrow}.items()}

# %% [markdown]
# Memory is what this GPU lacks. With 80% of it KV blocks run out: requests are preempted, start again and queue, and one
# in six is in time. With 95% nobody is preempted.

# %%
less, more = serve(64, 2048, 0.8), serve(64, 2048, 0.95)
assert less.summary["slo_attainment"]["all"] < 0.2 and more.summary["slo_attainment"]["all"] > 0.95
assert less.summary["preemptions"] > 0 == more.summary["preemptions"]
axes = less.plot_timeline("queue_depth")
more.plot_timeline("queue_depth", ax=axes)
