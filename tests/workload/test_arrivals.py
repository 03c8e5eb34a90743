"""Arrival processes against theory: means, spreads, rates over time, and what holds for all of them."""

import math
from itertools import pairwise
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sim.choice import build
from sim.errors import ScenarioError
from sim.streams import stream
from sim.workload.arrivals.all_at_once import AllAtOnce
from sim.workload.arrivals.closed_loop import ClosedLoop
from sim.workload.arrivals.constant import Constant
from sim.workload.arrivals.diurnal import Diurnal
from sim.workload.arrivals.gamma import Gamma
from sim.workload.arrivals.on_off import OnOff
from sim.workload.arrivals.piecewise import Piecewise
from sim.workload.arrivals.poisson import Poisson
from sim.workload.points import OpenLoop, RateCurve, UserLoop

OPEN: list[Any] = [
    Poisson(12.0),
    Gamma(12.0, 3.0),
    Gamma(12.0, 0.2),
    Constant(12.0),
    Piecewise(((0, 5), (7, 30), (20, 10))),
    Piecewise(((0, 0), (7, 30), (20, 10)), "linear"),
    Diurnal(12.0, 1.0, 50.0, 10.0),
    OnOff(40.0, 2.0, 5.0, 1.0),
    OnOff(40.0, 2.0, 5.0, 0.0, "fixed"),
]


def rng(name: str = "test") -> np.random.Generator:
    return stream(11, name)


@pytest.mark.parametrize("process", OPEN, ids=repr)
class TestEveryOpenProcess:
    def test_gives_a_count_sorted_and_on_the_grid(self, process: OpenLoop) -> None:
        times = process.times(rng(), count=3000)
        assert times.shape == (3000,) and times.dtype == np.float64
        assert times[0] >= 0 and (np.diff(times) >= 0).all()
        assert (np.round(times, 9) == times).all()

    def test_a_duration_cuts_the_same_times(self, process: OpenLoop) -> None:
        every = process.times(rng(), count=3000)
        assert np.array_equal(process.times(rng(), duration_s=40.0), every[every < 40.0])
        assert np.array_equal(process.times(rng(), count=100, duration_s=40.0), every[every < 40.0][:100])
        assert np.array_equal(process.times(rng(), count=50), every[:50])

    def test_same_seed_same_bytes(self, process: OpenLoop) -> None:
        assert process.times(rng(), count=500).tobytes() == process.times(rng(), count=500).tobytes()

    def test_no_end_is_an_error(self, process: OpenLoop) -> None:
        with pytest.raises((ScenarioError, TypeError)):
            process.times(rng())

    def test_is_told_from_a_closed_loop(self, process: OpenLoop) -> None:
        assert isinstance(process, OpenLoop) and not isinstance(process, UserLoop)


def within(observed: float, expected: float, standard_error: float) -> bool:
    """Inside 99.99% confidence bounds."""
    return abs(observed - expected) < 3.9 * standard_error


def test_poisson_gaps_are_exponential_and_counts_poisson() -> None:
    n, rate = 100_000, 8.0
    times = Poisson(rate).times(rng(), count=n)
    gaps = np.diff(times, prepend=0.0)
    assert within(gaps.mean(), 1 / rate, 1 / rate / math.sqrt(n))
    assert within((gaps > 1 / rate).mean(), math.exp(-1), math.sqrt(0.2325 / n))  # p(1 - p) of p = 1/e
    counts = np.histogram(times, bins=np.arange(0, 12_000))[0]
    dispersion = counts.var() / counts.mean()  # 1 for Poisson, with variance about 2 / (windows - 1)
    assert within(dispersion, 1.0, math.sqrt(2 / len(counts)))


def test_poisson_duration_gives_a_poisson_number() -> None:
    numbers = [len(Poisson(5.0).times(stream(i, "n"), duration_s=20.0)) for i in range(2000)]
    assert within(np.mean(numbers), 100.0, math.sqrt(100 / 2000))
    assert within(np.var(numbers), 100.0, 100 * math.sqrt(2 / 2000))


