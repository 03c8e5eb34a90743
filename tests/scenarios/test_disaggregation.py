"""What the scenarios on separate prefill and decode say."""

from typing import Any

import pytest

import sim


def summary(name: str, variant: str | None, rate_per_s: float, *more: str) -> dict[str, Any]:
    overrides = [f"workload.arrivals={{poisson: {{rate_per_s: {rate_per_s}}}}}", *more]
    return sim.run(name, overrides=overrides, variant=variant).summary


@pytest.mark.parametrize(
    ("variant", "meets", "fails"),
    [
        (None, 1.6, 3.5),  # here up to 2.9: the scenario says why
        ("prefill only", 5.6, 7.5),
        ("decode only", 10, 12.5),
        ("2 prefill and 1 decode", 3 * 3.3, 12.5),
    ],
)
def test_distserve(variant: str | None, meets: float, fails: float) -> None:
    """Nine tenths meet TTFT 0.4 s and TPOT 40 ms at the published rate, and not far beyond."""
    found = [summary("papers/distserve", variant, rate)["slo_attainment"]["all"] for rate in (meets, fails)]
    assert found[0] >= 0.9 > found[1]


def test_two_and_one_carry_more_per_gpu_than_both_together() -> None:
    """Published 2.1 times as much; here 1.3: at 3.6 a second and GPU one meets the targets, and the other does not."""
    assert summary("papers/distserve", "2 prefill and 1 decode", 10.8)["slo_attainment"]["all"] >= 0.9
    assert summary("papers/distserve", None, 3.6)["slo_attainment"]["all"] < 0.9


def test_split_prefill_and_decode_or_not() -> None:
    name = "prefill-decode-split"
    at_six = [summary(name, variant, 6) for variant in (None, "smaller chunks", "2 prefill, 2 decode")]
    met = [one["slo_attainment"]["all"] for one in at_six]
    assert met == pytest.approx([0.77, 0.92, 0.97], abs=0.02)
    assert [one["mean_tpot_ms"] for one in at_six] == pytest.approx([22.6, 20.9, 17.3], abs=0.5)
    assert at_six[2]["handover"]["bytes"] / 800 == pytest.approx(1.05e9, rel=0.05)


def test_the_split_must_fit_the_traffic() -> None:
    name = "prefill-decode-split"
    met = [summary(name, one, 8)["slo_attainment"]["all"] for one in ("2 prefill, 2 decode", "3 prefill, 1 decode")]
    assert met == pytest.approx([0.75, 0.19], abs=0.03)


def test_a_slow_network_is_saturated_by_kv() -> None:
    found = summary("prefill-decode-split", "2 and 2 over 25 Gb/s", 6, "workload.requests=200")
    assert found["saturated"]
    assert found["slo_attainment"]["all"] < 0.02
    assert found["handover"]["link_utilisation_peak"] > 0.8
    assert found["handover"]["mean_kv_transfer_ms"] > 5000
