"""`python -m calibrate`: the measuring part, on a machine that has torch and numpy alone."""

import sys

from calibrate.gpu.command import main

if __name__ == "__main__":
    sys.exit(main())
