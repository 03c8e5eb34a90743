"""Lengths: ranges, exact log-normal formulas, and draws from files."""

import math
from pathlib import Path
from statistics import NormalDist
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from sim.choice import build
from sim.errors import ScenarioError, TraceError
from sim.streams import stream
from sim.workload.lengths.empirical import Empirical
from sim.workload.lengths.exponential import Exponential
from sim.workload.lengths.fixed import Fixed
from sim.workload.lengths.lognormal import Z99, Lognormal, solve
from sim.workload.lengths.uniform import Uniform
from sim.workload.pairs.empirical import Empirical as EmpiricalPairs
from sim.workload.pairs.lognormal import Lognormal as LognormalPairs
from sim.workload.pairs.lognormal_p90 import LognormalP90


def rng(name: str = "test") -> np.random.Generator:
    return stream(5, name)


def test_fixed_and_uniform() -> None:
    assert Fixed(7).draw(rng(), 3).tolist() == [7, 7, 7]
    drawn = Uniform(3, 6).draw(rng(), 40_000)
    assert drawn.dtype == np.int64
    values, counts = np.unique(drawn, return_counts=True)
    assert values.tolist() == [3, 4, 5, 6]  # both ends included
    assert np.abs(counts - 10_000).max() < 4 * math.sqrt(40_000 * 0.25 * 0.75)


@given(st.floats(1, 1e6), st.floats(1, 14.9))
def test_the_lognormal_has_the_mean_and_percentile_asked(mean: float, ratio: float) -> None:
    mu, sigma = solve(mean, mean * ratio)
    assert math.exp(mu + sigma**2 / 2) == pytest.approx(mean, rel=1e-9)
    assert math.exp(mu + NormalDist().inv_cdf(0.99) * sigma) == pytest.approx(mean * ratio, rel=1e-9)
    assert 0 <= sigma <= Z99


def test_lognormal_limits() -> None:
    widest = math.exp(NormalDist().inv_cdf(0.99) ** 2 / 2)
    assert widest == pytest.approx(14.97, abs=0.005)
    assert solve(100, 100) == (math.log(100), 0.0)
    for ratio in (0.99, widest * 1.001):
        with pytest.raises(ValueError, match=r"between the mean and 14\.97 times the mean"):
            solve(100, 100 * ratio)


def test_lognormal_draws() -> None:
    n = 200_000
    drawn = Lognormal(mean=1155, p99=4142).draw(rng(), n)
    _, sigma = solve(1155, 4142)
    spread = 1155 * math.sqrt(math.exp(sigma**2) - 1)
    assert abs(drawn.mean() - 1155) < 4 * spread / math.sqrt(n)
    assert abs((drawn > 4142).mean() - 0.01) < 4 * math.sqrt(0.0099 / n)
    assert drawn.min() >= 1 and drawn.dtype == np.int64
    clipped = Lognormal(1155, 4142, min=500, max=2000).draw(rng(), n)
    assert (clipped == np.clip(drawn, 500, 2000)).all()


def test_lognormal_pairs_keep_their_margins_and_correlate() -> None:
    n = 100_000
    pairs = LognormalPairs(1000, 5000, 300, 900, correlation=0.6)
    prompt, output = pairs.draw_pairs(rng(), n)
    assert prompt.mean() == pytest.approx(1000, rel=0.02) and output.mean() == pytest.approx(300, rel=0.02)
    assert np.percentile(output, 99) == pytest.approx(900, rel=0.03)
    correlation = np.corrcoef(np.log(prompt), np.log(output))[0, 1]
    assert abs(correlation - 0.6) < 4 * (1 - 0.36) / math.sqrt(n) + 0.003  # rounding to tokens costs a little


def test_exponential_draws() -> None:
    """Mean and standard deviation are equal; cut at c, the mean is m - c / (exp(c / m) - 1)."""
    n = 200_000
    drawn = Exponential(mean=128).draw(rng(), n)
    assert abs(drawn.mean() - 128) < 4 * 128 / math.sqrt(n) and drawn.std() == pytest.approx(128, rel=0.02)
    assert drawn.min() == 1 and drawn.dtype == np.int64
    cut = Exponential(mean=128, max=128).draw(rng(), n)
    assert cut.mean() == pytest.approx(128 - 128 / (math.e - 1), abs=0.5) and cut.max() == 128


