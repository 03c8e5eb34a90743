"""Device facts: complete, sourced, and refused when impossible."""

import shutil
from pathlib import Path

import pytest
import yaml

from sim import hardware
from sim.errors import ProfileError
from sim.paths import data_dir

DEVICES = ["a100-80g", "a10g", "b200", "h100-sxm", "h200-sxm", "l4", "l40s", "mi300x", "rtx-4090"]


def copy_of(device: str, folder: Path, /, **changes: object) -> Path:
    """A device folder like the shipped one, with top-level facts changed (None removes)."""
    shutil.copytree(data_dir("hwprofiles") / device, folder / device)
    file = folder / device / "device.yaml"
    content = yaml.safe_load(file.read_text())
    content.update(changes)
    file.write_text(yaml.safe_dump({key: value for key, value in content.items() if value is not None}))
    return folder / device


def test_shipped_devices() -> None:
    assert set(DEVICES) <= set(hardware.names())


@pytest.mark.parametrize("name", DEVICES)
def test_every_fact_has_a_source(name: str) -> None:
    profile = hardware.load(name)
    assert profile.name == name
    assert profile.provenance in ("datasheet", "imported", "measured")
    facts = {"memory_bytes", "peak_flops.bf16", "power_w", "kernel_latency_s", "derates.gemm_flops"}
    assert facts <= set(profile.sources)
    for fact, source in profile.sources.items():
        known = ("datasheet:", "imported:", "assumed:", "measured:")
        assert source.startswith(known) or fact == "price_usd_per_hour", (fact, source)
    if profile.price_usd_per_hour is not None:
        assert "as of" in profile.sources["price_usd_per_hour"] or "undated" in profile.sources["price_usd_per_hour"]


def test_h100_datasheet() -> None:
    """H100 SXM: 3.35 TB/s, 989 bf16 and 1979 fp8 TFLOP/s dense, NVLink 900 GB/s both ways, 700 W."""
    h100 = hardware.load("h100-sxm")
    assert h100.memory_bandwidth_bytes_per_s == 3.35e12
    assert h100.peak("bf16") == h100.peak("fp16") == pytest.approx(989e12)
    assert h100.peak("fp8") == pytest.approx(1979e12, rel=1e-3)
    assert h100.intra_node_bandwidth_bytes_per_s == 450e9
    assert h100.power_w == 700
    assert 79e9 < h100.memory_bytes < 80 * 2**30
    assert hardware.load("a100-80g").peak("fp8") == 312e12  # no fp8 units: computes in bf16


def test_unknown_device_suggests_the_nearest() -> None:
    with pytest.raises(ProfileError, match=r"no GPU profile 'h100-sxn'.*did you mean 'h100-sxm'"):
        hardware.load("h100-sxn")


def test_digest_follows_the_content(tmp_path: Path) -> None:
    same = hardware.load(copy_of("l4", tmp_path / "a"))
    again = hardware.load(copy_of("l4", tmp_path / "b"))
    other = hardware.load(copy_of("l4", tmp_path / "c", power_w={"value": 73, "source": "assumed: x"}))
    assert same.digest == again.digest != other.digest
    folder = copy_of("l4", tmp_path / "d")
    (folder / "points.csv").write_text("op,time_s\n")
    assert hardware.load(folder).digest != same.digest


@pytest.mark.parametrize(
    ("changes", "complaint"),
    [
        ({"memory_bytes": None}, "fact 'memory_bytes' must be given as"),
        ({"memory_bytes": 5}, "fact 'memory_bytes' must be given as"),
        ({"memory_bytes": {"value": 5}}, "fact 'memory_bytes' must be given as"),
        ({"power_w": {"value": -1, "source": "s"}}, "fact 'power_w' must be a positive number, not -1"),
        ({"power_w": {"value": float("nan"), "source": "s"}}, "fact 'power_w' must be a positive number"),
        ({"power_w": {"value": "lots", "source": "s"}}, "fact 'power_w' must be a positive number"),
        ({"peak_flops": None}, r"fact 'peak_flops\.bf16' is missing"),
        ({"provenance": "hearsay"}, "'provenance' is 'hearsay'"),
        ({"gpus_per_node": {"value": 7.5, "source": "s"}}, "'gpus_per_node' must be a whole number"),
        ({"memory_bytess": {"value": 1, "source": "s"}}, "unknown fact 'memory_bytess'"),
        ({"derates": {"gemm_flops": {"value": 1.5, "source": "s"}}}, "share of the peak, at most 1"),
        ({"name": None}, "'name' is missing"),
    ],
)
def test_impossible_facts(changes: dict[str, object], complaint: str, tmp_path: Path) -> None:
    folder = copy_of("h100-sxm", tmp_path, **changes)
    with pytest.raises(ProfileError, match=complaint) as error:
        hardware.load(folder)
    assert "device.yaml" in str(error.value)


def test_unreadable_yaml(tmp_path: Path) -> None:
    (tmp_path / "device.yaml").write_text("a: [")
    with pytest.raises(ProfileError, match="not readable as YAML"):
        hardware.load(tmp_path)
