"""Boards as data: one TOML file each, and the loader that reads them."""

from compressor.targets.target import Figure, Objective, Provider, Runtime, Target

__all__ = ["Figure", "Objective", "Provider", "Runtime", "Target"]
