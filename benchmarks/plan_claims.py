"""The works-when checks of Puzzle, SimQ-NAS, Compressor's search and the ℓ1/ℓ2 surrogate: what solvers are worth.

    python benchmarks/plan_claims.py FOLDER [--only simq ...] [--seeds 3] [--budget 2h]

FOLDER keeps what was weighed. Finished cells are kept in `results/plan_claims.json`, and a later run goes on from
there.
"""

from __future__ import annotations

import functools
from pathlib import Path

from cells import Cells, arguments
from claims.planning import planning_claims
from claims.students import students_claim
from claims.surrogate import surrogate_claim
from subjects import SUBJECTS, Subject
from weighing import Weighed, weigh
from works_when import run_claims

NAMES = ("puzzle", "simq", "compressor", "surrogate")
TESTS = 1024


def main() -> int:
    parser = arguments(__doc__ or "", NAMES, "2h")
    parser.add_argument("folder", type=Path)
    parser.add_argument("--seeds", type=int, default=3)
    options = parser.parse_args()

    @functools.cache
    def subjects(name: str) -> tuple[Subject, Weighed]:
        subject = SUBJECTS[name](TESTS)
        return subject, weigh(subject, options.folder)

    every = [*planning_claims(subjects), students_claim(), surrogate_claim(subjects)]
    claims = [claim for claim in every if claim.name.split("-")[0] in options.only]
    return run_claims(claims, Cells("plan_claims", options.budget), options.seeds)


if __name__ == "__main__":
    raise SystemExit(main())
