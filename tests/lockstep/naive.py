"""vLLM V1's synchronous scheduler written a second time, as plainly as its rules can be told.

Every token is a value, every block an object in an explicit free list, every queue a list. Nothing here
is shared with servecast, and nothing is fast. `step_log` yields the lines that `servecast lockstep` prints.
"""

from collections.abc import Iterator
from typing import Any

DEFAULTS: dict[str, Any] = {
    "max_num_seqs": 256, "max_num_batched_tokens": 8192, "max_num_scheduled_tokens": None,
    "enable_chunked_prefill": True, "long_prefill_token_threshold": 0,
    "long_prefill_token_threshold_adaptive": False, "block_size": 16, "num_gpu_blocks": 8192,
    "enable_prefix_caching": True, "policy": "fcfs", "watermark": 0.0, "scheduler_reserve_full_isl": True,
    "max_model_len": 32768,
}  # fmt: skip


class StuckError(Exception):
    """Nothing runs and nothing can be admitted, or the requests preempt each other for ever."""


class Block:
    def __init__(self) -> None:
        self.holders = 0
        self.content: tuple[Any, ...] | None = None  # all tokens up to the block's end, once it is full


class Job:
    def __init__(self, line: int, row: dict[str, Any]) -> None:
        self.line, self.id, self.arrival = line, row["id"], row["arrival_us"]
        self.priority, self.asked = row.get("priority", 0), row["output_len"]
        self.tokens = [(name, offset) for name, length in row["prompt"] for offset in range(length)]
        self.prompt = len(self.tokens)
        self.blocks: list[Block] = []
        self.computed = self.preemptions = 0
        self.first_scheduled = self.cached = self.first_token = self.finish = None