def test_lognormal_p90_draws() -> None:
    n = 100_000
    prompt, output = LognormalP90(1730, 5696, 415, 834).draw_pairs(rng(), n)
    for lengths, median, p90 in ((prompt, 1730, 5696), (output, 415, 834)):
        assert abs((lengths > median).mean() - 0.5) < 4 * math.sqrt(0.25 / n) + 0.001  # rounding to tokens
        assert abs((lengths > p90).mean() - 0.1) < 4 * math.sqrt(0.09 / n) + 0.001
    assert abs(np.corrcoef(np.log(prompt), np.log(output))[0, 1]) < 4 / math.sqrt(n)
    short, answer = LognormalP90(1730, 5696, 415, 834, total_max=8192).draw_pairs(rng(), n)
    assert len(short) == len(answer) == n and (short + answer).max() <= 8192
    kept = prompt[prompt + output <= 8192]
    assert short.mean() == pytest.approx(kept.mean(), rel=0.01)  # those that remain are as they were


@pytest.mark.parametrize(
    ("value", "message"),
    [
        ({"prompt_p90": 8}, "prompt_p90 .8. must be at least prompt_median .9."),
        ({"total_max": 9}, "sum of the two medians"),
    ],
    ids=repr,
)
def test_bad_pairs_are_refused(value: Any, message: str) -> None:
    right = {"prompt_median": 9, "prompt_p90": 9, "output_median": 1, "output_p90": 1}
    with pytest.raises(ScenarioError, match=message):
        build("sim.workload.pairs", {"lognormal_p90": right | value})


@pytest.mark.parametrize(
    ("value", "message"),
    [
        ({"exponential": {"mean": 1000, "max": 3}}, "nearly nothing"),
        ({"fixed": {"tokens": 0}}, "greater than or equal to 1"),
        ({"fixed": {"tokens": 12.5}}, "tokens"),
        ({"fixed": {"tokens": 20_000_000}}, "less than or equal to 10000000"),
        ({"uniform": {"low": 5, "high": 4}}, r"high \(4\) must be at least low \(5\)"),
        ({"lognormal": {"mean": 100, "p99": 1600}}, "14.97 times the mean"),
        ({"lognormal": {"mean": 100, "p99": 300, "min": 9, "max": 8}}, "max .8. must be at least min .9."),
        ({"empirical": {"path": "x.csv"}}, "column"),
        ("log_normal", "did you mean 'lognormal'"),
    ],
    ids=repr,
)
def test_bad_parameters_are_refused(value: Any, message: str) -> None:
    with pytest.raises(ScenarioError, match=message):
        build("sim.workload.lengths", value)


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("l.csv", "note,prompt_tokens,output_tokens\na,10,1\nb,20,2\nc,30,3\n"),
        (
            "l.jsonl",
            '{"prompt_tokens": 10, "output_tokens": 1}\n\n{"prompt_tokens": 20, "output_tokens": 2}\n'
            '{"prompt_tokens": 30, "output_tokens": 3}',
        ),
    ],
)
def test_empirical_draws_rows_alike(tmp_path: Path, name: str, text: str) -> None:
    path = tmp_path / name
    path.write_text(text)
    prompts, outputs = EmpiricalPairs(str(path)).draw_pairs(rng(), 9_000)
    assert (prompts == 10 * outputs).all()  # pairs stay together
    counts = np.bincount(outputs)[1:]
    assert np.abs(counts - 3000).max() < 4 * math.sqrt(9000 * 2 / 9)
    assert set(Empirical(str(path), "output_tokens").draw(rng(), 100).tolist()) == {1, 2, 3}


def test_a_bad_length_in_a_file_is_named(tmp_path: Path) -> None:
    path = tmp_path / "l.csv"
    path.write_text("prompt_tokens\n10\n\nmany\n")
    with pytest.raises(TraceError, match=r"l\.csv, line 4: prompt_tokens is 'many', not a whole number"):
        Empirical(str(path), "prompt_tokens").draw(rng(), 3)
    path.write_text("prompt_tokens,x\n10,1\n11\n")
    with pytest.raises(TraceError, match=r"line 3: 1 fields where the header has 2"):
        Empirical(str(path), "prompt_tokens").draw(rng(), 3)
    path.write_text("prompt_tokens\n")
    with pytest.raises(TraceError, match="no rows"):
        Empirical(str(path), "prompt_tokens").draw(rng(), 3)


def test_real_lengths_keep_their_correlation(shared: Path) -> None:
    path = str(shared / "traces/azure2023/AzureLLMInferenceTrace_conv.csv.gz")
    prompts, outputs = EmpiricalPairs(path, "ContextTokens", "GeneratedTokens").draw_pairs(rng(), 50_000)
    assert prompts.mean() == pytest.approx(1155, rel=0.02) and outputs.mean() == pytest.approx(211, rel=0.02)