@pytest.mark.parametrize(("cv", "burstiness"), [(2.0, 0.25), (1.0, 1.0), (0.5, 4.0)])
def test_gamma_has_the_cv_and_is_vllms_burstiness(cv: float, burstiness: float) -> None:
    n, rate = 200_000, 10.0
    gaps = np.diff(Gamma(rate, cv).times(rng(), count=n), prepend=0.0)
    assert within(gaps.mean(), 1 / rate, cv / rate / math.sqrt(n))
    assert gaps.std() / gaps.mean() == pytest.approx(cv, rel=0.02)
    assert cv == 1 / math.sqrt(burstiness)
    theirs = rng().gamma(shape=burstiness, scale=1 / (rate * burstiness), size=n)  # as vllm bench draws
    assert np.cumsum(theirs) == pytest.approx(np.cumsum(gaps), abs=1e-6)


def test_constant_is_even_and_includes_no_end() -> None:
    assert Constant(4.0).times(rng(), count=5).tolist() == [0, 0.25, 0.5, 0.75, 1.0]
    assert Constant(1.0).times(rng(), duration_s=60.0).tolist() == list(range(60))
    assert len(Constant(10.0).times(rng(), duration_s=0.3)) == 3  # 3 / 10 is not 3 * 0.1 in binary


def test_all_at_once() -> None:
    assert AllAtOnce().times(rng(), count=3).tolist() == [0, 0, 0]
    with pytest.raises(ScenarioError, match="needs requests"):
        AllAtOnce().times(rng(), duration_s=3.0)


def test_step_rates_give_their_counts() -> None:
    times = Piecewise(((0, 50), (100, 0), (200, 200))).times(rng(), duration_s=300.0)
    counts = np.histogram(times, bins=[0, 100, 200, 300])[0]
    assert within(counts[0], 5000, math.sqrt(5000))
    assert counts[1] == 0
    assert within(counts[2], 20_000, math.sqrt(20_000))


def test_linear_rates_give_the_area_of_a_ramp() -> None:
    times = Piecewise(((0, 0), (100, 200)), "linear").times(rng(), duration_s=100.0)
    # A ramp from 0 to 200/s over 100 s: area 10,000, a quarter of it in the first half.
    assert within(len(times), 10_000, 100)
    assert within((times < 50).mean(), 0.25, math.sqrt(0.1875 / len(times)))


def test_a_constant_piecewise_is_poisson() -> None:
    flat = Piecewise(((0, 8), (50, 8), (60, 8)), "linear").times(rng(), count=2000)
    assert flat == pytest.approx(Poisson(8.0).times(rng(), count=2000), abs=2e-9)


def test_inversion_by_hand() -> None:
    steps = RateCurve.steps(np.array([0.0, 10, 20]), np.array([2.0, 0, 4]))
    assert steps.area(25.0) == 40.0
    assert steps.invert(np.array([1.0, 20, 20.4, 40])).tolist() == pytest.approx([0.5, 10, 20.1, 25])
    lines = RateCurve.lines(np.array([0.0, 10, 20]), np.array([0.0, 2, 0]))
    assert [lines.area(t) for t in (5.0, 10.0, 15.0, 20.0, 99.0)] == [2.5, 10, 17.5, 20, 20]
    assert lines.invert(np.array([2.5, 10, 17.5, 20])).tolist() == pytest.approx([5, 10, 15, 20])
    assert math.isinf(lines.invert(np.array([20.001]))[0])


