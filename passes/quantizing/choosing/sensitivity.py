"""How much a format in one layer changes what the network computes, all other layers being as they were.

    error, divergence: passes/reading/trials.py

The network runs up to each layer once and from there on once a format, on a few samples. Damages of several layers add
up, nearly: to second order errors of rounding are independent, so squares of relative errors do, and a divergence is
quadratic in the scores (Dong et al., HAWQ-V2, 2020, arXiv:1911.03852, make use of the same). Without data the
relative error of the weight stands for the output's, as if every layer mattered alike.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, fx

from compressor.graph.contract import Batch, Progress, Setting
from compressor.graph.program import Program
from compressor.passes.quantizing.choosing.candidates import Candidate
from compressor.passes.quantizing.damage import relative_error
from compressor.passes.quantizing.sites import Layer
from compressor.passes.quantizing.swap import rounded_weight, swapped
from compressor.passes.reading.trials import Damage, Judge, Trials

__all__ = ["Sensitivity", "Weights", "measure_sensitivity", "measure_together", "ranked"]

Weights = Callable[[Layer, Setting], Tensor]  # what a layer in a setting computes with


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
        return Damage(self.error, self.divergence).additive


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
    runs = Trials(program, batches) if batches else None
    with torch.no_grad():
        for group in (progress or Progress()).over(groups, "measuring sensitivity"):
            if runs is not None:
                runs.advance(node for layer in group for node in layer.nodes)
            for option in options[group[0].name]:
                saved = sizes[option.layer] - option.bytes
                if runs is None:
                    found.append(Sensitivity(option, saved, _weight_error(program, group[0], option, weights)))
                    continue
                exact = option.format == "fp32"
                results = runs.exact if exact else runs.outputs_with(_calls(program, group, option.settings, weights))
                value = judge(results) if judge is not None else None
                damage = runs.damage(results)
                found.append(Sensitivity(option, saved, damage.error, damage.divergence, value))
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
        runs = Trials(program, batches)
        return runs.damage(runs.outputs_with(_calls(program, layers, settings, weights))).additive


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
