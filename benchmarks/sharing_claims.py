"""The works-when checks of shared weights: CRaSh, Subformer, WideNet's rule, MobiLlama, transposed MLPs, STABLE-RPS and
FoldGPT's second part, each with what was measured, held or missed.

    python benchmarks/sharing_claims.py [--only NAME ...] [--seeds 3] [--budget 90min]

Finished cells are kept in `results/sharing_claims.json`, and a later run goes on from there; the exit status says
whether every goal was judged and holds.
"""

from __future__ import annotations

from claims import SHARING
from works_when import main

if __name__ == "__main__":
    raise SystemExit(main(__doc__, SHARING, "sharing_claims"))
