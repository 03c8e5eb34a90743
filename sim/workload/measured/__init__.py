"""Measurements of a real server: one row per request, read from what benchmarks and logs write."""
