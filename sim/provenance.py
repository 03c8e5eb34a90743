"""Which versions a result was computed with."""

import platform
from functools import cache
from importlib import metadata

_COMPUTES_WITH = ("numpy", "simpy", "pandas", "pydantic")


def servecast_version() -> str:
    """The installed version of servecast; "not installed" when run from a bare checkout."""
    try:
        return metadata.version("servecast")
    except metadata.PackageNotFoundError:
        return "not installed"


def versions() -> dict[str, str]:
    """Versions of servecast, Python and the libraries that results depend on."""
    return dict(_versions())


@cache
def _versions() -> dict[str, str]:
    libraries = {name: metadata.version(name) for name in _COMPUTES_WITH}
    return {"servecast": servecast_version(), "python": platform.python_version(), **libraries}
