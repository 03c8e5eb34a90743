"""What profiles hold, and how two of them compare."""

from sim.insight.profiles.inventory import all_inventories, inventory
from sim.insight.profiles.ratios import Setting, compare_profiles

__all__ = ["Setting", "all_inventories", "compare_profiles", "inventory"]
