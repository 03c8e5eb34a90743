"""The command `servecast`: one thin function per verb. Heavy imports wait until a verb needs them."""

import io
import sys

from sim.cli.app import app, load_verbs
from sim.cli.ending import exit_code

load_verbs()


def main() -> None:
    """Run the command line; errors that a user can mend are one sentence on stderr and exit code 2."""
    if "" not in sys.path:
        sys.path.insert(0, "")  # so that `batching: my_pkg.mine:Mine` finds code in the current folder
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors="replace")  # a report on a terminal that cannot show a bar or a dot
    sys.exit(exit_code(app))
