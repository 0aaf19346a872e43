"""What the default learning rate of recovery is worth: beside once, twice, four and ten times a plain rate.

    python benchmarks/rates.py [--only gpt] [--steps 60] [--budget 1h]

Networks cut by the passes named, then recovered for so many steps at each rate. The plain rate is 1e-3 for
convolutional networks, 3e-4 for others; the default counts in the width and how much was lost
(`compressor.passes.recover.rates`). Printed: held-out loss at every rate, and the default's against the best one's and
the plain one's. Finished cells are kept in `results/rates.json`.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Iterator, Mapping, Sequence

from cells import Cell, Cells, arguments
from solvers import Claim, told
from subjects import SUBJECTS, Subject

from compressor.devices.latency.lookup import latency_model
from compressor.graph.contract import Context
from compressor.graph.program import Program
from compressor.passes.recover import Settings, recover
from compressor.passes.recover.rates import plain_rate
from compressor.passlist import parse_passes
from compressor.targets.loader import load_target

CUTS: Mapping[str, Sequence[str]] = {
    "resnet": ("drop=0.5", "drop=0.25", "factorize=0.3"),
    "vit": ("drop=0.25,share=2", "factorize=0.5"),
    "gpt": ("drop=0.25,share=2", "drop=0.25", "factorize=0.5"),
    "minilm": ("drop=0.25,share=2", "factorize=0.5"),
}
TIMES = (1, 2, 4, 10)
TESTS, SAMPLES, BATCH = 1024, 256, 32
DEFAULT, NEAR = "default", 1.1  # of the least held-out loss, on geometric average


def main() -> int:
    parser = arguments(__doc__, CUTS, "1h")
    parser.add_argument("--steps", type=int, default=60)
    options = parser.parse_args()
    cells = Cells("rates", options.budget)
    for name in options.only:
        subject: Subject | None = None
        for passes in CUTS[name]:
            keys = {times: _key(name, passes, options.steps, times) for times in (*TIMES, DEFAULT)}
            if all(key in cells for key in keys.values()):
                continue
            subject = subject or SUBJECTS[name](TESTS)
            program = _cut(subject, passes, options.steps)
            for times, key in keys.items():
                cells.measure(key, functools.partial(_recovered, subject, program, options.steps, times))
    print("\n".join(_table(cells, options.steps)))
    held = told(list(claims(cells, options.steps)))
    print(cells.took())
    return 0 if held else 1


def _key(name: str, passes: str, steps: int, times: object) -> str:
    return f"{name} {passes} @{steps} {times}"


def _cut(subject: Subject, passes: str, steps: int) -> Program:
    target = load_target("host")
    context = Context(
        target, latency=latency_model(target), calibration=subject.batches(SAMPLES, 0),
        training=subject.batches(steps * BATCH, 1), teacher=subject.program, synthetic=False,
    )  # fmt: skip
    program = subject.program
    for spec in parse_passes(passes):
        program = spec.build().run(program, context).program
    return program


def _recovered(subject: Subject, program: Program, steps: int, times: int | str) -> Cell:
    rate = None if isinstance(times, str) else times * plain_rate(program)
    done = recover(
        program, subject.program, subject.batches(steps * BATCH, 1), f"{steps}steps",
        held=subject.batches(4 * BATCH, 2), settings=Settings(rate=rate),
    )  # fmt: skip
    return {
        "rate": done.rate, "agreement": done.metric[0], "before": done.before, "after": done.after,
        **subject.figures(done.program),
    }  # fmt: skip


def _rows(cells: Mapping[str, Cell], steps: int) -> Iterator[tuple[str, dict[object, Cell]]]:
    for name, cuts in CUTS.items():
        for passes in cuts:
            keys = {times: _key(name, passes, steps, times) for times in (*TIMES, DEFAULT)}
            if all(key in cells for key in keys.values()):
                yield f"{name} {passes}", {times: cells[key] for times, key in keys.items()}


def _table(cells: Mapping[str, Cell], steps: int) -> Iterator[str]:
    yield f"| {steps} steps | agreement | cut | {' | '.join(f'{times}×' for times in TIMES)} | default (rate) |"
    yield "|---" * (4 + len(TIMES)) + "|"
    for title, row in _rows(cells, steps):
        by_default = row[DEFAULT]
        losses = " | ".join(f"{row[times]['after']:.4f}" for times in TIMES)
        cut = f"{by_default['agreement']:.2f} | {by_default['before']:.3f}"
        yield f"| {title} | {cut} | {losses} | {by_default['after']:.4f} ({by_default['rate']:.1e}) |"


def claims(cells: Mapping[str, Cell], steps: int) -> Iterator[Claim]:
    """The default against the best of the four and against the plain rate, over all cuts."""
    rows = list(_rows(cells, steps))
    if not rows:
        return
    best = _mean([row[DEFAULT]["after"] / min(row[times]["after"] for times in TIMES) for _, row in rows])
    base = _mean([row[DEFAULT]["after"] / row[1]["after"] for _, row in rows])
    yield "held-out loss at the default rate, of the best of four rates", best, NEAR
    yield "held-out loss at the default rate, of the plain one's", base, 1.0


def _mean(ratios: Sequence[float]) -> float:
    """Geometric."""
    return math.exp(sum(map(math.log, ratios)) / len(ratios))


if __name__ == "__main__":
    raise SystemExit(main())
