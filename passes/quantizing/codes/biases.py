"""Bias correction: the mean that rounding took from a layer's outputs, given back.

    b ← b + E[W x₀ − Ŵ x]        (Nagel et al., 2019, arXiv:1906.04721, section 4.2)

With `bias=auto` the mean of either half of the calibration data has to lower the error on the other: on the data that
it was taken from it always does.
"""

from __future__ import annotations

import torch
from torch import Tensor

from compressor.graph.contract import Setting
from compressor.graph.edit import add_tensor, attribute, set_argument, set_tensor, tensor_of
from compressor.graph.program import Program
from compressor.passes.quantizing.settings import is_block
from compressor.passes.quantizing.sites import Layer

__all__ = ["correct", "correction", "ready"]


def correction(program: Program, layer: Layer, lost: Tensor, setting: Setting) -> tuple[Tensor | None, str]:
    """What to add to a bias (N,), or None and why not; `lost` are the outputs' means of both halves of the data, 2 × N:
    what the float layer gives in the float network less what the rounded one gives now."""
    if reason := _refusal(program, layer, setting):
        return None, reason
    one, other = lost
    gain = 4 * float(one @ other) - float(one @ one) - float(other @ other)
    if setting.get("bias") == "auto" and not gain > 0.0:
        return None, "it would not lower the error"
    mean = (one + other) / 2
    return (mean.float(), "") if bool(mean.any()) else (None, "nothing is to be corrected")


def ready(program: Program, layer: Layer, setting: Setting) -> None:
    """Give a layer that can have a bias and has none one of zeros, where its setting wants it corrected."""
    wanted = setting.get("bias", "none") != "none" and not _refusal(program, layer, setting)
    if wanted and layer.bias(layer.nodes[0]) is None:
        correct(program, layer, torch.zeros(program.get(layer.weight).shape[layer.axis]))


def correct(program: Program, layer: Layer, change: Tensor) -> None:
    """Add to the layer's bias, or give it one."""
    source = layer.bias(layer.nodes[0])
    if source is not None:
        name = str(source.target)
        bias: Tensor = program.get(name)
        set_tensor(program, name, (bias.detach() + change).to(bias.dtype))
        return
    stored = add_tensor(program, f"{layer.stem}bias", change, layer.nodes[0])
    for node in layer.nodes:
        set_argument(node, "bias", stored)


def _refusal(program: Program, layer: Layer, setting: Setting) -> str:
    """Why a bias cannot be corrected; one is given to a layer without where its product adds it for nothing."""
    sources = {layer.bias(node) for node in layer.nodes}
    names = {attribute(source) for source in sources}
    if names == {None}:
        free = layer.kind == "conv" or (layer.kind == "linear" and is_block(setting))
        return "" if free else "it has none, and one would be another operator"
    bias = tensor_of(program, next(iter(sources)))
    if len(names) > 1 or bias is None or bias.dim() != 1 or not bias.is_floating_point():
        return "its calls have different biases, or computed ones"
    [name] = names
    readers = {user for node in program.graph.nodes if attribute(node) == name for user in node.users}
    return "" if readers == set(layer.nodes) else "another layer has the same bias"
