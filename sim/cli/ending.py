"""How the command ends: errors that a user can mend are one sentence on stderr, and an exit code."""

import errno
import os
import sys
from collections.abc import Callable
from contextlib import suppress
from typing import Any

from sim.cli.app import CutShortError
from sim.errors import ServecastError, StoppedError
from sim.wording import plain

_NOTHING = "stopped, nothing was written"
_STOPPED, _BROKEN_PIPE = 130, 141  # 128 + the signal's number, as shells count


def exit_code(command: Callable[..., Any]) -> int:
    """Run the command line and say how it ended: 0, 2 for a mistake, 128 + a signal."""
    try:
        code = command(standalone_mode=False, prog_name="servecast") or 0
        sys.stdout.flush()
        return int(code)
    except StoppedError as error:
        return _complain(str(error), _STOPPED)
    except ServecastError as error:
        return _complain(str(error))
    except CutShortError as ended:
        return _cut_short(ended.__cause__)
    except (KeyboardInterrupt, OSError) as error:
        return _cut_short(error)
    except MemoryError:
        return _complain("out of memory; simulate fewer requests or less time, or use a larger machine")
    except Exception as error:
        kind = type(error).__name__  # by name: the command-line library has its errors in several places
        if kind == "Abort":  # Ctrl-C or the end of the input, at a question
            return _complain(_NOTHING, _STOPPED)
        if not hasattr(error, "format_message"):
            raise
        if kind == "NoArgsIsHelpError":
            print(error.format_message())
            return 0
        return _complain(_usage(error))


def _usage(error: Any) -> str:
    """What is wrong with the arguments, on one line, and whose help says more."""
    context = getattr(error, "ctx", None)
    text = plain(" ".join(error.format_message().split())).removesuffix(".")
    return f"{text} (see {context.command_path if context else 'servecast'} --help)"


def _cut_short(cause: BaseException | None) -> int:
    if isinstance(cause, KeyboardInterrupt):
        return _complain(_NOTHING, _STOPPED)
    with suppress(OSError, ValueError):  # or the interpreter tries to write the rest, and complains, at exit
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    if isinstance(cause, BrokenPipeError):
        return _BROKEN_PIPE
    full = isinstance(cause, OSError) and cause.errno == errno.ENOSPC
    return _complain("the disk is full; free some space and run again" if full else f"{cause}; run again")


def _complain(text: str, code: int = 2) -> int:
    lines = text.replace("\n", "\n  ")
    print(f"servecast: {lines}", file=sys.stderr)
    return code
