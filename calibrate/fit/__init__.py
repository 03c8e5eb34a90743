"""From raw measured points to a profile: kernels chosen, points cleaned, facts, and the error on held-out points."""
