"""One layer at a time: two (or three) thin ones that give on data what the original gives.

    W⋆ = W + E[(y − W·x̃)·x̃ᵀ] · E[x̃·x̃ᵀ]⁻¹       y: the original's outputs, x̃: what the layers before give by now
    U·V = the cut of W⋆ on E[x̃·x̃ᵀ]               the best rank-r map from x̃ to y (reduced-rank regression)
    b ← b + E[y − U·V·x̃]

Reduced-rank regression is Izenman's (1975). To E[x̃·x̃ᵀ] comes a prior of as many rows of mean energy, in all directions,
as there are inputs: few rows say nothing of most directions, which other data have. x̃ and y are centred where a bias
takes on the mean. Without data, or with `method=svd`, it is the plain cut of W, and the bias stays. Of several choices
the one with the least error is made.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor, fx

from compressor.graph.contract import Batch, Progress
from compressor.graph.program import Program
from compressor.passes.factorizing.butterfly import Butterfly, butterfly
from compressor.passes.factorizing.read import Call, Seen, read
from compressor.passes.factorizing.settings import Choice
from compressor.passes.factorizing.sites import Site
from compressor.passes.factorizing.svd import Factors, Spectrum, decompose, decompose_table
from compressor.passes.factorizing.swap import swapped
from compressor.passes.factorizing.tucker import Tucker, tucker
from compressor.passes.reading.fit import RIDGE, fitted, products

__all__ = ["WIDEST", "Made", "Parts", "losses", "made", "made_each", "solve", "spectrum_of"]

WIDEST = 8192  # inputs of a layer that are weighed by how they go together: time grows with their cube
JUDGED = 2048  # rows that errors are measured on
_SAME = 1e-5  # relative: what two runs of the same layers differ by
Parts = Factors | Tucker | Butterfly


@dataclass(frozen=True)
class Made:
    """The thin layers' matrices, the bias that goes with them (None: as it was), and relative output errors: their own
    and those of the plain cut of the same rank on the same inputs."""

    choice: Choice
    parts: Parts
    bias: Tensor | None
    error: float
    plain: float
    note: str = ""


def solve(
    program: Program, sites: Sequence[Site], choices: Mapping[str, Sequence[Choice]], batches: Sequence[Batch],
    progress: Progress,
) -> Iterator[tuple[Site, Made]]:  # fmt: skip
    """What the choices make of a functional program's sites, in order; later ones read what earlier ones give."""
    wanted = [site for site in sites if choices.get(site.name)]
    asks = any(choice.asks_for_inputs for site in wanted for choice in choices[site.name])
    instead: dict[fx.Node, Call] = {}
    for site, seen in read(program, wanted, batches if asks else (), progress, instead):
        found = made(program, site, choices[site.name], seen)
        yield site, found
        if asks:
            instead |= swapped(program, site, found.parts.product, found.bias)


def made(program: Program, site: Site, choices: Sequence[Choice], seen: Seen | None) -> Made:
    """The best of the choices for one site."""
    view, note = _view(program, site, choices, seen)
    return view.compared(min((view.made(choice, note) for choice in choices), key=lambda one: one.error))


def made_each(program: Program, site: Site, choices: Sequence[Choice], seen: Seen | None) -> list[Made]:
    """What each of the choices makes of one site; all of them refit, or none."""
    view, note = _view(program, site, choices, seen)
    return [view.made(choice, note) for choice in choices]


def _view(program: Program, site: Site, choices: Sequence[Choice], seen: Seen | None) -> tuple[_View, str]:
    """What all choices need of a site, and why its inputs are left out of it, if so."""
    note = ""
    if seen is not None and not seen.usable:
        seen, note = None, "what it reads is too large to square, not finite, or all zero"
    elif seen is not None and seen.rows is not None and site.shape.inputs > WIDEST:
        seen, note = None, f"its {site.shape.inputs} inputs are more than the {WIDEST} that are weighed"
    asks = any(choice.asks_for_inputs for choice in choices)
    if asks and seen is None and not note:
        note = "the calibration data never reaches it"
    return _View(program, site, seen if asks else None, choices[0].refit), note


def spectrum_of(program: Program, site: Site, seen: Seen | None) -> Spectrum:
    """The decomposition of a site's matrix, weighed by what it reads where that is known."""
    return _View(program, site, _usable(site, seen), refit=False).spectrum


def losses(program: Program, site: Site, choices: Sequence[Choice], seen: Seen | None) -> list[float]:
    """What each of the choices, pairs and butterflies, loses of a site's outputs (of its weights where `seen` is not
    given), relative: √(E‖y − ŷ‖² / E‖y‖²) with nothing refit."""
    view = _View(program, site, _usable(site, seen), refit=False)
    return [view.lost(choice) for choice in choices]


def _usable(site: Site, seen: Seen | None) -> Seen | None:
    weighed = seen is not None and seen.usable and (seen.rows is None or site.shape.inputs <= WIDEST)
    return seen if weighed else None


