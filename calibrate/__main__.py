"""`python -m calibrate`: the measuring part, on a machine that has torch and numpy alone."""
