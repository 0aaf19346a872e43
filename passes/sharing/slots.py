"""All weights of a network's layers as views into one array of slots (`quant/slots.py`: STABLE-RPS).

    W_l = λ_l · view(expand(ψ))[l]        λ_l: the layer's root mean square, relative to all, as a power of two

ψ begins as the least squares of the weights it stands for, at their variance; with a slot for every weight it is they,
bit by bit. What the file saves is the whole difference of n and m weights; the network computes what it did before.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor, fx

from compressor.errors import RecipeError
from compressor.graph.contract import PassResult, Setting, Skip
from compressor.graph.edit import add_tensor, attribute, finish, insert, substitute
from compressor.graph.functional import functional_copy
from compressor.graph.program import Program
from compressor.passes.sparsifying.layers import Layer, find_layers
from compressor.quant.slots import Grid, coefficients, fit_slots, grid_of, slots_of

__all__ = ["SITE", "in_slots", "parse_slots"]

SITE = "slots"
LARGE = 1024  # weights of a layer below this many are not worth a view
EXPANDED = "model.ort and TVM's library hold the weights expanded; model.onnx expands them when it is loaded"
aten = torch.ops.aten


def parse_slots(setting: Setting) -> tuple[float, int]:
    """Weights a slot, and the seed. Raises RecipeError."""
    try:
        if set(setting) != {"weights_a_slot", "seed"}:
            raise ValueError
        ratio, seed = float(setting["weights_a_slot"]), int(setting["seed"])
        if not ratio >= 1 or not math.isfinite(ratio):
            raise ValueError
    except ValueError:
        raise RecipeError(
            f"{dict(setting)} is no setting of it", where=f"share: site {SITE!r}",
            way_out="It has weights_a_slot, 1 or more, and seed.",
        ) from None  # fmt: skip
    return ratio, seed


def in_slots(program: Program, ratio: float, seed: int, keep: Sequence[str]) -> PassResult:
    """The program with `ratio` times fewer stored weights in its layers; embeddings and small layers stay."""
    copy, left = functional_copy(program)
    layers, skips = find_layers(copy, keep)
    small = [layer for layer in layers if copy.get(layer.weights[0]).numel() < LARGE]
    skips += [Skip(layer.name, "its weights are few") for layer in small]
    layers = [layer for layer in layers if layer not in small]
    if not layers:
        return PassResult(program, (), (*skips, *left))
    weights = [copy.get(layer.weights[0]).detach() for layer in layers]
    sizes, scales = [weight.numel() for weight in weights], _scales(weights)
    grid = grid_of(sum(sizes), math.ceil(sum(sizes) / ratio))
    saved, map_bytes = weights[0].element_size() * (sum(sizes) - grid.slots), coefficients(grid, seed).nbytes
    if ratio > 1 and map_bytes >= saved:
        reason = f"the map to so few slots takes {map_bytes} bytes, the weights {saved} more than the slots"
        return PassResult(program, (), (*skips, *left, Skip(SITE, reason, whole=True)))
    _rewrite(copy, layers, _filled(weights, scales, grid, seed), (grid.rows, seed, sizes, scales))
    changed = tuple(name for layer in layers for name in layer.weights)
    settings: dict[str, Setting] = {SITE: {"weights_a_slot": ratio, "seed": seed}}
    return PassResult(finish(copy), changed, (*skips, *left), settings, (EXPANDED,))


def _scales(weights: Sequence[Tensor]) -> list[float]:
    """Each layer's λ: powers of two, so that multiplying and dividing by them loses nothing."""
    squares = [float(weight.double().square().mean()) for weight in weights]
    sizes = [weight.numel() for weight in weights]
    whole = math.fsum(s * n for s, n in zip(squares, sizes, strict=True)) / sum(sizes)
    return [2.0 ** round(math.log2(square / whole) / 2) if square > 0 else 1.0 for square in squares]


def _filled(weights: Sequence[Tensor], scales: Sequence[float], grid: Grid, seed: int) -> Tensor:
    """ψ (m): the least squares, times what gives the weights their variance back."""
    flat = torch.cat([weight.flatten() for weight in weights])
    each = torch.cat([torch.full((w.numel(),), scale) for w, scale in zip(weights, scales, strict=True)])
    psi = fit_slots(flat, each, grid, seed)
    if grid.partitions == 1:
        return psi
    slots, signs = slots_of(flat.numel(), grid, seed)
    now = (psi[slots] * signs * each).double().square().sum()
    return psi * float((flat.double().square().sum() / now).sqrt()) if now > 0 else psi


def _rewrite(
    program: Program, layers: Sequence[Layer], psi: Tensor, numbers: tuple[int, int, list[int], list[float]]
) -> None:
    first = next(program.nodes())
    stored = add_tensor(program, "shared.slots", psi, first)
    flat = insert(program, torch.ops.compressor.expand_slots.default, (stored, *numbers), like=first)
    start = 0
    for layer, size, scale in zip(layers, *numbers[2:], strict=True):
        part = insert(program, aten.slice.Tensor, (flat, 0, start, start + size), like=first)
        view = insert(program, aten.view.default, (part, list(program.get(layer.weights[0]).shape)), like=first)
        weight = insert(program, aten.mul.Tensor, (view, scale), like=first) if scale != 1 else view
        for node in _readers(program, layer):
            substitute(program, node, weight)
        start += size


def _readers(program: Program, layer: Layer) -> list[fx.Node]:
    return [node for node in program.graph.find_nodes(op="get_attr") if attribute(node) in layer.weights]
