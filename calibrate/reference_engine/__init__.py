"""A small, real continuous-batching engine in torch, whose decisions are the simulator's own.

`sim.engine.Engine` with its batching policy and queue order decides every step; `Runner` maps the plan to a
paged KV cache and runs the model; `serve` does so as time passes and logs every step and request.
"""
