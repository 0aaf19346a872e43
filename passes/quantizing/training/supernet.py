"""A network in which every layer has weights of several formats: one frozen matrix, and an adapter for each format.

    Ŵ = Σ_f c_f · Q_f(W + L_f R_f)        c_f is 1 for one format and 0 for the others; L_f (N, r), R_f (r, K)

The adapter is within the rounding, so that codes alone are left of it, and none of it runs: a network that is taken out
is a plain quantized one. Steps are learned for each format, too. With one adapter for all formats (`shared`) two bits
and eight pull it apart. Activations stay float while it trains: beside weights of few bits, eight are next to exact.
(Yi et al., 2024, One QuantLLM for ALL, arXiv:2405.20202, which adds the adapter's product behind the rounding; Hu et
al., 2022, LoRA, arXiv:2106.09685.)
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, fx

from compressor.graph.contract import Setting
from compressor.graph.edit import add_tensor, begin, finish, insert, read
from compressor.graph.program import Program
from compressor.passes.quantizing.choosing.candidates import stored_bytes
from compressor.passes.quantizing.settings import format_of
from compressor.passes.quantizing.sites import Layer, find_layers
from compressor.passes.quantizing.ties import tied_groups
from compressor.passes.quantizing.training.choices import Choices
from compressor.passes.quantizing.training.schedule import Schedule, Site
from compressor.passes.quantizing.training.steps import Step, first_step, insert_rounding

__all__ = ["Part", "Supernet", "make_supernet"]

_OWN = "quantizing"  # the module of all that is added, apart from the layers, which are kept as they are
RANK = 32  # or half of a matrix's shorter side: nothing of it is left at run time

aten = torch.ops.aten


@dataclass(frozen=True)
class Part:
    """One format of a layer: where its adapter (left · right) and its step lie."""

    setting: Setting
    left: str
    right: str
    step: Step

    def weight(self, trained: Program, layer: Layer) -> Tensor:
        """What is rounded, in the weight's own shape."""
        weight: Tensor = trained.get(layer.weight).detach()
        low: Tensor = trained.get(self.left).detach() @ trained.get(self.right).detach()
        return weight + low.view_as(weight)


@dataclass(frozen=True)
class Supernet:
    """The program that is trained, its schedule, the parts by the first layer of those that share a weight, and for
    every layer which one that is."""

    program: Program
    schedule: Schedule
    parts: dict[str, list[Part]]
    first: dict[str, str]

    def part(self, layer: str, format: str) -> Part | None:
        """What a layer computes with in a format; None where it is none of those that are trained."""
        parts = self.parts.get(self.first.get(layer, ""), [])
        return next((part for part in parts if format_of(part.setting) == format), None)

    def learned(self) -> list[str]:
        """The tensors that training makes."""
        names = {name for parts in self.parts.values() for p in parts for name in (p.left, p.right, p.step.gain)}
        return sorted(names)


def make_supernet(
    program: Program, choices: Choices, budgets: Sequence[float], seed: int = 0, *, shared: bool = False
) -> Supernet:
    """A copy of a functional program. Layers that `choices` do not name stay as they are."""
    copy, generator = begin(program), torch.Generator().manual_seed(seed)
    groups = [group for group in tied_groups(copy, find_layers(copy)[0]) if group[0].name in choices]
    blend = str(add_tensor(copy, "quantizing_blend", torch.ones(()), next(iter(copy.nodes())), buffer=True).target)
    parts: dict[str, list[Part]] = {}
    sites: list[Site] = []
    for group in groups:
        layer = group[0]
        settings = sorted(choices[layer.name], key=lambda setting: stored_bytes(copy, layer, setting))
        sizes = tuple(stored_bytes(copy, layer, setting) for setting in settings)
        found = _parts(copy, layer, settings, generator, shared=shared)
        choice = torch.eye(len(settings))[-1].clone()
        name = str(add_tensor(copy, f"{_OWN}.{layer.name}.choice", choice, min(layer.nodes), buffer=True).target)
        weight = _written(copy, layer, found, name, blend)
        for each in group:
            for node in each.nodes:
                node.update_arg(each.positions[1], weight)
        parts[layer.name] = found
        sites.append(Site(name, copy.get(layer.weight).numel(), sizes))
    first = {layer.name: group[0].name for group in groups for layer in group}
    return Supernet(finish(copy), Schedule(tuple(sites), tuple(budgets), seed), parts, first)


def _parts(
    program: Program, layer: Layer, settings: Sequence[Setting], generator: torch.Generator, *, shared: bool
) -> list[Part]:
    found: list[Part] = []
    at, weight = min(layer.nodes), program.get(layer.weight)
    rows, columns = weight.flatten(1).shape
    rank = max(1, min(RANK, min(rows, columns) // 2))

    def added(name: str, value: Tensor, *, buffer: bool = False) -> str:
        return str(add_tensor(program, f"{_OWN}.{layer.name}.{name}", value, at, buffer=buffer).target)

    for setting in settings:
        format, start = format_of(setting), first_step(program, layer, setting)
        if shared and found:
            left, right = found[0].left, found[0].right
        else:
            drawn = (2 * torch.rand(rank, columns, generator=generator) - 1) / columns**0.5
            left, right = added(f"left_{format}", torch.zeros(rows, rank)), added(f"right_{format}", drawn)
        step = Step(added(f"step_{format}", start, buffer=True), added(f"gain_{format}", torch.zeros_like(start)))
        found.append(Part(setting, left, right, step))
    return found


def _written(program: Program, layer: Layer, parts: Sequence[Part], choice: str, blend: str) -> fx.Node:
    """The rounded weight of the format that is chosen."""
    at = min(layer.nodes)
    shape = list(program.get(layer.weight).shape)

    def call(target: torch._ops.OpOverload, *args: object) -> fx.Node:
        return insert(program, target, args, like=at)

    total: fx.Node | None = None
    for index, part in enumerate(parts):
        low = call(aten.mm.default, read(program, part.left, at), read(program, part.right, at))
        moved = call(aten.add.Tensor, read(program, layer.weight, at), call(aten.view.default, low, shape))
        step = read(program, part.step.scale, at), read(program, part.step.gain, at)
        rounded = insert_rounding(program, moved, step, read(program, blend, at), layer, part.setting)
        mine = call(aten.mul.Tensor, rounded, call(aten.select.int, read(program, choice, at), 0, index))
        total = mine if total is None else call(aten.add.Tensor, total, mine)
    assert total is not None
    return total
