"""Zeros in the weights: N of every M consecutive inputs stay, or a share of all goes.

    S_ij = |W_ij| · ‖X_j‖₂        the lowest of each group (2of4) or of each output's row (0.5) become zero
    W ← W − Σ_j e_j · U_j         what stays makes up for it, by the inverse of H = X·Xᵀ

Scores: Wanda (Sun et al., 2023, arXiv:2306.11695); update: SparseGPT (Frantar, Alistarh, 2023, arXiv:2301.00774). A
convolution's consecutive inputs run along its input channels at each position of the kernel, as TensorRT's sparse
kernels want them. The shapes stay, so only a runtime that knows the pattern saves time; the report says which does.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass
from typing import ClassVar

from compressor.errors import RecipeError
from compressor.graph.contract import Context, Option, Pass, PassResult, Skip
from compressor.graph.edit import finish
from compressor.graph.functional import functional_copy
from compressor.graph.program import Program
from compressor.passes.reading.samples import limited
from compressor.passes.sparsifying.layers import Layer, find_layers, unfit
from compressor.passes.sparsifying.pattern import parse_pattern
from compressor.passes.sparsifying.remarks import remarks, weights_of
from compressor.passes.sparsifying.scores import Score
from compressor.passes.sparsifying.settings import Choice, choose, parse_choice
from compressor.passes.sparsifying.solve import Made, solved
from compressor.targets.target import Target

__all__ = ["Sparsify"]

OFFERED = ("2of4", "0.25", "0.5", "0.75")


@dataclass(frozen=True)
class Sparsify(Pass):
    """Set the weights to zero that matter least, in place.

    pattern: how many of how many consecutive weights stay ("2of4"), or the share that goes ("0.5").
    score: what a weight is worth: "wanda", "magnitude" or "random"; "auto" is wanda where there is data, else
        magnitude.
    update: correct the weights that stay, where there is data.
    samples: how many calibration samples the score and the update see.
    """

    name: ClassVar[str] = "sparsify"
    main: ClassVar[str] = "pattern"
    structural: ClassVar[bool] = True
    order: ClassVar[int] = 45
    pattern: str = "2of4"
    score: Score = "auto"
    update: bool = True
    samples: int = 128

    def __post_init__(self) -> None:
        """Raises RecipeError for options that make no sense."""
        parse_pattern(self.pattern, "sparsify")
        if self.samples < 1:
            raise RecipeError(f"samples is {self.samples}; one is needed at least", where="sparsify")

    @classmethod
    def planned(cls, context: Context, axes: Collection[str]) -> Iterable[Pass]:
        return (cls(),) if context.target.sparsity else ()  # zeros that no kernel knows save nothing

    @classmethod
    def reads(cls, target: Target) -> tuple[object, ...]:
        return target.sparsity

    def options(self, program: Program, context: Context) -> Iterable[Option]:
        """For every layer, this pattern and a few others that fit it. Bytes are those of the weights, unpacked."""
        copy, _ = functional_copy(program)
        layers, _ = find_layers(copy, self.keep)
        offers = [self._choice(pattern, context) for pattern in dict.fromkeys((self.pattern, *OFFERED))]
        fitting = {layer.name: [c for c in offers if not unfit(copy, layer, c.pattern)] for layer in layers}
        base = context.latency.predict(copy, context.target).latency_ms if context.latency else None
        known = {offer.pattern for offer in context.target.sparsity}
        if context.unweighed:
            for layer in layers:
                size = _stored(copy, layer)
                for choice in fitting[layer.name]:
                    yield Option(layer.name, choice.setting(), size, level=choice.pattern.text)
            return
        batches = limited(copy, context.calibration, self.samples)
        for layer, found in solved(copy, layers, fitting, batches, context):
            size = _stored(copy, layer)
            for choice, made in found:
                if isinstance(made, Made):
                    latency = _latency(copy, layer, made, context) if choice.pattern.text in known else base
                    yield Option(layer.name, choice.setting(), size, latency, made.damage, choice.pattern.text)

    def run(self, program: Program, context: Context) -> PassResult:
        copy, left = functional_copy(program)
        layers, skipped = find_layers(copy, self.keep)
        choices, declined = self._choices(copy, layers, skipped, context)
        declined += left
        batches = limited(copy, context.calibration, self.samples)
        done: dict[str, Layer] = {}
        plain = 0
        for layer, found in solved(copy, layers, {n: [c] for n, c in choices.items()}, batches, context):
            for choice, made in found:
                if isinstance(made, str):
                    declined.append(Skip(layer.name, made))
                    continue
                layer.write(copy, made.matrix)
                done[layer.name] = layer
                plain += choice.update and not made.updated
        worth = [(choices[name].pattern, layer.width(copy)) for name, layer in done.items()]
        notes = remarks(worth, context.target, weights_of(copy, done.values()))
        if done and self.update and not batches:
            notes += ("what stays was not corrected: there is no calibration data",)
        elif plain:
            notes += (f"what stays was not corrected in {plain} of {len(done)} layers: too wide, or not solvable",)
        changed = tuple(name for layer in done.values() for name in layer.weights)
        settings = {name: choices[name].setting() for name in done}
        return PassResult(finish(copy), changed, tuple(declined), settings, notes)

    def _choice(self, pattern: str, context: Context) -> Choice:
        found = parse_pattern(pattern, "sparsify")
        return choose(found, self.score, self.update, data=bool(context.calibration), where="sparsify")

    def _choices(
        self, program: Program, layers: Sequence[Layer], skipped: Sequence[Skip], context: Context
    ) -> tuple[dict[str, Choice], list[Skip]]:
        """What to do to which layer, and where nothing is done; with `sites`, of those alone."""
        data, known = bool(context.calibration), {layer.name for layer in layers}
        if self.sites:
            wanted = {site: parse_choice(site, setting, data=data) for site, setting in self.sites.items()}
            reasons = {skip.site: skip.reason for skip in skipped}
            absent = [site for site in wanted if site not in known]
            declined = [Skip(site, reasons.get(site, "the model has no such layer")) for site in absent]
        else:
            wanted = dict.fromkeys(known, self._choice(self.pattern, context))
            declined = list(skipped)
        choices: dict[str, Choice] = {}
        for layer in layers:
            if (choice := wanted.get(layer.name)) is None:
                continue
            if reason := unfit(program, layer, choice.pattern):
                declined.append(Skip(layer.name, reason))
            else:
                choices[layer.name] = choice
        return choices, declined


def _stored(program: Program, layer: Layer) -> int:
    weight = program.get(layer.weights[0])
    return int(weight.numel() * weight.element_size())


def _latency(program: Program, layer: Layer, made: Made, context: Context) -> float | None:
    """Predicted for the program with this layer alone sparse."""
    trial = program.copy()
    layer.write(trial, made.matrix)
    return context.latency.predict(trial, context.target).latency_ms if context.latency else None
