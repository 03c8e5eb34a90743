"""Measure a GPU's kernels with torch and numpy alone; shapes come from a plan file, points go to a table."""