@settings(max_examples=50, deadline=None)
@given(
    st.lists(st.tuples(st.floats(0.1, 50), st.floats(0, 100)), min_size=1, max_size=6),
    st.floats(0.5, 50),
    st.sampled_from(["step", "linear"]),
)
def test_inversion_undoes_the_area(pieces: list[tuple[float, float]], last: float, kind: Any) -> None:
    starts = [0.0, *np.cumsum([width for width, _ in pieces]).tolist()]
    rates = [*(rate for _, rate in pieces), last]
    curve = Piecewise(tuple(zip(starts, rates, strict=True)), kind).curve()
    areas = np.linspace(0.01, curve.area(starts[-1]) * 1.5 + 1, 40)
    back = [curve.area(t) for t in curve.invert(areas)]
    assert back == pytest.approx(areas.tolist(), rel=1e-9, abs=1e-9)


def test_a_last_rate_of_zero_cannot_give_a_count() -> None:
    process = Piecewise(((0, 10), (10, 0)))
    assert within(len(process.times(rng(), duration_s=1e6)), 100, 10)
    with pytest.raises(ScenarioError, match="ends with rate 0"):
        process.times(rng(), count=1000)


def test_diurnal_rate_over_the_cycle() -> None:
    process = Diurnal(mean_rate_per_s=100.0, amplitude=0.8, period_s=100.0, phase_s=25.0)
    times = process.times(rng(), duration_s=1000.0)
    assert within(len(times), 100_000, math.sqrt(100_000))
    # Phase 25 of 100 starts at the peak: integral of 1 + 0.8 cos over [-T/8, T/8] = 25 + 80 sin(pi/4) / pi.
    near_peak = ((times + 12.5) % 100.0) < 25.0
    share = (25 + 80 * math.sin(math.pi / 4) / math.pi) / 100
    assert within(near_peak.mean(), share, math.sqrt(share * (1 - share) / len(times)))


def test_diurnal_area_by_hand() -> None:
    process = Diurnal(mean_rate_per_s=3.0, amplitude=0.5, period_s=8.0, phase_s=1.0)
    assert process.area(np.array([0.0, 8.0, 80.0])).tolist() == pytest.approx([0, 8, 80], abs=1e-12)
    # From phase 1 to 3 of 8 the sine runs from 45 to 135 degrees: 2 + 0.5 * 8 / (2 pi) * 2 cos(45).
    assert process.area(np.array([2.0]))[0] == pytest.approx(2 + 4 / math.pi * math.sqrt(0.5))


def test_diurnal_without_amplitude_is_poisson() -> None:
    flat = Diurnal(8.0, 0.0, 100.0).times(rng(), count=1000)
    assert flat == pytest.approx(Poisson(8.0).times(rng(), count=1000), abs=2e-9)


def test_fixed_phases_alternate() -> None:
    times = OnOff(100.0, 2.0, 3.0, 10.0, "fixed").times(rng(), duration_s=1000.0)
    bursting = (times % 5.0) < 2.0
    assert within(bursting.sum(), 40_000, 200)
    assert within((~bursting).sum(), 6_000, math.sqrt(6_000))


def test_exponential_phases_have_their_mean_and_make_bursts() -> None:
    process = OnOff(50.0, burst_s=2.0, idle_s=6.0)
    times = process.times(rng(), duration_s=40_000.0)
    # 5,000 cycles of 8 s, rate 12.5/s; the busy share 1/4 has variance 2 a b a b / ((a + b)**3 T) for means
    # a, b (renewal theory), 2 * 144 / (512 * 40,000) here.
    error = 50 * math.sqrt(2 * 144 / (8**3 * 40_000))
    assert within(len(times) / 40_000, 12.5, error + math.sqrt(12.5 / 40_000))
    counts = np.histogram(times, bins=np.arange(0, 40_001))[0]
    assert counts.var() / counts.mean() > 10  # Poisson has 1


def test_phases_do_not_depend_on_the_rates() -> None:
    quiet = OnOff(1.0, 2.0, 6.0).curve(rng("p"), 100.0, np.inf)
    busy = OnOff(99.0, 2.0, 6.0).curve(rng("p"), 100.0, np.inf)
    assert np.array_equal(quiet.starts_s, busy.starts_s)


