"""Energy over the life of artifacts, of a thousand inferences, and beside the other indicators of cost.

    python benchmarks/energy.py [--only plans thousand misnomer] [--steps 40] [--runs 1000] [--budget 20min] [--again]

    plans      resnet as int8 by calibration alone, and pruned to half, recovered for --steps, then int8: what making
               each took, joules an inference, and the number of inferences n* at which both lives have cost the same.
               Goal: the one that is cheaper to make wins at few, the other at many
    thousand   1,000 inferences of MiniLM, one sentence each, three times. Goals: within ±10%, and at most a tenth of
               the GPT used as a classifier (its 128 bytes scored once for each of four labels)
    misnomer   five indicators of sharing, unstructured sparsity and low rank. Goal: at least 3 sign conflicts

One thread; what is compared runs in turn. Joules are the machine's sensor's, or CPU seconds × watts a core, labelled
"estimated": that counts this process alone, so that others on the machine disturb it little. Finished cells are kept in
`results/energy.json`. The exit status says whether every goal was judged and is met.
"""

from __future__ import annotations

import functools
import tempfile
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from cells import Cell, Cells, arguments
from metering import in_turn, lowered, model_run, spread_of
from misnomer import indicators
from subjects import SUBJECTS, Subject

from compressor.devices.energy import WORLD, BreakEven, Span, break_even, full_cycle, inference_energy
from compressor.graph.contract import Context
from compressor.graph.cost import Roofline
from compressor.graph.program import Program
from compressor.making import Ledger, Spent
from compressor.passes.fold import Fold
from compressor.passes.prune import Prune
from compressor.passes.quantize import Quantize
from compressor.passes.recover import recover
from compressor.report.energy import break_even_text
from compressor.report.indicators import Indicator, conflicts
from compressor.targets import load_target

GOALS = {"spread": 0.10, "share": 0.10, "conflicts": 3}
LABELS = 4  # that the GPT scores
SAMPLES, BATCH = 128, 64
RUNS, REPEATS = 500, 5


def main() -> int:
    parser = arguments(__doc__, ("plans", "thousand", "misnomer"), "20min")
    parser.add_argument("--steps", type=int, default=40, help="of recovery")
    parser.add_argument("--runs", type=int, default=1000, help="inferences of MiniLM, and ten times those of the GPT")
    parser.add_argument("--again", action="store_true", help="measure finished cells once more")
    options = parser.parse_args()
    cells = Cells("energy", options.budget)
    parts: dict[str, Callable[[], Cell]] = {
        "plans": functools.partial(plans, options.steps), "thousand": functools.partial(thousand, options.runs),
        "misnomer": misnomer,
    }  # fmt: skip
    for name in options.only:
        cells.measure(name, parts[name], again=options.again)
    met = [met for text, met in judged(cells) if not print(f"{'met' if met else 'MISSED':6} {text}")]
    print(cells.took())
    return 0 if met and all(met) and {*parts} <= {*cells} else 1


# ----------------------------------------------------------------------------------------------------------- plans


def plans(steps: int) -> Cell:
    """Both plans made in this run, each counted by itself, then run in turn; figures beside the original's."""
    subject = SUBJECTS["resnet"](2000)
    target = load_target("host")
    context = Context(target, latency=Roofline(), calibration=subject.batches(SAMPLES, 0), synthetic=False)
    made = {"int8": counted(lambda: _int8(subject.program, context))}
    made["prune, recover, int8"] = counted(lambda: _pruned(subject, context, steps))
    original = Fold().run(subject.program, context).program
    programs = {"original": original, **{name: program for name, (program, _, _) in made.items()}}
    with tempfile.TemporaryDirectory() as folder:
        runs = {}
        for index, (name, program) in enumerate(programs.items()):
            path = Path(folder) / f"{index}.onnx"
            lowered(program, target, path)
            runs[name] = model_run(path, [{key: value[:1] for key, value in context.calibration[0].items()}])
        joules, source = in_turn(runs, RUNS, REPEATS)
    spans = {name: spread_of(values, RUNS) for name, values in joules.items()}
    return {
        "steps": steps,
        "making_source": made["int8"][2],
        "inference_source": source,
        **{f"making_j {name}": spent.joules for name, (_, spent, _) in made.items()},
        **{f"making_cpu_s {name}": spent.cpu_seconds for name, (_, spent, _) in made.items()},
        **{f"mj {name}": [1e3 * span.low, 1e3 * span.value, 1e3 * span.high] for name, span in spans.items()},
        **{f"accuracy {name}": subject.metric(program) for name, program in programs.items()},
    }


def counted(make: Callable[[], Program]) -> tuple[Program, Spent, str]:
    """A program, what making it took, and how that is known."""
    with Ledger() as ledger:
        program = make()
        return program, ledger.so_far(), ledger.making().source


