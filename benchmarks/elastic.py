"""The works-when checks of BigNAS, InstaTune, MatFormer, SoFT and LLaMA-NAS: what one training for many is worth.

    python benchmarks/elastic.py [--only bignas ...] [--seeds 3] [--steps 300] [--images 12000] [--epochs 6]

Finished cells are kept in `results/elastic.json` under the numbers of steps and images, and a later run goes on from
there. A seed takes about half an hour on a core of its own. Seconds are the process's own on the
processor, so that neighbours count little; `OMP_NUM_THREADS=1` keeps them comparable.
"""

from __future__ import annotations

from cells import Cells, arguments
from claims.elastic import elastic_claims
from claims.llama_nas import llama_nas
from works_when import run_claims

NAMES = ("bignas", "instatune", "matformer", "soft", "llama")


def main() -> int:
    parser = arguments(__doc__ or "", NAMES, "5h")
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--steps", type=int, default=300, help="of the GPT")
    parser.add_argument("--images", type=int, default=12000, help="that the CNNs see")
    parser.add_argument("--epochs", type=int, default=6, help="over them")
    options = parser.parse_args()
    every = (*elastic_claims(options.steps, options.images, options.epochs), llama_nas(options.steps))
    claims = [claim for claim in every if claim.name.split("-")[0] in options.only]
    return run_claims(claims, Cells("elastic", options.budget), options.seeds)


if __name__ == "__main__":
    raise SystemExit(main())
