"""The works-when checks of Mamba-Shedder and of FoldGPT's gates and cure: which blocks go, and what brings them back.

    python benchmarks/depth_claims.py [--only NAME ...] [--seeds 3] [--budget 60min]

Finished cells are kept in `results/depth_claims.json`. A seed takes about eight minutes on one core of its own.
"""

from __future__ import annotations

import functools
import itertools

from cells import Cells, arguments
from claims.claim import Claim
from claims.depth import CLAIMS
from works_when import report

TABLE: dict[str, Claim] = {claim.name: claim for claim in CLAIMS}


def main() -> int:
    parser = arguments(__doc__, TABLE, "60min")
    parser.add_argument("--seeds", type=int, default=3)
    options = parser.parse_args()
    cells = Cells("depth_claims", options.budget)
    for seed, name in itertools.product(range(options.seeds), options.only):
        for arm, run in TABLE[name].arms.items():
            cells.measure(f"{name} {arm} seed {seed}", functools.partial(run, seed))
    held = [report(TABLE[name], cells, options.seeds) for name in options.only]
    print(cells.took())
    return 0 if all(held) else 1


if __name__ == "__main__":
    raise SystemExit(main())
