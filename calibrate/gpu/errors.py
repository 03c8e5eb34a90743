"""What can go wrong while measuring."""


class MeasureError(Exception):
    """Something the user can mend; its text says what, where and how."""


class UnavailableError(Exception):
    """A kernel that this machine, this torch or this shape does not have; its text says why."""
