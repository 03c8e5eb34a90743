"""Trace files looked at: described, converted, and fitted by a synthetic workload."""
