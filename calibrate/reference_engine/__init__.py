"""A small, real continuous-batching engine in torch that follows the simulator's own policies."""
