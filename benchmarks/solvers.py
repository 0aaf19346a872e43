"""What each solver of weights' codes is worth against rounding to nearest: by layer, and at the model's output.

    python benchmarks/solvers.py [--only minilm gpt resnet] [--budget 20min]

Weights alone are rounded (activations stay float), on 512 calibration samples; errors are of other samples.

    layers   ‖(W − Ŵ)X‖ / ‖WX‖ on the float model's inputs X, geometric mean over the layers
    output   ‖y − ŷ‖ / ‖y‖ of the whole model, and its own figures (cosine, perplexity, accuracy)

`static` rows are `quantize` itself with integer activations, each of its corrections alone and all of them. Finished
cells are kept in `results/solvers.json`. The exit status says whether every claim holds.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Iterator, Mapping, Sequence

import torch
from cells import Cell, Cells, arguments
from subjects import SUBJECTS, Subject
from torch import Tensor

from compressor.graph.contract import Batch, Context, Progress, Setting
from compressor.graph.edit import set_tensor
from compressor.graph.functional import functional_copy
from compressor.graph.program import Program
from compressor.passes.quantize import Quantize
from compressor.passes.quantizing.codes.solving import round_as, solve
from compressor.passes.quantizing.sites import Layer, find_layers
from compressor.passes.reading.inputs import walk
from compressor.passes.reading.matrix import from_matrix, to_matrix
from compressor.passes.sparsifying.layers import find_layers as find_matrices
from compressor.quant.solvers.refit import output_error
from compressor.targets.loader import load_target

SAMPLES, TESTS, HELD = 512, 512, 32
SOLVERS: dict[str, dict[str, str]] = {
    **{name: {"solver": name} for name in ("nearest", "gptq", "mse", "hqq")},
    "gptq+bias": {"solver": "gptq", "bias": "auto"},
}
FORMATS: dict[str, Setting] = {
    "ternary": {"format": "ternary", "block": 128},
    "int8": {"format": "int8"},
    "int4": {"format": "int4", "block": 128},
    "ternary minmax": {"format": "ternary", "block": 128, "scale": "row", "rule": "minmax"},
    "ternary absmean": {"format": "ternary", "block": 128, "scale": "tensor", "rule": "absmean"},
    "int3": {"format": "int3", "block": 128},
}
ROWS = {"minilm": tuple(FORMATS), "gpt": tuple(FORMATS), "resnet": ("int8",)}
STATIC: dict[str, dict[str, str]] = {
    "nearest": {},
    "gptq": {"solver": "gptq"},
    "bias": {"bias": "auto"},
    "equalize": {"equalize": "auto"},
    "all": {"solver": "auto", "bias": "auto", "equalize": "auto"},
}
PLAIN = {"solver": "nearest", "bias": "none", "equalize": "none"}
Claim = tuple[str, float, float]  # what, measured, at most


def main() -> int:
    options = arguments(__doc__, ROWS, "20min").parse_args()
    torch.set_num_threads(1)
    cells = Cells("solvers", options.budget)
    for name in options.only:
        if all(key in cells for key in _keys(name)):
            continue
        subject = SUBJECTS[name](TESTS)
        bench = Bench(subject)
        for format in ROWS[name]:
            for solver in SOLVERS:
                cells.measure(f"{name} {format} {solver}", functools.partial(bench.weights, format, solver))
        for title, chosen in STATIC.items():
            cells.measure(f"{name} static {title}", functools.partial(bench.static, chosen))
    _table(cells, options.only)
    found = claims(cells)
    held = told(found)
    print(cells.took())
    return 0 if held else 1


def told(claims: Sequence[Claim]) -> bool:
    """Prints what was measured of each claim; whether all hold."""
    for what, measured, most in claims:
        print(f"{'held' if measured <= most else 'missed'}: {what}: {measured:.3f}, at most {most:g}")
    return all(measured <= most for _, measured, most in claims)


class Bench:
    """One subject with its calibration data, and what its layers read on other data."""

    def __init__(self, subject: Subject) -> None:
        self.subject = subject
        self.context = Context(load_target("x86-64"), calibration=subject.batches(SAMPLES, 0), synthetic=False)
        self.held = subject.batches(HELD, 9)
        self.program, _ = functional_copy(subject.program)
        matrices, _ = find_matrices(self.program)
        every = walk(self.program, matrices, self.held, lambda _: True, Progress())
        self.grams = {layer.weights[0]: inputs.gram for layer, inputs in every if inputs and inputs.gram is not None}
        self.layers = [layer for layer in find_layers(self.program)[0] if layer.weight in self.grams]
        self.before = outputs(subject.program, self.held)

    def weights(self, format: str, solver: str) -> Cell:
        """Every layer's weights in a format by a solver."""
        setting = {**FORMATS[format], **SOLVERS[solver]}
        copy, _ = functional_copy(self.subject.program)
        settings = {layer.name: setting for layer in self.layers}
        solved = solve(copy, find_layers(copy)[0], settings, self.context.calibration, self.context).codes
        errors = []
        for layer in self.layers:
            weight: Tensor = self.program.get(layer.weight).detach()
            matrix = self._matrix(layer, weight)
            found = solved.get(layer.name) or round_as(matrix, setting, None)
            set_tensor(copy, layer.weight, from_matrix(found.values, weight, layer.kind))
            errors.append(relative(matrix, found.values.view_as(matrix), self.grams[layer.weight]))
        copy.module.recompile()
        mean = math.exp(sum(map(math.log, errors)) / len(errors))
        return {"layers": mean, **self._figures(copy)}

    def static(self, chosen: Mapping[str, str]) -> Cell:
        """The pass itself in int8, with integer activations."""
        quantize = Quantize("int8", max_error=9.0, samples=SAMPLES, **{**PLAIN, **chosen})  # type: ignore[arg-type]
        return self._figures(quantize.run(self.subject.program, self.context).program)

    def _figures(self, program: Program) -> Cell:
        lost = outputs(program, self.held) - self.before
        return {"output": float(lost.norm() / self.before.norm()), **self.subject.figures(program)}

    def _matrix(self, layer: Layer, weight: Tensor) -> Tensor:
        return to_matrix(weight, layer.kind, len(self.grams[layer.weight]))


