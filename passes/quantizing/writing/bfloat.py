"""Weights in bfloat16: stored in half the bytes, computed with in float32.

    linear(x, W, b)  →  linear(x, float(bfloat16(W)), b)        sign, 8 bits of exponent, 7 of mantissa: ‖ΔW‖ ≈ 0.2% ‖W‖

It has float32's range, so nothing overflows, and no data is needed. ONNX Runtime's CPU provider has no products in it,
but casts it, at load where it may fold constants: a smaller file at float32's speed. Its converter to ORT format folds
too, and writes float32 again.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import torch
from torch import Tensor, fx

from compressor.errors import InputError
from compressor.graph.contract import Context, Option, Setting, Skip
from compressor.graph.edit import attribute, insert, read, set_tensor, substitute, tensor_of
from compressor.graph.program import Program
from compressor.passes.quantizing.damage import relative_error
from compressor.passes.quantizing.settings import format_of
from compressor.passes.quantizing.sites import Layer, find_layers
from compressor.passes.quantizing.ties import storage_key
from compressor.quant.formats import ranges
from compressor.targets.target import Target

__all__ = ["BFloatPlan", "apply_bfloat", "plan_bfloat"]

aten = torch.ops.aten
_NOTE = "bf16 halves the weights in model.onnx alone: they compute as float32, and model.ort holds them as float32"


@dataclass
class BFloatPlan:
    """Settings by layer, what was declined, and what the user should know."""

    layers: list[Layer] = field(default_factory=list)
    settings: dict[str, Setting] = field(default_factory=dict)
    skipped: list[Skip] = field(default_factory=list)
    notes: tuple[str, ...] = ()

    def options(self, program: Program) -> list[Option]:
        """Each layer left alone, and in bfloat16, with the relative error of its weight."""
        found = []
        for layer in self.layers:
            weight: Tensor = program.get(layer.weight).detach()
            damage = relative_error(weight, weight.bfloat16().float())
            found.append(Option(layer.name, {"format": "fp32"}, 4 * weight.numel(), damage=0.0))
            found.append(Option(layer.name, self.settings[layer.name], 2 * weight.numel(), damage=damage, level="bf16"))
        return found


def plan_bfloat(program: Program, context: Context, keep: Sequence[str] = ()) -> BFloatPlan:
    """Plan bf16 for a functional program; nothing where the target is not known to read it."""
    if reason := _refusal(context.target):
        return BFloatPlan(skipped=[Skip("weights", f"weights stay float: {reason}", whole=True)])
    layers, skipped = find_layers(program, keep)
    plan = BFloatPlan(skipped=skipped)
    for layer in layers:
        try:
            ranges(program.get(layer.weight))
        except InputError as error:
            plan.skipped.append(Skip(layer.name, error.what))
            continue
        plan.layers.append(layer)
        plan.settings[layer.name] = {"format": "bf16"}
    plan.notes = (_NOTE,) if plan.settings else ()
    return plan


def apply_bfloat(program: Program, layers: Sequence[Layer], settings: Mapping[str, Setting]) -> list[str]:
    """Rewrite an already copied, functional program; the names of the weights that are stored in bfloat16.

    What shares a weight's memory keeps sharing it, and every reader gets the float32 value of the same bits.
    """
    chosen = [layer.weight for layer in layers if format_of(settings.get(layer.name, {"format": ""})) == "bf16"]
    chosen = [name for name in chosen if program.get(name).dtype == torch.float32]
    keys = {storage_key(program.get(name)): program.get(name).detach().bfloat16() for name in chosen}
    readers = [(node, keys.get(_key(program, node))) for node in program.graph.nodes if node.op == "get_attr"]
    for node, value in readers:
        if value is not None:
            _store(program, node, value)
    return list(dict.fromkeys(chosen))


def _key(program: Program, node: fx.Node) -> tuple[int, ...]:
    tensor = tensor_of(program, node)
    return storage_key(tensor) if tensor is not None else ()


def _store(program: Program, node: fx.Node, value: Tensor) -> None:
    set_tensor(program, str(attribute(node)), value)
    stored = read(program, str(node.target), node)
    like = next(iter(node.users), node)
    substitute(program, node, insert(program, aten.to.dtype, (stored, torch.float32), like=like, before=node))


def _refusal(target: Target) -> str:
    """Why the target cannot have bf16, with the next format that it can; empty where it can."""
    preferred = target.providers[0].name if target.providers else target.runtime.name
    formats = target.providers[0].formats if target.providers else ()
    following = next((name for name in ("fp16", "int8") if name in formats), "fp32")
    if not target.on_cpu:
        reason = f"{preferred} is not known to read bf16 weights"
    elif target.provider_of("Cast") is None:
        reason = f"no provider of {target.name} lists Cast"
    else:
        return ""
    return f"{reason}. The next format that it runs is {following}"
