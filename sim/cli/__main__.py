"""`python -m sim.cli` is `servecast`."""

from sim.cli import main

if __name__ == "__main__":
    main()
