"""Models from files, told apart by content and never by suffix, without executing anything that a file brings along."""

from __future__ import annotations

from compressor.load.convert import to_program
from compressor.load.loaded import Loaded
from compressor.load.model import load_model

__all__ = ["Loaded", "load_model", "to_program"]
