"""Fixtures for every test; reference data that cannot be redistributed is optional."""

import os
from pathlib import Path

import pytest
from hypothesis import settings

# The same random cases in every run, so that one commit has one verdict. To look for new ones:
# HYPOTHESIS_PROFILE=search pytest
settings.register_profile("steady", derandomize=True)
settings.register_profile("search", derandomize=False)
settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "steady"))

ROOT = Path(__file__).resolve().parent.parent


@pytest.fixture(scope="session")
def shared() -> Path:
    """The folder of real traces and engine logs, or a skip that says it is missing."""
    folder = Path(os.environ.get("SERVECAST_SHARED", ROOT.parent / "shared"))
    if not folder.is_dir():
        pytest.skip(f"reference data not present at {folder} (set SERVECAST_SHARED)")
    return folder
