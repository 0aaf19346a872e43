"""The works-when checks of the methods behind the passes; `benchmarks/works_when.py` runs them, those of low rank
`benchmarks/low_rank_claims.py`, of shared weights `benchmarks/sharing_claims.py`, of depth
`benchmarks/depth_claims.py`."""

from __future__ import annotations

from . import depth, language, learned, low_rank, qmoe, sharing, taught, thin, tinysam, vision, wanda
from .claim import Claim, Goal, Verdict, judged

__all__ = ["CLAIMS", "DEPTH", "LOW_RANK", "SHARING", "Claim", "Goal", "Verdict", "judged"]

PARTS = (language, learned, vision, taught, wanda, qmoe, tinysam)
CLAIMS: dict[str, Claim] = {claim.name: claim for part in PARTS for claim in part.CLAIMS}
LOW_RANK: dict[str, Claim] = {claim.name: claim for part in (low_rank, thin) for claim in part.CLAIMS}
DEPTH: dict[str, Claim] = {claim.name: claim for claim in depth.CLAIMS}
SHARING: dict[str, Claim] = {claim.name: claim for claim in sharing.CLAIMS}
