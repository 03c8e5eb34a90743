"""The errors a user can meet: one clear sentence, and the mend."""


class ServecastError(Exception):
    """Something the user can mend; its text says what, where and how."""


class StoppedError(ServecastError):
    """Work that Ctrl-C stopped and of which something is kept; its text says what, and how to go on."""


class ScenarioError(ServecastError):
    """A scenario that cannot be run: a wrong key, type, range or combination."""


def at_least_one(**counts: int | None) -> None:
    """Raise ScenarioError for the first of these counts, by name, that is given and below 1."""
    for name, value in counts.items():
        if value is not None and value < 1:
            raise ScenarioError(f"{name.replace('_', '-')} must be at least 1, not {value}")


class TraceError(ServecastError):
    """A trace or length file with a row that cannot be used."""


class ProfileError(ServecastError):
    """A hardware profile that is missing, unreadable or lacks a needed fact."""


class ModelError(ServecastError):
    """A model that is unknown, or a config.json that describes no supported architecture."""


class CapacityError(ServecastError):
    """A model, or one longest request, that does not fit the GPU's memory."""
