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
# for the server, so that we know what must be found; put the file of your own server into MEASURED.
#
# To measure a machine itself: `servecast calibrate gpu --out my-gpu` (`--device cpu` for a processor, with torch), and then
# `servecast calibrate validate --profile my-gpu`.

# %%
from pathlib import Path
from tempfile import mkdtemp

import sim
from sim.insight.validation import validate

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
served = sim.run({**SCENARIO, "latency": {"off": {"prefill": 1.1, "decode": 1.1}}}).requests
MEASURED = Path(mkdtemp()) / "requests.csv"
columns = ["arrival_s", "prompt_tokens", "output_tokens", "ttft_s", "e2e_s"]
served[columns].to_csv(MEASURED, index=False)

# %%
validation = validate(SCENARIO, MEASURED)
validation

# %% [markdown]
# The profile is 10% too fast, so 1 / 1.1 - 1 = -9.1% is what TPOT must be off by, and a little more where steps wait for
# each other. Both runs queue alike: they do not diverge.

# %%
assert -0.11 < validation.error("tpot") < -0.08 and not validation.diverged
{latency: validation.error(latency) for latency in ("ttft", "tpot", "e2e")}

# %%
validation.plot()

# %% [markdown]
# Tell the simulator what was found, and replay again: the error is gone.

# %%
mended = validate({**SCENARIO, "latency": {"off": {"prefill": 1.1, "decode": 1.1}}}, MEASURED)
assert abs(mended.error("tpot")) < 0.005
mended.error("tpot")
