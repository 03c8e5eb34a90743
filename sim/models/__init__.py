"""Architectures: built-in facts, or any Hugging Face config.json, and the operations of one step."""

from sim.models.catalog import builtin_names, load
from sim.models.model import Model
from sim.models.shape import BatchShape

__all__ = ["BatchShape", "Model", "builtin_names", "load"]
