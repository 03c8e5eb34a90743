"""Triton kernels for what torch lacks: attention over a paged KV cache, and fused element-wise operations."""
