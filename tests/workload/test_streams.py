"""Named random streams: the same for the same seed and name, and unmoved by new consumers."""

import numpy as np
import pytest

from sim.streams import stream


def test_the_same_seed_and_name_give_the_same_numbers() -> None:
    assert stream(7, "a").bytes(64) == stream(7, "a").bytes(64)


@pytest.mark.parametrize("other", [(8, "a"), (7, "b"), (7, "aa"), (7, "")])
def test_another_seed_or_name_gives_others(other: tuple[int, str]) -> None:
    assert stream(7, "a").bytes(64) != stream(*other).bytes(64)


def test_streams_are_uncorrelated() -> None:
    n = 20_000
    correlation = np.corrcoef(stream(7, "a").standard_normal(n), stream(7, "b").standard_normal(n))[0, 1]
    assert abs(correlation) < 4 / np.sqrt(n)  # four standard errors


def test_drawing_from_one_moves_no_other() -> None:
    first = stream(7, "a")
    untouched = stream(7, "b").random(5)
    first.random(1000)
    assert (stream(7, "b").random(5) == untouched).all()