class _View:
    """A site's matrix and its inputs, as all its choices need them."""

    def __init__(self, program: Program, site: Site, seen: Seen | None, refit: bool) -> None:
        self.site, self.seen = site, seen
        self.matrix = self.target = site.matrix(program)
        self.gram: Tensor | None = None
        self.old: Tensor | None = program.get(site.bias).detach().double() if site.bias else None
        free = site.kind == "conv" and all(site.layer(node).bias(node) is None for node in site.nodes)
        self.centred = (bool(site.bias) or free) and seen is not None
        if seen is not None and seen.rows is not None:
            self._weigh(seen.rows, seen.targets, refit)
        self.spectrum = self._spectrum()

    def _weigh(self, rows: Tensor, targets: Tensor | None, refit: bool) -> None:
        weight = self.matrix.float()
        self.rows = rows
        self.outputs = rows @ weight.T if targets is None else targets
        self.mean, self.wanted = rows.mean(0), self.outputs.mean(0)
        moved, given = (rows - self.mean, self.outputs - self.wanted) if self.centred else (rows, self.outputs)
        prior = min(1.0, rows.shape[1] / len(rows))
        if refit and self.site.kind != "tied":
            residual = given - moved @ weight.T
            if float(residual.norm()) > _SAME * float(given.norm()):
                step = fitted(moved, residual, max(RIDGE, prior))
                self.target = self.matrix if step is None else self.matrix + step
        self.gram = products(moved, moved[:, :0])[0] / len(rows)
        self.gram.diagonal().add_(prior * self.gram.diagonal().mean())

    def _spectrum(self) -> Spectrum:
        if self.seen is not None and self.site.kind == "embedding" and self.seen.counts is not None:
            return decompose_table(self.matrix, self.seen.counts + 1.0)
        return decompose(self.target, self._metric())

    def _metric(self) -> Tensor | None:
        """An embedding that products read, too, is to lose as little of its rows as of the products."""
        if self.gram is None or self.site.kind != "tied":
            return self.gram
        outputs = ((self.matrix @ self.gram) * self.matrix).sum().clamp(min=1e-30)
        rows = self.matrix.square().sum().clamp(min=1e-30)
        return self.gram / outputs + torch.eye(len(self.gram), dtype=torch.float64) / rows

    def made(self, choice: Choice, note: str) -> Made:
        shape = self.site.shape
        parts: Parts
        if choice.blocks:
            parts = butterfly(self.target, choice.rank, choice.blocks, self.gram)
        elif choice.inner:
            parts = tucker(self.target, shape.channels, choice.rank, choice.inner, self.gram)
        else:
            parts = self.spectrum.cut(choice.rank)
        bias = self._bias(parts.product) if self.centred else None
        error = self._error(parts.product, bias)
        return Made(choice, parts, None if bias is None else bias.float(), error, error, note)

    def lost(self, choice: Choice) -> float:
        """The relative error by the second moments of what is read."""
        if not choice.blocks:
            return self.spectrum.error(choice.rank)
        missing = self.matrix - butterfly(self.matrix, choice.rank, choice.blocks, self.gram).product
        lost, whole = (
            float((part.square() if self.gram is None else (part @ self.gram) * part).sum())
            for part in (missing, self.matrix)
        )
        return math.sqrt(max(lost, 0.0) / max(whole, 1e-30))

    def compared(self, found: Made) -> Made:
        """With the error of the plain cut of the same ranks."""
        if self.seen is None:
            return found
        choice, channels = found.choice, self.site.shape.channels
        if choice.blocks:
            product = butterfly(self.matrix, choice.rank, choice.blocks).product
        elif choice.inner:
            product = tucker(self.matrix, channels, choice.rank, choice.inner).product
        else:
            product = decompose(self.matrix).cut(choice.rank).product
        return replace(found, plain=self._error(product, None))

    def _bias(self, product: Tensor) -> Tensor:
        old = torch.zeros(len(product), dtype=torch.float64) if self.old is None else self.old
        return old + self.wanted.double() - product @ self.mean.double()

    def _error(self, product: Tensor, bias: Tensor | None) -> float:
        """‖y − ŷ‖ / ‖y‖ on data, of y without its bias; else that of the weights, or of the rows that are read."""
        if self.seen is None or self.seen.rows is None:
            weights = 1.0 if self.seen is None or self.seen.counts is None else (self.seen.counts + 1.0)[:, None]
            lost, whole = ((part.square() * weights).sum() for part in (self.matrix - product, self.matrix))
            return math.sqrt(float(lost / whole.clamp(min=1e-30)))
        chosen = torch.linspace(0, len(self.rows) - 1, min(len(self.rows), JUDGED)).long()
        given, outputs = self.rows[chosen], self.outputs[chosen]
        found = given @ product.float().T
        if bias is not None:
            found += (bias if self.old is None else bias - self.old).float()
        return float((outputs - found).norm() / outputs.norm().clamp(min=1e-30))
