"""What a scenario may say, section by section, as frozen pydantic models."""

from sim.sections.cluster import Cluster, Placement, Pool
from sim.sections.engine import SETTINGS_OF_SOME_BATCHINGS, Engine
from sim.sections.targets import Measure, Slo, Tenant

__all__ = ["SETTINGS_OF_SOME_BATCHINGS", "Cluster", "Engine", "Measure", "Placement", "Pool", "Slo", "Tenant"]
