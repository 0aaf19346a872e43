"""The works-when checks of low rank: Greenformers, PELA, LASER, self-guided training, Pixelated Butterfly and the
factorized embedding of Subformer, each with what was measured, held or missed.

    python benchmarks/low_rank_claims.py [--only NAME ...] [--seeds 3] [--budget 90min]

Finished cells are kept in `results/low_rank_claims.json`, and a later run goes on from there; the exit status says
whether every goal was judged and holds.
"""

from __future__ import annotations

from claims import LOW_RANK
from works_when import main

if __name__ == "__main__":
    raise SystemExit(main(__doc__, LOW_RANK, "low_rank_claims"))
