"""The errors a user can meet: one clear sentence, and the mend."""

from collections.abc import Mapping


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


class OptionError(TraceError):
    """A trace that options of its format make readable.

    `told` is what is wrong, `mend` the options and their values as YAML, `otherwise` what else would help, `why` the
    rows that each option is for.
    """

    def __init__(
        self, told: str, mend: Mapping[str, str], otherwise: str = "", why: Mapping[str, str] | None = None
    ) -> None:
        written = ", ".join(f"{name}: {value}" for name, value in mend.items())
        super().__init__(f"{told}; {otherwise and otherwise + ', or '}write beside the trace's path: {written}")
        self.told, self.mend, self.otherwise, self.why = told, mend, otherwise, why or {}

    def for_command(self, option: str = "--set", within: str = "") -> TraceError:
        """The same where there is no scenario, but an option of the command line that takes KEY=VALUE.

        `within` names an option of the trace whose own keys it takes.
        """
        pairs = [f"{name}={value}" for name, value in self.mend.items()]
        if within in self.mend:
            pairs = [pair.replace(": ", "=") for pair in self.mend[within].strip("{}").split(", ")]
        written = " ".join(f"{option} {_quoted(pair)}" for pair in pairs)
        return TraceError(f"{self.told}; {self.otherwise and self.otherwise + ', or '}add {written}")


class ProfileError(ServecastError):
    """A hardware profile that is missing, unreadable or lacks a needed fact."""


class ModelError(ServecastError):
    """A model that is unknown, or a config.json that describes no supported architecture."""


class CapacityError(ServecastError):
    """A model, or one longest request, that does not fit the GPU's memory."""


def _quoted(word: str) -> str:
    return f"'{word}'" if set(word) & set(" {}[]") else word
