"""Quality against latency where there are no labels: sentence embeddings by width, a language model by width and depth.

    python benchmarks/curves.py [--only minilm gpt] [--budget 60min]

    minilm   all-MiniLM-L6-v2 on sentences of Python's reference manual: mean cosine of an embedding with the dense
             model's, and the Spearman correlation of all pair similarities with the dense model's
    gpt      the byte-level GPT of benchmarks/models: perplexity on held-out pages; by width (`prune`), by depth (the
             blocks with the least influence go), and by both

Every point is recovered for the same steps from the dense network, folded, lowered, and timed in ONNX Runtime at batch
1, interleaved with it. Finished cells are kept in `results/curves.json`, and a later run goes on from there.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping

from cells import Cell, Cells, arguments
from claims.language import influence, shallower
from subjects import SUBJECTS, Subject
from timing import timed

from compressor.graph.contract import Context
from compressor.graph.cost import Roofline
from compressor.graph.program import Program
from compressor.passes.prune import Prune
from compressor.passes.recover import recover
from compressor.targets.loader import load_target

TESTS, SAMPLES = 4096, 256
STEPS = 100  # of recovery
BATCH = {"minilm": 32, "gpt": 16}
Cut = Callable[[Subject, Context], Program]


def pruned(amount: float, subject: Subject, context: Context) -> Program:
    return Prune(amount=amount, samples=SAMPLES).run(subject.program, context).program


def dropped(kept: int, subject: Subject, context: Context) -> Program:
    """The blocks that change their input the most stay."""
    worth = influence()
    return shallower(sorted(sorted(range(len(worth)), key=lambda block: -worth[block])[:kept]))


def both(kept: int, amount: float, subject: Subject, context: Context) -> Program:
    """Depth first, then width."""
    return Prune(amount=amount, samples=SAMPLES).run(dropped(kept, subject, context), context).program


POINTS: dict[str, dict[str, Cut]] = {
    "minilm": {f"width {amount}": functools.partial(pruned, amount) for amount in (0.2, 0.35, 0.5, 0.65)},
    "gpt": {
        **{f"width {amount}": functools.partial(pruned, amount) for amount in (0.2, 0.4, 0.6)},
        **{f"depth {kept} of 6": functools.partial(dropped, kept) for kept in (5, 4, 3)},
        "depth 5 of 6, width 0.3": functools.partial(both, 5, 0.3),
        "depth 4 of 6, width 0.4": functools.partial(both, 4, 0.4),
    },
}


def main() -> None:
    options = arguments(__doc__, POINTS, "60min").parse_args()
    cells = Cells("curves", options.budget)
    for name in options.only:
        subject = SUBJECTS[name](TESTS)
        cells.measure(f"{name} dense", lambda: {**subject.figures(subject.program), "speedup": 1.0})  # noqa: B023
        for title, cut in POINTS[name].items():
            cells.measure(f"{name} {title}", functools.partial(_cell, subject, cut))
        _table(name, cells)
    print(cells.took())


def _cell(subject: Subject, cut: Cut) -> Cell:
    calibration = subject.batches(SAMPLES, 0)
    context = Context(load_target("host"), latency=Roofline(), calibration=calibration, synthetic=False)
    smaller = cut(subject, context)
    batches, held = subject.batches(STEPS * BATCH[subject.name], 1), subject.batches(2 * BATCH[subject.name], 2)
    done = recover(smaller, subject.program, batches, f"{STEPS}steps", held=held).program
    return {
        **{f"cut_{name}": value for name, value in subject.figures(smaller).items()}, **subject.figures(done),
        "parameters": done.parameters() / subject.program.parameters(),
        **timed(subject.program, done, context, calibration[0]),
    }  # fmt: skip


def _table(name: str, cells: Mapping[str, Cell]) -> None:
    print(f"\n{name}, the fastest last")
    found = {key: cell for key, cell in cells.items() if key.startswith(f"{name} ")}
    for key, cell in sorted(found.items(), key=lambda item: item[1]["speedup"]):
        shown = "  ".join(f"{figure} {value:.4f}" for figure, value in cell.items() if figure in ("cosine", "spearman"))
        if "perplexity" in cell:
            shown = f"perplexity {cell['perplexity']:.3f} (as cut {cell.get('cut_perplexity', cell['perplexity']):.3f})"
        print(f"  {key:44} {cell['speedup']:.2f}×  {shown}  {cell.get('seconds', 0)} s")


if __name__ == "__main__":
    main()
