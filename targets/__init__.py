"""Boards as data: one TOML file each, and the loader that reads them."""

from compressor.targets.loader import HOST, load_target, target_names
from compressor.targets.target import Figure, Objective, Provider, Runtime, Sparsity, Target

__all__ = [
    "HOST", "Figure", "Objective", "Provider", "Runtime", "Sparsity", "Target", "load_target", "target_names",
]  # fmt: skip
