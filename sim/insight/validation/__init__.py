"""A real run replayed through a scenario: measured, simulated, error."""

from sim.insight.validation.replay import Validation, validate

__all__ = ["Validation", "validate"]
