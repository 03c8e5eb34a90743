"""What holds a scenario back, what would mend it, and by how much."""

from sim.insight.diagnosis.diagnose import Binding, Diagnosis, Fix, diagnose

__all__ = ["Binding", "Diagnosis", "Fix", "diagnose"]
