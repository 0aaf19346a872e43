"""How much a format in one layer changes what the network computes, all other layers being as they were.

    error = ‖y − ŷ‖ / ‖y‖ over the outputs
    divergence = KL(softmax y ‖ softmax ŷ) where they score classes or tokens, and in hundreds of rows

Over few rows a divergence hangs on the one that is nearest to changing its class; the error does not.

The network runs up to each layer once and from there on once a format, on a few samples. Damages of several layers add
up, nearly: to second order errors of rounding are independent, so squares of relative errors do, and a divergence is
quadratic in the scores (Dong et al., HAWQ-V2, 2020, arXiv:1911.03852, make use of the same). Without data the
relative error of the weight stands for the output's, as if every layer mattered alike.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, fx

from compressor.graph.contract import Batch, Progress, Setting
from compressor.graph.functional import is_mutating
from compressor.graph.program import Program
from compressor.graph.stepping import Stepper
from compressor.passes.quantizing.choosing.candidates import Candidate
from compressor.passes.quantizing.damage import relative_error
from compressor.passes.quantizing.sites import Layer
from compressor.passes.quantizing.swap import rounded_weight, swapped
from compressor.passes.recover.outputs import Output, match_outputs

__all__ = ["Judge", "Sensitivity", "Weights", "measure_sensitivity", "measure_together", "ranked"]

ROWS = 256  # of scores, from which on their divergence is the measure
Outputs = Sequence[Tensor]
Weights = Callable[[Layer, Setting], Tensor]  # what a layer in a setting computes with
Judge = Callable[[Sequence[Outputs]], float]  # the outputs of each batch to the metric's value


@dataclass(frozen=True)
class Sensitivity:
    """A layer and those tied to it in one format.

    `error` and `divergence` are of the outputs; without data `error` is of the weight. `saved` are the bytes that it
    saves against fp32. `metric` is its value where a judge was given.
    """

    candidate: Candidate
    saved: int
    error: float
    divergence: float | None = None
    metric: float | None = None

    @property
    def layer(self) -> str:
        return self.candidate.layer

    @property
    def format(self) -> str:
        return self.candidate.format

    @property
    def bytes(self) -> int:
        return self.candidate.bytes

    @property
    def damage(self) -> float:
        """What adds up over layers: the divergence, or the squared relative error."""
        return self.error**2 if self.divergence is None else self.divergence


def measure_sensitivity(
    program: Program,
    groups: Sequence[Sequence[Layer]],
    options: Mapping[str, Sequence[Candidate]],
    batches: Sequence[Batch] = (),
    *,
    judge: Judge | None = None,
    weights: Weights | None = None,
    progress: Progress | None = None,
) -> list[Sensitivity]:
    """The options of every group of tied layers, in order of first use, measured on the batches, or by weights alone
    without any.

    The program is functional (`functional_copy`). fp32 among the options is what all are compared with, at no error.
    `weights`: of what a layer computes with, where that is not its own weight, rounded.
    """
    sizes = {group[0].name: 4 * program.get(group[0].weight).numel() for group in groups}
    found: list[Sensitivity] = []
    runs = _Runs(program, batches) if batches else None
    with torch.no_grad():
        for group in (progress or Progress()).over(groups, "measuring sensitivity"):
            if runs is not None:
                runs.advance(group)
            for option in options[group[0].name]:
                saved = sizes[option.layer] - option.bytes
                if runs is None:
                    found.append(Sensitivity(option, saved, _weight_error(program, group[0], option, weights)))
                    continue
                exact = option.format == "fp32"
                results = runs.exact if exact else runs.forked(_calls(program, group, option.settings, weights))
                value = judge(results) if judge is not None else None
                found.append(Sensitivity(option, saved, *runs.distance(results), value))
    return found


def measure_together(
    program: Program,
    layers: Sequence[Layer],
    settings: Mapping[str, Setting],
    batches: Sequence[Batch],
    weights: Weights | None = None,
) -> float:
    """The damage of all these layers' settings at once, in the unit of `Sensitivity.damage`."""
    with torch.no_grad():
        runs = _Runs(program, batches)
        error, divergence = runs.distance(runs.forked(_calls(program, layers, settings, weights)))
    return error**2 if divergence is None else divergence


