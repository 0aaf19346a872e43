"""The works-when checks of Mamba-Shedder and of FoldGPT's gates and cure: which blocks go, and what brings them back.

    python benchmarks/depth_claims.py [--only NAME ...] [--seeds 3] [--budget 60min]

Finished cells are kept in `results/depth_claims.json`. A seed takes about eight minutes on one core of its own.
"""

from __future__ import annotations

from claims import DEPTH
from works_when import main

if __name__ == "__main__":
    raise SystemExit(main(__doc__, DEPTH, "depth_claims", "60min"))
