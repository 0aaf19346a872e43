"""The works-when checks of LLM-Pruner, Minitron, OTOv2, SlimSAM, EfficientLLM, Sheared LLaMA, Wanda, Hinton, OFA-KD
and DistilCamemBERT's preset: each with what was measured, held or missed.

    python benchmarks/works_when.py [--only NAME ...] [--seeds 3] [--budget 90min]

Arms of a check see the same data for the same steps; those that choose on the way what goes hold out a sixth of it
where recovery alone does not. Finished cells are kept in `results/works_when.json`, and a later run goes on from there;
the exit status says whether every goal was judged and holds. Every check was sized for about ten minutes on two cores.
"""

from __future__ import annotations

import functools
import itertools
from collections.abc import Mapping, Sequence

from cells import Cell, Cells, arguments
from claims import CLAIMS, Claim, judged


def main(
    description: str = __doc__, claims: Mapping[str, Claim] = CLAIMS, file: str = "works_when", budget: str = "90min"
) -> int:
    """Measures what the command line asks of these claims, and reports it; the exit status."""
    parser = arguments(description, claims, budget)
    parser.add_argument("--seeds", type=int, default=3)
    options = parser.parse_args()
    return run_claims([claims[name] for name in options.only], Cells(file, options.budget), options.seeds)


def run_claims(claims: Sequence[Claim], cells: Cells, seeds: int) -> int:
    """Measures what is not there yet, a seed of all claims before the next, and reports it; the exit status."""
    for seed, claim in itertools.product(range(seeds), claims):
        for arm, run in claim.arms.items():
            cells.measure(f"{claim.name} {arm} seed {seed}", functools.partial(run, seed))
    held = [report(claim, cells, seeds) for claim in claims]
    print(cells.took())
    return 0 if all(held) else 1


def report(claim: Claim, cells: Mapping[str, Cell], seeds: int) -> bool:
    """Prints every goal with its figure; whether all hold."""

    def figures(name: str) -> dict[int, float]:
        arm, figure = name.split(".", 1)  # a figure may be of a share, as 0.5
        found = {seed: cells.get(f"{claim.name} {arm} seed {seed}") for seed in range(seeds)}
        return {seed: cell[figure] for seed, cell in found.items() if cell is not None}

    print(f"\n{claim.name}: {claim.says}")
    held = True
    for goal in claim.goals:
        verdict = judged(goal, figures)
        if verdict is None:
            held = False
            print(f"  ?       {goal.says}: not measured for all seeds")
            continue
        held &= verdict.holds
        sign = f"≤ {goal.bound:g}" if goal.kind == "ratio" else f"≥ {goal.bound:+g}"
        word = "held" if verdict.holds else "MISSED"
        print(f"  {word:7} {goal.says}: {verdict.value:.4f} ± {verdict.error:.4f} (goal {sign})")
    return held


if __name__ == "__main__":
    raise SystemExit(main())
