"""The works-when checks of the methods behind the passes; `benchmarks/works_when.py` runs them."""

from __future__ import annotations

from . import language, learned, qmoe, taught, tinysam, vision, wanda
from .claim import Claim, Goal, Verdict, judged

__all__ = ["CLAIMS", "Claim", "Goal", "Verdict", "judged"]

PARTS = (language, learned, vision, taught, wanda, qmoe, tinysam)
CLAIMS: dict[str, Claim] = {claim.name: claim for part in PARTS for claim in part.CLAIMS}
