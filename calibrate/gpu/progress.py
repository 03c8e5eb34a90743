"""How far a measurement is, on stderr: one line that rewrites itself on a terminal, now and then a line
elsewhere."""

import sys
import time

_EVERY_S = {True: 0.2, False: 15.0}


class Progress:
    """Counts points and says how much time is left; silent if `quiet`."""

    def __init__(self, points: int, budget_s: float, quiet: bool = False, began: float | None = None) -> None:
        self._points, self.budget_s, self._quiet = points, budget_s, quiet
        self._began = time.monotonic() if began is None else began
        self._terminal = sys.stderr.isatty()
        self._shown_at = 0.0
        self._width = 0

    @property
    def elapsed_s(self) -> float:
        """Seconds since the beginning."""
        return time.monotonic() - self._began

    @property
    def left_s(self) -> float:
        """Seconds of the budget that are left."""
        return self.budget_s - self.elapsed_s

    def show(self, done: int, plan_left_s: float, what: str) -> None:
        """`done` points are measured or skipped; those to come would take plan_left_s; `what` is under
        way."""
        now = time.monotonic()
        if self._quiet or now - self._shown_at < _EVERY_S[self._terminal]:
            return
        self._shown_at = now
        left = min(plan_left_s, max(self.left_s, 0.0))
        text = (
            f"{done}/{self._points} points, {clock(left)} left of {clock(self.budget_s)}"
            f" (the whole plan: {clock(plan_left_s)}): {what}"
        )
        self._print(text)

    def say(self, text: str) -> None:
        """A line that stays."""
        if not self._quiet:
            end = "\r" + " " * self._width + "\r" if self._terminal else ""
            self._width = 0
            print(f"{end}{text}", file=sys.stderr, flush=True)

    def _print(self, text: str) -> None:
        if self._terminal:
            print("\r" + text[:119].ljust(self._width), end="", file=sys.stderr, flush=True)
            self._width = min(len(text), 119)
        else:
            print(text, file=sys.stderr, flush=True)


def clock(seconds: float) -> str:
    """1:05:09, 5:09 or 0:09."""
    whole = round(max(seconds, 0.0))
    hours, minutes = divmod(whole // 60, 60)
    return f"{hours}:{minutes:02}:{whole % 60:02}" if hours else f"{minutes}:{whole % 60:02}"
