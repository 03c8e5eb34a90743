# ---
# jupyter:
#   jupytext:
#     formats: ipynb,py:percent
#     text_representation: {extension: .py, format_name: percent}
#   kernelspec: {display_name: Python 3, language: python, name: python3}
# ---
# %% [markdown]
# # Calibrate and validate: is it true?
# A run that a server served is replayed, and every metric compared. Here a simulated run with step times 10% longer stands
# for the server, so that we know what must be found; put the file of your own server into MEASURED (a CSV, JSON lines, or
# the detailed result of `vllm bench serve`).
#
# To measure a machine itself: `servecast calibrate gpu --out my-gpu` (`--device cpu` for a processor, with torch), and then
# `servecast calibrate validate --profile my-gpu`.

# %%
from pathlib import Path
from tempfile import mkdtemp

import sim

SCENARIO = {
    "name": "served",
    "model": "llama-3.1-8b",
    "workload": {
        "arrivals": {"poisson": {"rate_per_s": 4}},
        "prompt_tokens": {"lognormal": {"mean": 600, "p99": 3000}},
        "output_tokens": {"lognormal": {"mean": 150, "p99": 600}},
        "requests": 300,
    },
    "cluster": {"gpu": "h100-sxm"},
}
TRUTH = {"latency": {"off": {"prefill": 1.1, "decode": 1.1}}}
served = sim.run({**SCENARIO, **TRUTH}).requests
MEASURED = Path(mkdtemp()) / "requests.csv"
columns = ["arrival_s", "prompt_tokens", "output_tokens", "ttft_s", "e2e_s"]
served[columns].to_csv(MEASURED, index=False)
served[columns].head(3).round(4)

# %% [markdown]
# ## Replay it
# The same requests at the same times through the scenario as it is.

# %%
validation = sim.validate(SCENARIO, MEASURED)
validation

# %% [markdown]
# The profile is 10% too fast, so 1 / 1.1 - 1 = -9.1% is what TPOT must be off by, and a little more where steps wait for
# each other. Both runs queue alike: they do not diverge.

# %%
assert -0.11 < validation.error("tpot") < -0.08 and not validation.diverged
validation.plot()

# %% [markdown]
# ## Mend it
# The error is the same at the mean and in the tail, and the same for TTFT and TPOT: step times are too short by one
# factor. Tell the simulator, and replay again: the error is gone.

# %%
assert abs(validation.error("tpot") - validation.error("tpot", "p99")) < 0.02
mended = sim.validate({**SCENARIO, **TRUTH}, MEASURED)
assert abs(mended.error("tpot")) < 0.005 and abs(mended.error("ttft", "p99")) < 0.005
mended

# %% [markdown]
# ## Would the error have changed a decision?
# A profile that is 10% off does not make every answer 10% wrong. With two seeds or more, `compare` also makes every run
# with step times that are off by as much as the profile may be, and claims only the differences that survive it.

# %%
question = {**SCENARIO, "slo": {"ttft": "300ms", "tpot": "20ms"}, "variants": {"an L40S": {"cluster": {"gpu": "l40s"}}}}
comparison = sim.compare(question, seeds=2, jobs=1)
comparison

# %%
sure = [one for one in comparison.differences if one.metric == "request_goodput" and one.better is not None]
assert sure and max(sure[0].better, 1 - sure[0].better) > 0.95
