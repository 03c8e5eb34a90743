"""Makes chat-sample.csv, a small synthetic trace: `python scenarios/traces/make_chat_sample.py [FILE]`.

Five minutes of chat-like traffic, drawn and not recorded: about 4 requests a second, two bursts, and
log-normal lengths whose logarithms correlate by 0.3. The seed is fixed, so the file is the same every time.
"""

import sys
from pathlib import Path

from sim.workload.spec import Workload

HERE = Path(__file__).resolve().parent

WORKLOAD = {
    "arrivals": {
        "piecewise": {
            "interpolate": "linear",
            "rates": [
                [0, 3.5], [80, 4.5], [85, 14], [100, 14], [110, 4.5],
                [200, 4], [203, 20], [212, 20], [220, 4], [300, 3.5],
            ],
        }
    },
    "lengths": {
        "lognormal": {
            "prompt_mean": 600, "prompt_p99": 3600, "prompt_max": 7000,
            "output_mean": 220, "output_p99": 800, "output_max": 1000,
            "correlation": 0.3,
        }
    },
    "duration": "5min",
}  # fmt: skip


def main() -> None:
    target = Path(sys.argv[1]) if len(sys.argv) > 1 else HERE / "chat-sample.csv"
    table = Workload.model_validate(WORKLOAD).table(seed=2024, base_dir=HERE)
    rows = zip(table.arrival_s.tolist(), table.prompt_tokens.tolist(), table.output_tokens.tolist(), strict=True)
    lines = [f"{arrival_s:.3f},{prompt},{output}\n" for arrival_s, prompt, output in rows]
    target.write_text("arrival_s,prompt_tokens,output_tokens\n" + "".join(lines), newline="\n")


if __name__ == "__main__":
    main()
