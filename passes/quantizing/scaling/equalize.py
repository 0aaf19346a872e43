"""Scales moved from a layer's input channels into the layer before, where its weights and inputs then round better.

    W x = (W·s)(x/s)          exact in float; the layer before gives x/s (`absorb.py`)
    smooth        s_j = max|x_j|^α / max|W_j|^(1−α)         where inputs are integer, all channels by one scale
    awq           s_j = mean|x_j|^α / max|W_j|^(1−α)        where they are not: what counts is how much a weight is read
    cross-layer   s_j = √(r_j / max|W_j|), r_j the largest weight of unit j in the layer before

SmoothQuant (Xiao et al., 2022, arXiv:2211.10438) and AWQ (Lin et al., 2023, arXiv:2306.00978) are one fold; α is
searched by the layer's real output error after rounding, as AWQ does. Cross-layer equalization needs no data (Nagel et
al., 2019, arXiv:1906.04721) and is repeated, for a layer in the middle of a chain is scaled from both sides.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

import torch
from torch import Tensor, fx

from compressor.errors import RecipeError
from compressor.graph.contract import Batch, Context, Setting, Skip, Value
from compressor.graph.edit import add_tensor, is_kept, set_argument, set_tensor
from compressor.graph.program import Program
from compressor.passes.quantizing.scaling.absorb import Consumer, Fold, find_folds
from compressor.passes.quantizing.scaling.factors import factors
from compressor.passes.quantizing.scaling.handles import add_handles, drop_handles
from compressor.passes.quantizing.scaling.trial import Trial, Watched
from compressor.passes.quantizing.scaling.ways import How, ways_of, written
from compressor.passes.reading.samples import visit

__all__ = ["EqualizeChoice", "Equalized", "equalize", "replay"]

EqualizeChoice = Literal["auto", "none", "smooth", "cross-layer"]
ALPHAS = (0.25, 0.5, 0.75, 1.0)
GAIN = 0.98  # of the error before; less is noise
NEAR, MUCH = 0.5, 1.5  # of the error that a layer stays float for; times the error after
SWEEPS = 3  # of cross-layer equalization over chains
LARGEST = 1e4  # a scale or its inverse: float32 has seven digits


@dataclass
class Equalized:
    """What the settings of layers have to say of their inputs' scales, by layer, where nothing could be done, and what
    brings the values that were scaled back to their units (`rescaled` of a pass's result)."""

    settings: dict[str, dict[str, Value]] = field(default_factory=dict)
    skipped: list[Skip] = field(default_factory=list)
    rescaled: Mapping[str, Tensor] = field(default_factory=dict)

    def add(self, more: Mapping[str, Mapping[str, Value]]) -> None:
        """More to say of layers."""
        self.settings |= {name: {**self.settings.get(name, {}), **said} for name, said in more.items()}

    def said(self, settings: Mapping[str, Setting]) -> dict[str, Setting]:
        """Settings with what there is to say added; a layer without one stays fp32."""
        added = {name: {**settings.get(name, {"format": "fp32"}), **said} for name, said in self.settings.items()}
        return {**settings, **added}


def equalize(
    program: Program,
    choice: EqualizeChoice,
    trial: Trial,
    batches: Sequence[Batch],
    context: Context,
    keep: Sequence[str] = (),
) -> Equalized:
    """Rewrite a functional program in place, each fold by what lowers its layers' error the most.

    Raises RecipeError for `smooth` without calibration data of the user's.
    """
    real = bool(batches) and not context.synthetic
    if choice == "smooth" and not real:
        what = "smooth weighs weights by what they multiply, and there is no calibration data"
        raise RecipeError(what, where="quantize", way_out="Give --data, or equalize=cross-layer.")
    found = Equalized()
    if choice == "none" or (choice == "auto" and not real):
        return found
    folds, reasons = find_folds(program)
    handles: list[fx.Node] = []
    if real and choice != "cross-layer" and trial.fold == "smooth":
        handles = add_handles(program, reasons)
        folds, reasons = find_folds(program)
    if choice != "auto":
        found.skipped += [Skip(name, f"its inputs keep their scales: {reason}") for name, reason in reasons.items()]
    every, folds = folds, [fold for fold in folds if not _is_kept(fold, keep) and any(map(trial.rounds, fold.layers))]
    watched = _watch(program, folds, batches) if choice != "cross-layer" else {}
    chosen: list[tuple[Fold, How]] = []
    for fold in folds:
        how = _choose(program, fold, choice, trial, watched)
        if how is not None and choice == "auto" and fold.source in handles:
            how = how if _is_worth(program, fold, how, trial, watched) else None
        if how is None:
            reason = "no layer gives them" if choice == "cross-layer" else "no scale lowers its error"
            names = [layer.name for layer in fold.layers] if choice != "auto" else []
            found.skipped += [Skip(name, f"its inputs keep their scales: {reason}") for name in names]
            continue
        _apply(program, fold, _scale(program, fold, how, watched))
        chosen.append((fold, how))
    found.settings |= {name: written(ways) for name, ways in _ways(every, chosen).items() if any(ways)}
    _sweep(program, chosen)
    drop_handles(program, handles)
    found.rescaled = factors(program, [fold for fold, _ in chosen])
    return found


def replay(
    program: Program, settings: Mapping[str, Setting], batches: Sequence[Batch], context: Context
) -> Mapping[str, Tensor]:
    """Do to a functional program what settings say was done, on the same data; what brings values back to their units.

    Raises RecipeError for `smooth` without data of the user's, and for a layer whose inputs' scale nothing takes.
    """
    said = {site: setting for site, setting in settings.items() if "equalize" in setting}
    if not said:
        return {}
    add_handles(program, said.keys() & find_folds(program)[1].keys())
    folds, reasons = find_folds(program)
    served = _by_layer(folds)
    for site in said:
        where = f"quantize: site {site!r}"
        if site not in served:
            raise RecipeError(reasons.get(site, "the model has no such layer"), where=where)
    wanted = [(fold, how) for fold in folds if (how := _said(fold, served, said)) is not None]
    smooth = [(fold, how) for fold, how in wanted if how[0] != "cross-layer"]
    if smooth and (context.synthetic or not batches):
        site = next(layer.name for layer in smooth[0][0].layers if layer.name in said)
        what = "its inputs' scales ask for data, and there is no calibration data"
        raise RecipeError(what, where=f"quantize: site {site!r}", way_out="Give --data.")
    watched = _watch(program, [fold for fold, _ in smooth], batches)
    for fold, how in wanted:
        _apply(program, fold, _scale(program, fold, how, watched))
    _sweep(program, wanted)
    return factors(program, [fold for fold, _ in wanted])


def _by_layer(folds: Sequence[Fold]) -> dict[str, list[Fold]]:
    """The folds that end in each layer, in the program's order."""
    found: dict[str, list[Fold]] = {}
    for fold in folds:
        for layer in fold.layers:
            found.setdefault(layer.name, []).append(fold)
    return found


def _ways(folds: Sequence[Fold], chosen: Sequence[tuple[Fold, How]]) -> dict[str, list[How | None]]:
    """By layer, how the scale that each fold before it gives was found; None where it gives none."""
    how = {fold.source: each for fold, each in chosen}
    return {name: [how.get(fold.source) for fold in before] for name, before in _by_layer(folds).items()}


def _said(fold: Fold, served: Mapping[str, list[Fold]], settings: Mapping[str, Setting]) -> How | None:
    """How settings say that a fold's scale was found."""
    for layer in fold.layers:
        if layer.name in settings:
            before = served[layer.name]
            ways = ways_of(settings[layer.name], len(before), f"quantize: site {layer.name!r}")
            way = ways[[each.source for each in before].index(fold.source)]
            if way is None or way[0] != "cross-layer" or fold.layer is not None:
                return way
    return None


def _choose(
    program: Program, fold: Fold, choice: EqualizeChoice, trial: Trial, watched: Mapping[str, Watched]
) -> How | None:
    """The best way for a fold, or None where leaving it is the best."""
    across = [("cross-layer", 0.0)] if fold.layer is not None else []
    if choice == "cross-layer":
        return across[0] if across else None
    if not all(layer.name in watched for layer in fold.layers):
        return None
    best, least = None, GAIN * _error(program, fold, torch.ones(fold.size), trial, watched)
    for how in [*((trial.fold, alpha) for alpha in ALPHAS), *(across if choice == "auto" else [])]:
        error = _error(program, fold, _scale(program, fold, how, watched), trial, watched)
        if error < least:
            best, least = how, error
    return best


def _is_worth(program: Program, fold: Fold, how: How, trial: Trial, watched: Mapping[str, Watched]) -> bool:
    """Whether a product in front of the layers, which takes time in every run, is worth what it takes from the error:
    it keeps them from float, or the error is near that and falls much."""
    before, after = (
        math.sqrt(max(_errors(program, fold, scale, trial, watched)))
        for scale in (torch.ones(fold.size), _scale(program, fold, how, watched))
    )
    return before > trial.limit or (before > NEAR * trial.limit and before > MUCH * after)


def _error(program: Program, fold: Fold, scale: Tensor, trial: Trial, watched: Mapping[str, Watched]) -> float:
    """The squared relative output error of the fold's layers, after rounding, together."""
    return sum(_errors(program, fold, scale, trial, watched))


def _errors(
    program: Program, fold: Fold, scale: Tensor, trial: Trial, watched: Mapping[str, Watched]
) -> Iterator[float]:
    for consumer in fold.consumers:
        layer = consumer.layer
        columns = _columns(consumer, scale)
        weight: Tensor = program.get(layer.weight).detach()
        yield trial.error(layer, weight, _scaled(weight, layer.kind, columns), columns, watched[layer.name])


def _scale(program: Program, fold: Fold, how: How, watched: Mapping[str, Watched]) -> Tensor:
    """s by unit, positive; 1 where weights or inputs are zero."""
    heights = torch.zeros(fold.size)
    for consumer in fold.consumers:
        weight: Tensor = program.get(consumer.layer.weight).detach().float()
        _raise(heights, consumer.units, _heights(weight, consumer))
    if how[0] == "cross-layer" and fold.layer is not None:
        rows: Tensor = program.get(fold.layer.weight).detach().float().movedim(fold.layer.axis, 0)
        found = (rows.flatten(1).abs().amax(1) / heights).sqrt()
    else:
        reach = torch.zeros(fold.size)
        for consumer in fold.consumers:
            _raise(reach, consumer.units, watched[consumer.layer.name].reach(integer=how[0] == "smooth"))
        found = reach.pow(how[1]) / heights.pow(1 - how[1])
    usable = torch.isfinite(found) & (found > 0)
    if not bool(usable.any()):
        return torch.ones(fold.size)
    found = found / found[usable].log().mean().exp()  # what all have in common changes nothing
    return torch.where(usable, found.clamp(1 / LARGEST, LARGEST), torch.ones(fold.size))


def _raise(heights: Tensor, units: Tensor, values: Tensor) -> None:
    """heights[u] = the largest of the values of unit u."""
    own = units >= 0
    heights.scatter_reduce_(0, units[own], values[own].float(), "amax")


def _heights(weight: Tensor, consumer: Consumer) -> Tensor:
    """max|W_j| by input channel."""
    if consumer.layer.kind != "conv":
        return weight.abs().amax(consumer.layer.axis)
    groups = len(consumer.units) // weight.shape[1]
    return weight.flatten(2).abs().amax(2).view(groups, -1, weight.shape[1]).amax(1).flatten()


def _columns(consumer: Consumer, scale: Tensor) -> Tensor:
    """s by input channel."""
    return torch.where(consumer.units >= 0, scale[consumer.units.clamp(min=0)], torch.ones(()))


def _scaled(weight: Tensor, kind: str, columns: Tensor) -> Tensor:
    """W·s."""
    if kind != "conv":
        return weight * (columns if kind == "linear" else columns.unsqueeze(1))
    groups = len(columns) // weight.shape[1]
    each = columns.view(groups, 1, weight.shape[1]).expand(groups, len(weight) // groups, weight.shape[1])
    return weight * each.reshape(*weight.shape[:2], *[1] * (weight.dim() - 2))


def _apply(program: Program, fold: Fold, scale: Tensor) -> None:
    fold.scale = fold.scale * scale
    for consumer in fold.consumers:
        weight: Tensor = program.get(consumer.layer.weight).detach()
        value = _scaled(weight, consumer.layer.kind, _columns(consumer, scale)).to(weight.dtype)
        set_tensor(program, consumer.layer.weight, value)
    if fold.weight is None:
        stored = add_tensor(program, f"{fold.source.name}_weight", 1 / scale, fold.source)
        set_argument(fold.source, "weight", stored)
        fold.weight = str(stored.target)
    else:
        weight = program.get(fold.weight).detach()
        along = [1] * weight.dim()
        along[fold.layer.axis if fold.layer is not None else 0] = -1
        set_tensor(program, fold.weight, (weight / scale.view(along)).to(weight.dtype))
    if fold.bias is not None:
        bias: Tensor = program.get(fold.bias).detach()
        set_tensor(program, fold.bias, (bias / scale).to(bias.dtype))


def _sweep(program: Program, chosen: Sequence[tuple[Fold, How]]) -> None:
    """Cross-layer equalization once more over all its folds, until chains agree."""
    across = [(fold, how) for fold, how in chosen if how[0] == "cross-layer"]
    for _ in range(SWEEPS - 1 if len(across) > 1 else 0):
        for fold, how in across:
            _apply(program, fold, _scale(program, fold, how, {}))


def _is_kept(fold: Fold, keep: Sequence[str]) -> bool:
    names = [fold.weight or fold.source.name, *(layer.weight for layer in fold.layers)]
    return any(is_kept(name, keep) or is_kept(name.removesuffix(".weight"), keep) for name in names)


def _watch(program: Program, folds: Sequence[Fold], batches: Sequence[Batch]) -> dict[str, Watched]:
    """What the folds' layers read on the data."""
    owner = {node: layer for fold in folds for layer in fold.layers for node in layer.nodes}
    found: dict[str, Watched] = {}

    def look(node: fx.Node, args: tuple[Any, ...], value: Any) -> None:
        layer = owner[node]
        seen = found.setdefault(layer.name, Watched())
        seen.observe(node, args[layer.positions[0]], program.get(layer.weight), layer.kind, len(batches))

    visit(program, batches, look, owner)
    return found
