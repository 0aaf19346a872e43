"""FFSplit's works-when check on MiniLM: at equal bytes, do heavy neurons in eight bits and the rest in four beat four
bits everywhere, in the embeddings' cosine with the float model's?

    python benchmarks/ffsplit.py [--seeds 3] [--budget 30min]

Only feed-forward layers are quantized. The uniform arm spends its bytes on smaller blocks instead; the random arm
splits off as many neurons by chance, at the very same bytes; `fifth` takes the 20% of the check, which needs more.
The error is 1 − cosine on held-out sentences; a seed draws the calibration sentences and the chance. Finished cells
are kept in `results/ffsplit.json`.
"""

from __future__ import annotations

import functools

import torch
from cells import Cell, Cells, arguments
from subjects import SUBJECTS, Subject, spread

from compressor.graph.contract import Context, PassResult, Setting
from compressor.graph.program import Program
from compressor.passes.pruning.settings import parse_places, spell_units
from compressor.passes.quantize import Quantize
from compressor.passes.quantizing.writing.ffsplit import is_split
from compressor.targets.loader import load_target

TESTS, SAMPLES = 2048, 64
KEEP = ("*attention*", "*embeddings*", "pooler*")
NEURONS = 1536  # of each block
# format of the rest, its block, the share of heavy neurons
ARMS = {"split": ("int4", 128, 1 / 6), "fifth": ("int4", 128, 0.2), "uniform": ("int4", 32, 0.0)}
GOAL = 0.2  # of the uniform arm's error is gone


def main() -> int:
    parser = arguments(__doc__, ARMS, "30min")
    parser.add_argument("--seeds", type=int, default=3)
    options = parser.parse_args()
    cells, subject = Cells("ffsplit", options.budget), SUBJECTS["minilm"](TESTS)
    for seed in range(options.seeds):
        for arm in options.only:
            format, block, share = ARMS[arm]
            if share or not seed:  # the uniform arm has nothing to draw
                cells.measure(f"{arm} seed {seed}", functools.partial(_arm, subject, seed, format, block, share))
        chance = functools.partial(_arm, subject, seed, *ARMS["split"], random=True)
        cells.measure(f"random seed {seed}", chance)
    held = _judged(cells, options.seeds)
    print(cells.took())
    return 0 if held else 1


def _arm(subject: Subject, seed: int, format: str, block: int, share: float, *, random: bool = False) -> Cell:
    context = Context(load_target("x86-64"), calibration=subject.batches(SAMPLES, seed), synthetic=False)
    quantize = Quantize(
        format, block=block, ffsplit=share, mode="weight-only", slower=True, solver="mse", bias="none", keep=KEEP  # type: ignore[arg-type]
    )  # fmt: skip
    result = quantize.run(subject.program, context)
    if random:
        result = _at_random(subject.program, result, context, seed)
    weights = sum(t.numel() for name, t in subject.program.tensors().items() if _is_feed_forward(name))
    stored = sum(t.numel() * t.element_size() for n, t in result.program.tensors().items() if _is_feed_forward(n))
    figures = subject.figures(result.program)
    return {"bits": 8 * stored / weights, "error": 1.0 - figures["cosine"], **figures}


def _is_feed_forward(name: str) -> bool:
    parts = name.partition("weight")
    return "attention" not in name and "layer." in name and ".dense" in name and parts[1] == "weight"


def _at_random(program: Program, result: PassResult, context: Context, seed: int) -> PassResult:
    """As many neurons a block, by chance, and all else as it was."""
    generator = torch.Generator().manual_seed(seed)
    sites: dict[str, Setting] = {}
    for site, setting in result.settings.items():
        if is_split(setting):
            count = len(parse_places(setting["heavy"], NEURONS, site, "heavy"))
            drawn = torch.randperm(NEURONS, generator=generator)[:count].tolist()
            setting = {**setting, "heavy": spell_units(range(NEURONS), drawn)}
        sites[site] = setting
    return Quantize(sites=sites).run(program, context)


def _judged(cells: Cells, seeds: int) -> bool:
    """Prints what the split is worth; whether it meets the goal against the uniform arm of no fewer bytes."""
    found: dict[str, list[float]] = {}
    for arm in (*ARMS, "random"):
        own = [cells[key] for seed in range(seeds) if (key := f"{arm} seed {seed}") in cells]
        if len(own) < (1 if arm == "uniform" else seeds):
            print(f"{arm} is not measured for all seeds")
            return False
        found[arm] = [cell["error"] for cell in own] * (seeds if arm == "uniform" else 1)
        mean, error = spread(found[arm])
        print(f"{arm:8} {own[0]['bits']:.2f} bits  1 − cosine {mean:.5f} ± {error:.5f}")
    for other, goal in (("uniform", GOAL), ("random", None)):
        mean, error = spread([1.0 - one / two for one, two in zip(found["split"], found[other], strict=True)])
        word = "control" if goal is None else "held" if mean >= goal else "MISSED"
        print(
            f"{word}: the split's error is {mean:.1%} ± {error:.1%} below {other}'s (goal: {GOAL:.0%} below uniform's)"
        )
    gains = [1.0 - one / two for one, two in zip(found["split"], found["uniform"], strict=True)]
    return spread(gains)[0] >= GOAL


if __name__ == "__main__":
    raise SystemExit(main())
