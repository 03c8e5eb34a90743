"""KV memory beyond the GPU's: swapped requests and evicted prefixes, in host memory and on disk."""
