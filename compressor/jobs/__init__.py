"""Many models for many targets: lists of jobs, on one machine or many."""

from __future__ import annotations

__all__ = ["ENGINES"]

ENGINES = ("here", "ray")