class Scheduler:
    def __init__(self, rows: list[dict[str, Any]], config: dict[str, Any]) -> None:
        self.config = config = DEFAULTS | config
        self.size = config["block_size"]
        self.by_priority = config["policy"] == "priority"
        self.free = [Block() for _ in range(config["num_gpu_blocks"] - 1)]
        self.index: dict[tuple[Any, ...], list[Block]] = {}
        self.evicted = 0
        self.jobs = [Job(line, row) for line, row in enumerate(rows)]
        self.running: list[Job] = []
        self.waiting: list[Job] = []

    def blocks_for(self, tokens: int) -> int:
        return -(-tokens // self.size)

    def take(self) -> Block:
        block = self.free.pop(0)
        if block.content is not None:
            self.evicted += 1
            self.index[block.content].remove(block)
            if not self.index[block.content]:
                del self.index[block.content]
            block.content = None
        block.holders = 1
        return block

    def grow(self, job: Job, tokens: int) -> None:
        """Hold blocks for `tokens` tokens and register those that are full."""
        while len(job.blocks) < self.blocks_for(tokens):
            job.blocks.append(self.take())
        if self.config["enable_prefix_caching"]:
            for place in range(min(tokens, len(job.tokens)) // self.size):
                block = job.blocks[place]
                if block.content is None:
                    block.content = tuple(job.tokens[: (place + 1) * self.size])
                    self.index.setdefault(block.content, []).append(block)

    def release(self, job: Job) -> None:
        for block in reversed(job.blocks):
            block.holders -= 1
            if block.holders == 0 and block.content is not None:
                self.free.append(block)
            elif block.holders == 0:
                self.free.insert(0, block)
        job.blocks = []

    def hits(self, job: Job) -> list[Block]:
        found: list[Block] = []
        for place in range((len(job.tokens) - 1) // self.size):
            copies = self.index.get(tuple(job.tokens[: (place + 1) * self.size]))
            if not copies:
                break
            found.append(copies[0])
        return found if self.config["enable_prefix_caching"] else []

    def put_back(self, job: Job) -> None:
        self.waiting.insert(0, job)
        self.sort_waiting()

    def sort_waiting(self) -> None:
        if self.by_priority:
            self.waiting.sort(key=lambda job: (job.priority, job.arrival, job.id))

    def victim(self) -> Job:
        if not self.by_priority:
            return self.running[-1]
        return max(self.running, key=lambda job: (job.priority, job.arrival))

    def step_log(self, most_steps: int) -> Iterator[dict[str, Any]]:
        coming = list(self.jobs)
        now = index = 0
        while coming or self.running or self.waiting:
            if not self.running and not self.waiting:
                now = max(now, coming[0].arrival)
            while coming and coming[0].arrival <= now:
                self.waiting.append(coming.pop(0))
            self.sort_waiting()
            line, dt, scheduled = self.step(now)
            line = {"kind": "step", "s": index, "t": now, "dt": dt, **line}
            now += dt
            finished = [job for job in scheduled if self.sample(job, now)]
            for job in finished:
                self.running.remove(job)
                self.release(job)
            if finished:
                line["fin"] = [job.id for job in finished]
            yield line | {"free2": len(self.free)}
            index += 1
            if index > most_steps:
                raise StuckError
        for job in self.jobs:
            yield {
                "kind": "req", "id": job.id, "arr": job.arrival, "prompt": job.prompt,
                "out": len(job.tokens) - job.prompt, "prio": job.priority,
                "first_sched": job.first_scheduled, "cached": job.cached, "first_tok": job.first_token,
                "fin": job.finish, "npre": job.preemptions,
            }  # fmt: skip

    def step(self, now: int) -> tuple[dict[str, Any], int, list[Job]]:
        config = self.config
        self.evicted = 0
        budget = config["max_num_scheduled_tokens"] or config["max_num_batched_tokens"]
        present = len(self.running) + len(self.waiting)
        limit = config["long_prefill_token_threshold"] if present > 1 else 0
        if config["long_prefill_token_threshold_adaptive"]:
            limit = max(limit, config["max_num_batched_tokens"] // present)
        given: dict[Job, tuple[int, int]] = {}  # tokens, computed before
        preempted: list[Job] = []
        place = 0
        while place < len(self.running) and budget > 0:
            job = self.running[place]
            tokens = len(job.tokens) - job.computed
            if 0 < limit < tokens:
                tokens = limit
            tokens = min(tokens, budget, config["max_model_len"] - job.computed - 1)
            if tokens == 0:
                place += 1
                continue
            while self.blocks_for(job.computed + tokens) - len(job.blocks) > len(self.free):
                victim = self.victim()
                if self.running.index(victim) < place:
                    place -= 1
                self.running.remove(victim)
                budget += given.pop(victim, (0, 0))[0]
                self.release(victim)
                victim.computed = 0
                victim.preemptions += 1
                preempted.append(victim)
                self.put_back(victim)
                if victim is job:
                    break
            if job in preempted:
                break
            self.grow(job, job.computed + tokens)
            given[job] = tokens, job.computed
            budget -= tokens
            place += 1
        admitted, resumed, hit = [], [], {}
        while not preempted and budget > 0 and self.waiting and len(self.running) < config["max_num_seqs"]:
            job = self.waiting[0]
            found = self.hits(job)
            cached = len(found) * self.size
            tokens = len(job.tokens) - cached
            if 0 < limit < tokens:
                tokens = limit
            if tokens > budget and not config["enable_chunked_prefill"]:
                break
            tokens = min(tokens, budget)
            spare = len(self.free) - sum(block.holders == 0 for block in found)
            if self.running:
                spare -= int(config["watermark"] * config["num_gpu_blocks"])
            whole = min(len(job.tokens), config["max_model_len"])
            if config["scheduler_reserve_full_isl"] and self.blocks_for(whole) - len(found) > spare:
                break
            if self.blocks_for(cached + tokens) - len(found) > spare:
                break
            for block in found:
                if block.holders == 0:
                    self.free.remove(block)
                block.holders += 1
            job.blocks = found
            job.computed = cached
            self.grow(job, cached + tokens)
            self.running.append(self.waiting.pop(0))
            (admitted if job.first_scheduled is None else resumed).append(job.id)
            if job.first_scheduled is None:
                job.first_scheduled, job.cached = now, cached
            hit[job.id] = cached
            given[job] = tokens, cached
            budget -= tokens
        if not self.running and not preempted:
            raise StuckError
        prefill = decodes = context = 0
        for job, (tokens, before) in given.items():
            job.computed += tokens
            context += before + tokens
            if tokens == 1 and before >= job.prompt:
                decodes += 1
            else:
                prefill += tokens
        line: dict[str, Any] = {"n": {job.id: tokens for job, (tokens, _) in given.items()}}
        if admitted or resumed:
            line |= {"adm": admitted, "res": resumed, "hit": hit}
        if preempted:
            line["pre"] = [job.id for job in preempted]
        line |= {"run": len(self.running), "wait": len(self.waiting), "free": len(self.free)}
        line |= {"nhash": len(self.index), "ev": self.evicted}
        return line, 5000 + 20 * prefill + 100 * decodes + context // 100 if given else 1000, list(given)

    def sample(self, job: Job, now: int) -> bool:
        """Append a token if all known ones are computed; whether that was the last."""
        if job.computed < len(job.tokens):
            return False
        job.tokens.append((f"o:{job.id}", len(job.tokens) - job.prompt))
        if len(job.tokens) == job.prompt + 1:
            job.first_token = now
        job.finish = now
        return len(job.tokens) in (job.prompt + job.asked, self.config["max_model_len"])
