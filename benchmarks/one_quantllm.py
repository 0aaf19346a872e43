"""One QuantLLM's works-when check: does one training serve three budgets of bits as well as a training for each does?

    python benchmarks/one_quantllm.py [--seeds 0 1 2] [--steps 400] [--budget 3h]

The byte-level GPT of 1.9M parameters, perplexity on held-out prose; its blocks' linear layers in 2, 4 or 8 bits, with a
scale for 32 weights, which adds one bit. *once* trains for all three budgets together, half as many steps as *alone*
takes for the three of them: there a mixed network is planned for one budget and trained by itself, in all its weights.
*shared* has one adapter for all formats of a layer in place of one each. All learn from the float network, on windows
drawn by the seed. `two` is the network with all layers in 2 bits. Finished cells are kept in
`results/one_quantllm.json`, and a later run goes on from there; a seed of 400 steps takes about 50 minutes on
one quiet core.
"""

from __future__ import annotations

import functools
import itertools
from dataclasses import replace

from cells import Cells, arguments
from claims.claim import Claim, Figures, Goal
from claims.language import BATCH, subject
from works_when import report

from compressor.graph.contract import Context, Setting, Skip
from compressor.graph.functional import functional_copy
from compressor.graph.program import Program
from compressor.passes.quantize import Quantize
from compressor.passes.quantizing.carry import carry_out
from compressor.passes.quantizing.choosing.mixed import plan_mixed
from compressor.passes.quantizing.choosing.plan import Limits
from compressor.passes.quantizing.codes.rounding import Rounding, plain_solver
from compressor.passes.quantizing.settings import format_of
from compressor.passes.quantizing.training import Lesson, Once, taught_once
from compressor.targets.loader import load_target

__all__ = ["claims"]

BUDGETS = {"low": 3.5, "middle": 5.0, "high": 7.0}  # bits a weight on average
BLOCK, CALIBRATION = 32, 4
KEEP = ("words", "positions", "head")
LIMITS = Limits(static=False, calibrator="mse", percentile=99.99, samples=128, max_error=0.04)


def main() -> int:
    parser = arguments(__doc__ or "", ["one-quantllm"], "3h")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--steps", type=int, default=400, help="of each network that is trained alone")
    options = parser.parse_args()
    claim, cells = claims(options.steps), Cells("one_quantllm", options.budget)
    for seed, (arm, run) in itertools.product(options.seeds, claim.arms.items()):
        cells.measure(f"{claim.name} {arm} seed {seed}", functools.partial(run, seed))
    held = report(claim, cells, max(options.seeds) + 1)
    print(cells.took())
    return 0 if held else 1


def claims(steps: int) -> Claim:
    """The check at so many steps a network that is trained alone."""
    together = len(BUDGETS) * steps // 2
    return Claim(
        f"one-quantllm-{steps}", f"GPT of 1.9M, {together} steps of {BATCH} windows for all, {steps} for each alone",
        {
            "once": functools.partial(once, together, False),
            "shared": functools.partial(once, together, True),
            **{f"alone-{name}": functools.partial(alone, steps, bits) for name, bits in BUDGETS.items()},
        },
        [
            *(
                Goal(f"{bits:g} bits from one training", f"once.{name}", f"alone-{name}.perplexity", "ratio", 1.05)
                for name, bits in BUDGETS.items()
            ),
            Goal("2 bits: an adapter a format against one for all", "once.two", "shared.two", "ratio", 1 / 1.05),
        ],
    )  # fmt: skip


def once(steps: int, shared: bool, seed: int) -> Figures:
    """All budgets' networks out of one training."""
    given, copy = context(steps, seed), functional_copy(subject().program)[0]
    lesson = Lesson(f"{steps}steps", budgets="/".join(f"{bits:g}" for bits in BUDGETS.values()))
    trained: list[Once] = []

    def teach(program: Program, choices: str) -> Once | Skip:
        if not trained:
            found = taught_once(program, replace(lesson, choices=choices), given, shared=shared)
            if isinstance(found, Skip):
                return found
            trained.append(found)
        return trained[0]

    figures: dict[str, float] = {}
    for name, bits in BUDGETS.items():
        plan = plan_mixed(copy, given, LIMITS, BLOCK, bits, _plain, KEEP, slower=True, teach=teach)
        figures[name] = _perplexity(copy, plan.settings, plan.once, lesson, given)
    two = {name: {"format": "int2", "block": BLOCK, "activation": "int8"} for name in trained[0].supernet.first}
    return {**figures, "two": _perplexity(copy, two, trained[0], lesson, given)}


def alone(steps: int, bits: float, seed: int) -> Figures:
    """A mixed network, planned and trained for one budget."""
    pass_ = Quantize(
        "mixed", bits=bits, block=BLOCK, mode="weight-only", slower=True, solver="mse", bias="none", equalize="none",
        train=f"{steps}steps", keep=KEEP,
    )  # fmt: skip
    result = pass_.run(subject().program, context(steps, seed))
    formats = [format_of(setting) for site, setting in result.settings.items() if site != "program"]
    return {"perplexity": subject().metric(result.program), "two": float(formats.count("int2"))}


def context(steps: int, seed: int) -> Context:
    """As many windows as the steps take, each once."""
    batches = [dict(batch) for batch in subject().batches(BATCH * steps * 6 // 5, 1000 + seed)]
    return Context(
        load_target("x86-64"), calibration=batches[:CALIBRATION], training=batches, teacher=subject().program,
        synthetic=False, seed=seed,
    )  # fmt: skip


def _plain(format: str) -> Rounding:
    return Rounding(plain_solver(format))


def _perplexity(
    copy: Program, settings: dict[str, Setting], trained: Once | None, lesson: Lesson, given: Context
) -> float:
    program = carry_out(functional_copy(copy)[0], settings, lesson, given, KEEP, LIMITS.samples, trained).program
    return subject().metric(program)


if __name__ == "__main__":
    raise SystemExit(main())
