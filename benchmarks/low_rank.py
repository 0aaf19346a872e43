"""What data are worth when matrices become two thin ones: activation-aware SVD beside plain SVD, at equal ranks.

    python benchmarks/low_rank.py [--only minilm vit resnet gpt] [--budget 30min]

Half (and a quarter) of the weights of every layer stay, in two layers each; 128 calibration samples, errors of others.

    layers   ‖(W − U·V)x‖ / ‖W·x‖ on the float model's inputs x, mean over the layers (biases corrected where marked)
    output   ‖y − ŷ‖ / ‖y‖ of the whole model, and its own figures (cosine, accuracy, perplexity); nothing is trained

Finished cells are kept in `results/low_rank.json`. The exit status says whether every claim holds.
"""

from __future__ import annotations

import functools
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace

import torch
from cells import Cell, Cells, arguments
from solvers import Claim, outputs, told
from subjects import SUBJECTS, Subject

from compressor.graph.contract import Context, Progress
from compressor.graph.functional import functional_copy
from compressor.passes.factorize import Factorize
from compressor.passes.factorizing.ranks import pair_rank
from compressor.passes.factorizing.read import Seen, read
from compressor.passes.factorizing.settings import Choice
from compressor.passes.factorizing.sites import Site, find_sites
from compressor.passes.factorizing.solve import Made, made
from compressor.targets.loader import load_target

SAMPLES, TESTS, HELD = 128, 500, 32
KEEPS = (0.5, 0.25)
NAMES = ("minilm", "vit", "resnet", "gpt")
WAYS = ("plain", "activation", "activation+bias", "all")  # "all": refitted, too, to what the layers before give
MOST = 0.8  # of plain SVD's error


def main() -> int:
    options = arguments(__doc__, NAMES, "30min").parse_args()
    torch.set_num_threads(1)
    cells = Cells("low_rank", options.budget)
    for name in options.only:
        if all(key in cells for key in _keys(name)):
            continue
        bench = Bench(SUBJECTS[name](TESTS))
        for keep in KEEPS:
            cells.measure(f"{name} {keep:g} layers", functools.partial(bench.layers, keep))
            for way in ("plain", "activation", "all"):
                cells.measure(f"{name} {keep:g} {way}", functools.partial(bench.whole, keep, way))
    _table(cells, options.only)
    held = told(list(claims(cells)))
    print(cells.took())
    return 0 if held else 1


class Bench:
    """One subject with its calibration data, and what its layers read on other data."""

    def __init__(self, subject: Subject) -> None:
        self.subject = subject
        target = replace(load_target("x86-64"), objective="size", width_multiple=1)  # every layer, at the very share
        self.context = Context(target, calibration=subject.batches(SAMPLES, 0), synthetic=False)
        self.held = subject.batches(HELD, 9)
        self.program, _ = functional_copy(subject.program)
        self.sites, _ = find_sites(self.program)
        self.before = outputs(subject.program, self.held)

    def layers(self, keep: float) -> Cell:
        """Each layer by itself, on the float model's inputs."""
        cut: dict[str, tuple[Made, Made]] = {}
        for site, seen in read(self.program, self.sites, self.context.calibration, Progress()):
            rank = pair_rank(site.shape, keep, 1)
            ways = (Choice(rank), None), (Choice(rank, method="activation"), seen)
            one, other = (made(self.program, site, [choice], given) for choice, given in ways)
            cut[site.name] = one, other
        errors: dict[str, list[float]] = {way: [] for way in WAYS[:3]}
        for site, seen in read(self.program, self.sites, self.held, Progress()):
            if seen is not None:
                for way, error in self._errors(site, seen, *cut[site.name]).items():
                    errors[way].append(error)
        found = {way: sum(every) / len(every) for way, every in errors.items()}
        lower = sum(a <= MOST * p for a, p in zip(errors["activation+bias"], errors["plain"], strict=True))
        return {**found, "count": len(errors["plain"]), "lower by a fifth": lower}

    def whole(self, keep: float, way: str) -> Cell:
        """The pass itself."""
        method = "svd" if way == "plain" else "activation"
        factorize = Factorize(1 - keep, method=method, refit=way == "all", form="pair", samples=SAMPLES)  # type: ignore[arg-type]
        program = factorize.run(self.subject.program, self.context).program
        lost = outputs(program, self.held) - self.before
        return {"output": float(lost.norm() / self.before.norm()), **self.subject.figures(program)}

    def _errors(self, site: Site, seen: Seen, plain: Made, better: Made) -> dict[str, float]:
        matrix = site.matrix(self.program).float()
        if seen.rows is None:  # an embedding: the rows that these data look up
            weights = torch.as_tensor(seen.counts).sqrt()[:, None]
            lost = [((matrix - one.parts.product.float()) * weights).norm() for one in (plain, better)]
            whole = (matrix * weights).norm()
            return dict(zip(WAYS, [float(each / whole) for each in (*lost, lost[1])], strict=False))
        outputs = seen.rows @ matrix.T
        old = self.program.get(site.bias).detach() if site.bias else 0.0
        shift = better.bias - old if better.bias is not None else torch.zeros(1)
        lost = [outputs - seen.rows @ one.parts.product.float().T for one in (plain, better)]
        return dict(zip(WAYS, [float(each.norm() / outputs.norm()) for each in (*lost, lost[1] - shift)], strict=False))


def claims(cells: Mapping[str, Cell]) -> Iterator[Claim]:
    """What the figures are held to, of the cells that are there."""
    for name in NAMES:
        for keep in KEEPS:
            rows = [f"{name} {keep:g} {what}" for what in ("layers", "all", "plain")]
            if all(row in cells for row in rows):
                layers, own, plain = (cells[row] for row in rows)
                share = f"{name}, {keep:.0%} of the weights"
                yield (
                    f"{share}: layers' output error against plain SVD",
                    layers["activation+bias"] / layers["plain"],
                    MOST,
                )
                yield f"{share}: the model's output error against plain SVD", own["output"] / plain["output"], MOST


def _keys(name: str) -> list[str]:
    return [f"{name} {keep:g} {what}" for keep in KEEPS for what in ("layers", "plain", "activation", "all")]


def _table(cells: Mapping[str, Cell], names: Sequence[str]) -> None:
    for name in names:
        print(f"\n{name}")
        for key in _keys(name):
            if key in cells:
                print(f"  {key:26} {'  '.join(f'{f} {v:.4g}' for f, v in cells[key].items() if f != 'seconds')}")


if __name__ == "__main__":
    raise SystemExit(main())
