"""Signs of life on a terminal: a bar for what is counted, a spinner for what is not."""

import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

_SHOW_AFTER_S = 2.0


class Progress:
    """A bar on stderr, once the simulation has taken a while."""

    def __init__(self, what: str = "simulating", *, shown: bool) -> None:
        self.what = what
        self.shown = shown
        self.began = time.monotonic()
        self.bar: Any = None
        self.done = self.total = 0

    def __enter__(self) -> "Progress":
        return self

    def __exit__(self, *_: object) -> None:
        if self.bar is not None:
            self.bar.stop()

    def update(self, done: int, total: int) -> None:
        """Show that `done` of `total` requests have left."""
        self.done, self.total = done, total
        if not self.shown or time.monotonic() - self.began < _SHOW_AFTER_S:
            return
        if self.bar is None:
            from rich.console import Console
            from rich.progress import BarColumn, MofNCompleteColumn, Progress, TimeRemainingColumn

            columns = (BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
            self.bar = Progress(*columns, console=Console(stderr=True), transient=True)
            self.task = self.bar.add_task(self.what, total=total)
            self.bar.start()
        self.bar.update(self.task, completed=done, total=total)


@contextmanager
def waiting(what: str) -> Iterator[None]:
    """A sign of life on a terminal."""
    if not sys.stderr.isatty():
        yield
        return
    from rich.console import Console

    with Console(stderr=True).status(what):
        yield