def outputs(program: Program, batches: Sequence[Batch]) -> Tensor:
    """Every number that a program returns first, padding left out."""
    found = []
    for batch in batches:
        value = next(iter(program.run(batch).values()))
        mask = batch.get("attention_mask")
        found.append((value[mask.bool()] if mask is not None else value).flatten())
    return torch.cat(found)


def relative(matrix: Tensor, values: Tensor, gram: Tensor) -> float:
    """‖(W − Ŵ)X‖ / ‖WX‖ of groups × outputs × inputs."""
    pairs = list(zip(matrix, values, gram, strict=True))
    lost = sum(output_error(one, other, products) for one, other, products in pairs)
    whole = sum(output_error(one, torch.zeros_like(one), products) for one, _, products in pairs)
    return max(math.sqrt(lost / whole), 1e-12) if whole else 1e-12


def claims(cells: Mapping[str, Cell]) -> list[Claim]:
    """What the figures are held to, of the cells that are there: the ratio of two of them."""
    wanted = [
        ("minilm ternary", "layers", "gptq", "nearest", 0.7, "GPTQ-ternary output error of MiniLM's layers (QMoE)"),
        ("minilm ternary minmax", "layers", "gptq", "nearest", 0.7, "the same on QMoE's own grid {min, 0, max}"),
        ("minilm ternary", "output", "gptq+bias", "nearest", 0.5, "MiniLM in ternary: the model's output error"),
        (
            "minilm ternary absmean",
            "output",
            "gptq+bias",
            "nearest",
            0.5,
            "the same on BitNet's grid, absmean by tensor",
        ),
        ("minilm static", "output", "all", "nearest", 1.0, "MiniLM static int8 with all corrections"),
        ("gpt static", "output", "all", "nearest", 1.0, "GPT static int8 with all corrections"),
        ("resnet static", "output", "all", "nearest", 1.0, "ResNet static int8 with all corrections"),
    ]
    wanted += [
        (f"{name} {format}", "layers", "gptq", "nearest", 0.7, f"{name} {format}: GPTQ's layer error")
        for name in ROWS
        for format in ("int8", "int4")
        if format in ROWS[name]
    ]
    return list(_ratios(cells, wanted))


def _ratios(cells: Mapping[str, Cell], wanted: Sequence[tuple[str, str, str, str, float, str]]) -> Iterator[Claim]:
    for row, figure, one, other, most, what in wanted:
        keys = f"{row} {one}", f"{row} {other}"
        if all(key in cells for key in keys):
            yield f"{what}, against {other}", cells[keys[0]][figure] / cells[keys[1]][figure], most


def _keys(name: str) -> list[str]:
    weights = [f"{name} {format} {solver}" for format in ROWS[name] for solver in SOLVERS]
    return weights + [f"{name} static {title}" for title in STATIC]


def _table(cells: Mapping[str, Cell], names: Sequence[str]) -> None:
    for name in names:
        print(f"\n{name}: layers' error, the model's output error, its own figures; × against nearest")
        for key in _keys(name):
            if key not in cells:
                continue
            cell, base = cells[key], cells.get(f"{key.rpartition(' ')[0]} nearest", cells[key])
            parts = [f"{f} {cell[f]:.4f} (×{cell[f] / base[f]:.2f})" for f in ("layers", "output") if f in cell]
            own = [f"{f} {v:.4f}" for f, v in cell.items() if f not in ("layers", "output", "seconds")]
            print(f"  {key:34} {'  '.join([*parts, *own])}")


if __name__ == "__main__":
    raise SystemExit(main())
