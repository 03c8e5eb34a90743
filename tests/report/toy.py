"""A toy continuous-batching server, for reports with every kind of row in them."""

import numpy as np

from tests.metrics.queues import Tables, context, itl_histogram, requests_table, steps_table


def serve(
    arrival: np.ndarray,
    prompt: np.ndarray,
    output: np.ndarray,
    *,
    seats: int = 64,
    budget: int = 2048,
    kv_blocks: int = 8000,
    **facts: object,
) -> Tables:
    """First come first served: whole prompts within the budget join those that decode."""
    n = len(arrival)
    scheduled, first, finish = (np.full(n, np.nan) for _ in range(3))
    left, got, rows, gaps = output.copy(), np.zeros(n, dtype=int), [], []
    running: list[int] = []
    queue, now = 0, 0.0
    while queue < n or running:
        if not running:
            now = max(now, float(arrival[queue]))
        fresh: list[int] = []
        while queue < n and arrival[queue] <= now and len(running) + len(fresh) < seats:
            if fresh and prompt[fresh].sum() + prompt[queue] > budget:
                break
            fresh.append(queue)
            queue += 1
        tokens, decodes = int(prompt[fresh].sum()), len(running)
        attended = int((prompt[running] + got[running]).sum())
        padding = 0.0 if fresh else 2e-6 * (-decodes % 8)
        lasts = 2e-3 + 4e-3 + 2.2e-5 * (tokens + decodes) + 2.5e-8 * attended + padding
        seated = running + fresh
        blocks = int((-(-(prompt[seated] + got[seated] + 1) // 16)).sum())
        scheduled[fresh] = now
        rows.append((now, now + lasts, tokens, len(fresh), decodes, len(seated), blocks, padding, attended))
        now += lasts
        first[fresh] = now
        gaps += [lasts] * decodes
        left[seated] -= 1
        got[seated] += 1
        finish[[i for i in seated if not left[i]]] = now
        running = [i for i in seated if left[i]]
    start, end, tokens_, prefills, decodes_, seated_, blocks_, padding_, context_ = np.array(rows).T
    requests = requests_table(arrival, scheduled, first, finish, prompt, output)
    steps = steps_table(
        len(rows),
        start_s=start,
        end_s=end,
        prefill_tokens=tokens_,
        prefills=prefills,
        decodes=decodes_,
        sampled=prefills + decodes_,
        running=seated_,
        kv_used_blocks=blocks_,
        kv_tokens=12 * blocks_,
        padding_s=padding_,
        context_tokens=context_,
        host_s=1.2e-3,
        comm_s=4e-4,
    )
    known = {
        "kv_blocks": kv_blocks,
        "model": "llama-3.1-8b",
        "gpu": "h100-sxm",
        "provenance": "datasheet roofline, not measured",
        "price_usd_per_gpu_hour": 2.5,
        "peak_flops": 989e12,
        "peak_bytes_per_s": 3.35e12,
        "step_flops": 16e9 * (tokens_ + decodes_),
        "step_bytes": 16e9 + 131072.0 * context_,
    }
    return Tables(requests, steps, *itl_histogram(np.array(gaps)), context(now, **(known | facts)))


def chat(rate_per_s: float, n: int, seed: int = 1, **facts: object) -> Tables:
    rng = np.random.default_rng(seed)
    arrival = np.cumsum(rng.exponential(1 / rate_per_s, n))
    prompt = np.clip(rng.lognormal(6, 0.8, n), 5, 2000).astype(int)
    output = np.clip(rng.lognormal(5, 0.7, n), 1, 1500).astype(int)
    return serve(arrival, prompt, output, **facts)
