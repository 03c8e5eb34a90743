"""The linear law by hand, and its fast path."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sim.latency.linear import Linear
from sim.models import BatchShape


def test_by_hand() -> None:
    """Chunk of 100 after 20, two decodes over 50: 0.01 + 100 x 0.001 + 2 x 0.0005 + 170 x 1e-6 seconds."""
    timer = Linear(0.01, 0.001, 0.0005, 1e-6).build()
    time = timer.step(BatchShape([(100, 20)], 2, 50, 3))
    assert time.total_s == pytest.approx(0.11117)
    assert time[1:] == (0.0, 0.0, 0.0, False, 0.0)


@given(
    base=st.floats(1e-6, 1),
    decode=st.floats(0, 1),
    context_s=st.sampled_from([0.0, 1e-9, 3.3e-7]),
    decodes=st.integers(1, 300),
    each=st.integers(1, 5000),
    steps=st.integers(1, 200),
)
def test_decode_run_is_repeated_step(
    base: float, decode: float, context_s: float, decodes: int, each: int, steps: int
) -> None:
    timer = Linear(base, 0.0, decode, context_s).build()
    start = decodes * each
    durations, first = timer.decode_run(decodes, start, steps)
    one_by_one = [timer.step(BatchShape([], decodes, start + j * decodes, decodes)) for j in range(steps)]
    assert durations == [time.total_s for time in one_by_one]
    assert first == one_by_one[0]


def test_a_step_takes_time() -> None:
    with pytest.raises(ValueError, match="must take time"):
        Linear(0.0, 0.0, 1e-3, 0.0)
    assert Linear(0.0, 1e-3, 1e-3).build().step(BatchShape([], 1, 1, 1)).total_s == 1e-3