def _int8(program: Program, context: Context) -> Program:
    folded = Fold().run(program, context).program
    return Quantize(format="int8").run(folded, context).program


def _pruned(subject: Subject, context: Context, steps: int) -> Program:
    smaller = Prune(amount=0.5, samples=SAMPLES).run(subject.program, context).program
    batches, held = subject.batches(steps * BATCH, 1), subject.batches(2 * BATCH, 2)
    return _int8(recover(smaller, subject.program, batches, f"{steps}steps", held=held).program, context)


def crossing(cell: Mapping[str, Any]) -> tuple[BreakEven, list[str]]:
    """From when on the plan with recovery has used less than int8 alone, and both lives around that number."""
    names = ("int8", "prune, recover, int8")
    make = [float(cell[f"making_j {name}"]) for name in names]
    old, new = (Span(*cell[f"mj {name}"]) * 1e-3 for name in names)
    found = break_even(Span.exactly(make[1] - make[0]), old - new)
    lines = []
    for count in () if found.count is None else (found.count / 10, found.count * 10):
        lives = [full_cycle(m, each.value, count) for m, each in zip(make, (old, new), strict=True)]
        winner = names[lives.index(min(lives))]
        lines.append(f"{count:.3g} inferences: {names[0]} {lives[0]:.3g} J, {names[1]} {lives[1]:.3g} J: {winner} wins")
    return found, lines


# -------------------------------------------------------------------------------------------------------- thousand


def thousand(runs: int) -> Cell:
    """MiniLM on single sentences; the GPT as a classifier of a tenth as many texts, as it takes longer; three times."""
    from models import text
    from models.gpt import CONTEXT

    target = load_target("host")
    minilm, gpt = SUBJECTS["minilm"](512), SUBJECTS["gpt"](512)
    sentences = [{k: v[row : row + 1] for k, v in b.items()} for b in minilm.batches(256, 0) for row in range(len(b))]
    windows = text.windows("test", 64 * LABELS, CONTEXT, seed=0)
    key = gpt.program.inputs[0].name
    scored = [{key: ids} for ids in windows.split(LABELS)]  # a text with each label: so many rows
    context = Context(target, latency=Roofline())
    found: Cell = {"carbon": WORLD.source, "labels": LABELS}
    for subject, batches, count in ((minilm, sentences, runs), (gpt, scored, max(runs // 10, 1))):
        name = subject.name
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / "model.onnx"
            lowered(Fold().run(subject.program, context).program, target, path)
            joules, source = in_turn({name: model_run(path, batches)}, count, 3)
        span, sensed = spread_of(joules[name], count), source.startswith("measured")
        energy = inference_energy(span, measured=sensed, source=source, carbon=WORLD)
        found |= {"source": source, f"{name} runs": count}
        found[f"{name} j_of_1000"] = [value * 1000 / count for value in joules[name]]
        found[f"{name} mwh_of_1000"] = energy.kwh_per_1000 * 1e6
        found[f"{name} mg_co2e_of_1000"] = energy.co2e_g_per_1000 * 1e3
    return found


# -------------------------------------------------------------------------------------------------------- misnomer


def misnomer() -> Cell:
    """The table as [method, indicator, low, ratio, high] of after / before."""
    rows, source = indicators()
    return {"source": source, "rows": [[r.method, r.name, r.low, r.ratio, r.high] for r in rows]}


def judged(cells: Mapping[str, Cell]) -> list[tuple[str, bool]]:
    """Every goal that can be judged, with its figures, and whether it is met."""
    found = []
    if (cell := cells.get("plans")) is not None:
        when, lines = crossing(cell)
        text = (
            f"int8 with prune and recovery uses less than int8 alone: {break_even_text(when, 'range of the repeats')}"
        )
        found.append(("; ".join([text, *lines]), when.when == "from"))
    if (cell := cells.get("thousand")) is not None:
        values, other = cell["minilm j_of_1000"], cell["gpt j_of_1000"]
        middle = sorted(values)[1]
        off = max(abs(value / middle - 1) for value in values)
        found.append(
            (f"1,000 of MiniLM: {middle:.3g} J, repeated within ±{off:.1%} (goal 10%)", off <= GOALS["spread"])
        )
        share = middle / sorted(other)[1]
        text = (
            f"MiniLM takes {share:.2f} of the energy of the GPT as a classifier of {cell['labels']} labels (goal 0.1)"
        )
        found.append((text, share <= GOALS["share"]))
    if (cell := cells.get("misnomer")) is not None:
        told = conflicts(Indicator(*row) for row in cell["rows"])
        text = "".join(f"\n         {each}" for each in told)
        found.append((f"{len(told)} sign conflicts (goal 3):{text}", len(told) >= GOALS["conflicts"]))
    return found


if __name__ == "__main__":
    raise SystemExit(main())