def ranked(found: Sequence[Sensitivity]) -> list[Sensitivity]:
    """The most damaging first; fp32 is left out."""
    changed = (each for each in found if each.format != "fp32")
    return sorted(changed, key=lambda each: (-each.damage, each.layer, each.bytes))


def _calls(
    program: Program, layers: Sequence[Layer], settings: Mapping[str, Setting], weights: Weights | None
) -> dict[fx.Node, Callable[..., Any]]:
    calls: dict[fx.Node, Callable[..., Any]] = {}
    for layer in layers:
        setting = settings[layer.name]
        calls |= swapped(program, layer, setting, None if weights is None else weights(layer, setting))
    return calls


def _weight_error(program: Program, layer: Layer, option: Candidate, weights: Weights | None) -> float:
    setting = option.setting
    rounded = rounded_weight(program, layer, setting) if weights is None else weights(layer, setting)
    return relative_error(program.get(layer.weight).detach(), rounded)


class _Runs:
    """The batches in step, up to the layer at hand, and the exact outputs."""

    def __init__(self, program: Program, batches: Sequence[Batch]) -> None:
        self.program = program
        self.inputs = [program.flatten(batch) for batch in batches]
        self.fixed = not any(is_mutating(node) for node in program.graph.nodes)
        self.steppers = [self._fresh(flat) for flat in self.inputs]
        with torch.no_grad():
            self.exact: list[list[Tensor]] = [self._fresh(flat).outputs() for flat in self.inputs]
        self.outputs = _outputs(program, self.exact[0])
        self.first = {node: place for place, node in enumerate(program.graph.nodes)}

    def advance(self, group: Sequence[Layer]) -> None:
        """Run up to the first call of them all; not where in-place operators stay, which would see a fork's values."""
        if self.fixed:
            for stepper in self.steppers:
                stepper.run_before(min((node for layer in group for node in layer.nodes), key=self.first.__getitem__))

    def forked(self, calls: Mapping[fx.Node, Callable[..., Any]]) -> list[list[Tensor]]:
        return [stepper.fork(calls).outputs() for stepper in self._starts()]

    def distance(self, results: Sequence[Outputs]) -> tuple[float, float | None]:
        """The root of the mean squared relative error of all float outputs, and the mean divergence of the scores."""
        squares, divergences = [], []
        for output in self.outputs:
            pairs = [(exact[output.ours], ours[output.ours]) for exact, ours in zip(self.exact, results, strict=True)]
            squares.append(_error(pairs) ** 2)
            rows = sum(exact.numel() // exact.shape[output.axis] for exact, _ in pairs if output.kind != "values")
            if rows >= ROWS:
                divergences.append(_divergence(pairs, output.axis))
        mean = sum(divergences) / len(divergences) if divergences else None
        return math.sqrt(sum(squares) / max(len(squares), 1)), mean

    def _starts(self) -> Iterator[Stepper]:
        yield from self.steppers if self.fixed else (self._fresh(flat) for flat in self.inputs)

    def _fresh(self, flat: Sequence[Tensor]) -> Stepper:
        return Stepper(self.program, flat if self.fixed else [tensor.clone() for tensor in flat])


def _outputs(program: Program, results: Outputs) -> list[Output]:
    floats = any(result.is_floating_point() for result in results)
    return match_outputs(program, program, results) if floats else []


def _error(pairs: Sequence[tuple[Tensor, Tensor]]) -> float:
    """‖y − ŷ‖ / ‖y‖ over all batches."""
    error = math.fsum(float((ours.double() - exact.double()).square().sum()) for exact, ours in pairs)
    size = math.fsum(float(exact.double().square().sum()) for exact, _ in pairs)
    return math.sqrt(error / size) if size else (0.0 if error == 0.0 else math.inf)


def _divergence(pairs: Sequence[tuple[Tensor, Tensor]], axis: int) -> float:
    """The mean of KL(softmax y ‖ softmax ŷ) over every position of every batch."""
    total, count = 0.0, 0
    for exact, ours in pairs:
        wanted, given = (torch.log_softmax(scores.double(), axis).clamp_min(-1e4) for scores in (exact, ours))
        each = (wanted.exp() * (wanted - given)).sum(axis)
        total, count = total + float(each.sum()), count + each.numel()
    return max(total / count, 0.0) if count else 0.0
