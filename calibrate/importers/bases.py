"""Which profile has the facts of the GPU that a source names."""

import re

from sim import hardware
from sim.choice import nearest
from sim.errors import ProfileError
from sim.hardware import Profile

_MEMORY_SHARE = 0.12
"""A label says 80 GB of a GPU whose driver reports 85e9 bytes, or 141 GB of one with 150e9."""
_VENDORS = ("nvidia", "amd", "tesla", "geforce")
_FORM = r"(?:sxm\d?|dgx|hbm\d?e?|oam)"


def base_for(label: str | None, asked: str | None) -> Profile:
    """The profile whose facts an import takes over: the asked one, or the shipped one that `label` means.

    "h100", "h100_dgx", "h100_sxm" and "NVIDIA H100 80GB HBM3" are h100-sxm; "NVIDIA H100 PCIe" is not; "a100" may be
    either of two. Raises ProfileError where no profile fits, or several do, or the asked one does not exist.
    """
    if asked is not None:
        return hardware.load(asked)
    if label is None:
        raise ProfileError("the source does not say which GPU it measured; name one that has its facts with --base")
    shipped = [hardware.load(name) for name in hardware.names()]
    found = [profile for profile in shipped if profile.provenance == "datasheet" and _means(label, profile)]
    if len(found) == 1:
        return found[0]
    if found:
        fitting = " or ".join(profile.name for profile in found)
        raise ProfileError(f"GPU {label!r} may be {fitting}; say which one with --base")
    raise ProfileError(
        f"no shipped profile has the facts of GPU {label!r}; name one with --base: "
        f"{', '.join(hardware.names())}, or a folder with a device.yaml of your own{nearest(label, hardware.names())}"
    )


def _means(label: str, profile: Profile) -> bool:
    """Whether the label is the profile's family (h100, rtx4090), a memory size that fits and a form factor."""
    plain = re.sub(r"[^a-z0-9]", "", label.lower())
    for vendor in _VENDORS:
        plain = plain.removeprefix(vendor)
    family = re.sub(r"-(sxm|\d+g)$", "", profile.name).replace("-", "")
    match = re.fullmatch(rf"{family}{_FORM}?(?:(?P<size>\d+)gb?)?{_FORM}*", plain)
    if match is None:
        return False
    size = match["size"]
    return size is None or abs(float(size) * 1e9 / profile.memory_bytes - 1) < _MEMORY_SHARE
