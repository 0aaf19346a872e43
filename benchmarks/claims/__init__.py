"""The works-when checks of the methods behind pruning and recovery; `benchmarks/works_when.py` runs them."""

from __future__ import annotations

from . import language, vision, wanda
from .claim import Claim, Goal, Verdict, judged

__all__ = ["CLAIMS", "Claim", "Goal", "Verdict", "judged"]

CLAIMS: dict[str, Claim] = {claim.name: claim for claim in (*language.CLAIMS, *vision.CLAIMS, *wanda.CLAIMS)}