def test_closed_loop_think_times() -> None:
    assert ClosedLoop(4, 2.5).think_times(rng(), 3).tolist() == [2.5, 2.5, 2.5]
    think = ClosedLoop(4, 2.5, "exponential").think_times(rng(), 50_000)
    assert within(think.mean(), 2.5, 2.5 / math.sqrt(50_000))
    assert isinstance(ClosedLoop(4), UserLoop) and not isinstance(ClosedLoop(4), OpenLoop)


def test_too_many_requests_are_refused_before_memory_is() -> None:
    with pytest.raises(ScenarioError, match=r"1e\+09 requests; the most is"):
        Poisson(1000.0).times(rng(), duration_s=1e6)


BAD_ARRIVALS = [
    ({"poisson": {"rate_per_s": 0}}, "greater than"),
    ({"poisson": {"rate_per_s": 1e-300}}, "greater than"),
    ({"poisson": {"rate_per_s": 1e300}}, "less than"),
    ({"poisson": {"rate_per_s": float("nan")}}, "rate_per_s"),
    ({"poisson": {"rate_per_s": float("inf")}}, "finite"),
    ({"poisson": {"rate": 3}}, "did you mean 'rate_per_s'"),
    ({"gamma": {"rate_per_s": 3, "cv": 0}}, "cv"),
    ({"piecewise": {"rates": []}}, "first point must be at time 0"),
    ({"piecewise": {"rates": [[5, 1]]}}, "first point must be at time 0"),
    ({"piecewise": {"rates": [[0, 1], [10, 2], [10, 3]]}}, "must increase"),
    ({"piecewise": {"rates": [[0, 0], [10, 0]]}}, "every rate is 0"),
    ({"piecewise": {"rates": [[0, -1]]}}, "greater than or equal to 0"),
    ({"diurnal": {"mean_rate_per_s": 3, "amplitude": 1.5}}, "amplitude"),
    ({"diurnal": {"mean_rate_per_s": 3, "period_s": 0}}, "period_s"),
    ({"on_off": {"burst_rate_per_s": 3, "burst_s": 1}}, "idle_s"),
    ({"on_off": {"burst_rate_per_s": 3, "burst_s": 1, "idle_s": 1, "phases": "weibull"}}, "exponential"),
    ({"closed_loop": {"users": 0}}, "users"),
    ({"closed_loop": {"users": 2, "think_s": "-1s"}}, "think_s"),
    ("poison", "did you mean 'poisson'"),
]


@pytest.mark.parametrize(("value", "message"), BAD_ARRIVALS, ids=repr)
def test_bad_parameters_are_refused(value: Any, message: str) -> None:
    with pytest.raises(ScenarioError, match=message):
        build("sim.workload.arrivals", value)


@settings(max_examples=60, deadline=None)
@given(
    process=st.one_of(
        st.builds(Poisson, st.floats(1e-3, 1e4)),
        st.builds(Gamma, st.floats(1e-3, 1e4), st.floats(0.01, 20)),
        st.builds(Constant, st.floats(1e-3, 1e4)),
        st.builds(Diurnal, st.floats(1e-3, 1e4), st.floats(0, 1), st.floats(1e-2, 1e5), st.floats(0, 1e5)),
        st.builds(OnOff, st.floats(1e-1, 1e3), st.floats(0.1, 10), st.floats(0.1, 10), st.floats(0, 9)),
    ),
    seed=st.integers(0, 2**63),
    count=st.integers(1, 300),
)
def test_times_are_sorted_finite_and_repeatable(process: OpenLoop, seed: int, count: int) -> None:
    times = process.times(stream(seed, "x"), count=count)
    assert len(times) == count and np.isfinite(times).all() and times[0] >= 0
    assert all(a <= b for a, b in pairwise(times.tolist()))
    assert times.tobytes() == process.times(stream(seed, "x"), count=count).tobytes()
