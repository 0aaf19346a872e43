"""A program in training whose units can be switched off: weights times z, and norms over the kept units alone.

    w ← w · factor(z)        norm(x) over units: mean = Σ zₓ / Σ z, variance = Σ z (x − mean)² / Σ z

With z of zeros and ones it computes what the program computes with those units sliced off (Sheared LLaMA, Xia et al.,
2023, arXiv:2310.06694, normalizes over the kept ones likewise). Layer, RMS and group norms and means are handled.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import torch
from torch import Tensor, fx
from torch.func import functional_call

from compressor.graph.concrete import op_name
from compressor.graph.contract import Batch
from compressor.graph.dimensions.cut import cut
from compressor.graph.dimensions.groups import Dimensions
from compressor.graph.dimensions.removal import Removal
from compressor.graph.edit import argument, set_tensor
from compressor.graph.program import Program
from compressor.passes.pruning.rows import Place as Axis
from compressor.passes.pruning.rows import UnitRows
from compressor.passes.recover.device import Place
from compressor.passes.recover.trainee import Trainee

__all__ = ["Masked", "normalized", "normalized_over", "sliced_with"]


class Masked:
    """A private copy of an analysed program, and some of its units, numbered in the order given."""

    def __init__(
        self, dimensions: Dimensions, units: Sequence[int], place: Place, *, batch_norm: bool,
        keep: Sequence[str] = (), only: Sequence[Axis] | None = None,
    ) -> None:  # fmt: skip
        self.dimensions, self.units = dimensions, tuple(units)
        self.trainee = Trainee(dimensions.program, place, batch_norm=batch_norm, keep=keep)
        self.rows = UnitRows(dimensions, units, place.device, only)
        self.norms: dict[str, Tensor] = {}  # the stored mask of each norm → the units of its rows
        for module in (self.trainee.training, self.trainee.plain):
            self._mask_norms(module)

    def weights(self, z: Tensor) -> dict[str, Tensor]:
        """Every masked parameter and every norm's mask under z; differentiable."""
        own = {name: self.trainee.shared[name] * self.rows.factor(name, z) for name in self.rows.axes}
        ties = {id(self.trainee.shared[name]): value for name, value in own.items()}
        tied = {name: ties[id(t)] for name, t in self.trainee.shared.items() if id(t) in ties}
        return {**tied, **{name: self.rows.along(index, z) for name, index in self.norms.items()}}

    def outputs(self, batch: Batch, z: Tensor) -> tuple[Tensor, ...]:
        """What the network in training computes under z."""
        found: tuple[Tensor, ...] = functional_call(self.trainee.training, self.weights(z), self.trainee.flat(batch))
        return found

    def switch(self, z: Tensor) -> None:
        """Multiply what is stored by z, so that the network runs with these units off from now on."""
        with torch.no_grad():
            for name in self.rows.axes:
                self.trainee.shared[name].mul_(self.rows.factor(name, z))
            for name, index in self.norms.items():
                for module in (self.trainee.training, self.trainee.plain):
                    module.get_buffer(name).copy_(self.rows.along(index, z))

    def sliced(self, gone: Sequence[int], weights: Mapping[str, Tensor] | None = None) -> Program:
        """The program without these units, with the weights of now, or those given in their place."""
        shared = self.trainee.shared
        tensors = {**shared, **{name: value for name, value in (weights or {}).items() if name in shared}}
        return sliced_with(Removal(self.dimensions, gone), tensors)

    def _mask_norms(self, module: fx.GraphModule) -> None:
        known = {node.name: node for node in self.dimensions.walk.reduced}
        for node in list(module.graph.nodes):
            old = known.get(node.name)
            axis = None if old is None else normalized(old)
            if old is None or axis is None:
                continue
            index = self.rows.index(self.dimensions.walk.of(old.args[0])[axis])
            if index is not None:
                self._mask(module, node, axis, index)
        module.recompile()

    def _mask(self, module: fx.GraphModule, node: fx.Node, axis: int, index: Tensor) -> None:
        name = f"_kept_{node.name}"
        self.norms[name] = index
        module.register_buffer(name, torch.ones(index.shape[1], device=index.device))
        with module.graph.inserting_before(node):
            kept = module.graph.get_attr(name)
            operator, names = _MASKED[op_name(node)]
            given = [axis if name == "dim" else argument(node, name) for name in names]
            new = module.graph.call_function(operator, (node.args[0], kept, *given))
        new.meta = dict(node.meta)
        node.replace_all_uses_with(new)
        module.graph.erase_node(node)


def masked_mean(x: Tensor, kept: Tensor, axis: int, keepdim: bool) -> Tensor:
    """The mean over the kept rows of an axis."""
    shape = [-1 if place == axis % x.dim() else 1 for place in range(x.dim())]
    return (x * kept.reshape(shape)).sum(axis, keepdim=keepdim) / kept.sum().clamp_min(1e-6)


def masked_layer_norm(x: Tensor, kept: Tensor, weight: Tensor | None, bias: Tensor | None, eps: float) -> Tensor:
    """Layer norm over the last axis with the statistics of its kept rows."""
    count = kept.sum().clamp_min(1e-6)
    centred = x - (x * kept).sum(-1, keepdim=True) / count
    variance = (centred.square() * kept).sum(-1, keepdim=True) / count
    scaled: Tensor = centred * torch.rsqrt(variance + eps)
    scaled = scaled if weight is None else scaled * weight
    return scaled if bias is None else scaled + bias


def masked_rms_norm(x: Tensor, kept: Tensor, weight: Tensor | None, eps: float | None) -> Tensor:
    """RMS norm over the last axis with the mean square of its kept rows."""
    square = (x.square() * kept).sum(-1, keepdim=True) / kept.sum().clamp_min(1e-6)
    scaled = x * torch.rsqrt(square + (torch.finfo(x.dtype).eps if eps is None else eps))
    return scaled if weight is None else scaled * weight


def masked_group_norm(
    x: Tensor, kept: Tensor, groups: int, weight: Tensor | None, bias: Tensor | None, eps: float
) -> Tensor:
    """Group norm over axis 1 with the statistics of each group's kept channels."""
    parts, mask = x.reshape(len(x), groups, x.shape[1] // groups, -1), kept.reshape(1, groups, -1, 1)
    count = (mask.sum((2, 3), keepdim=True) * parts.shape[-1]).clamp_min(1e-6)
    centred = parts - (parts * mask).sum((2, 3), keepdim=True) / count
    variance = (centred.square() * mask).sum((2, 3), keepdim=True) / count
    scaled = (centred * torch.rsqrt(variance + eps)).reshape(x.shape)
    shape = (-1, *[1] * (x.dim() - 2))
    scaled = scaled if weight is None else scaled * weight.reshape(shape)
    return scaled if bias is None else scaled + bias.reshape(shape)


_MASKED: Mapping[
    str, tuple[Callable[..., Tensor], tuple[str, ...]]
] = {  # by operator: who takes its place, and with what
    "mean": (masked_mean, ("dim", "keepdim")),
    "layer_norm": (masked_layer_norm, ("weight", "bias", "eps")),
    "rms_norm": (masked_rms_norm, ("weight", "eps")),
    "group_norm": (masked_group_norm, ("num_groups", "weight", "bias", "eps")),
}


def sliced_with(removal: Removal, tensors: Mapping[str, Tensor]) -> Program:
    """The cut of `removal` with these tensors, given at full size, in place of the analysed program's.

    What is one tensor stays one.
    """
    smaller = cut(removal)
    made: dict[int, Tensor] = {}
    known = removal.dimensions.tensors
    for name in smaller.tensors():
        if name in tensors:
            full = tensors[name]
            if id(full) not in made:
                made[id(full)] = removal.sliced(full.detach().cpu(), known.get(name, ())).clone()
            set_tensor(smaller, name, made[id(full)])
    smaller.module.recompile()
    return smaller


def normalized(node: fx.Node) -> int | None:
    """The one axis that a mean or layer norm runs over; None for what is not handled."""
    name = op_name(node)
    if name == "mean":
        dims = argument(node, "dim")
        numbers = list(dims) if isinstance(dims, (list, tuple)) else [dims]
        return int(numbers[0]) if len(numbers) == 1 and numbers[0] is not None else None
    if name in ("layer_norm", "rms_norm"):
        return -1 if len(argument(node, "normalized_shape")) == 1 else None
    return 1 if name == "group_norm" else None


def normalized_over(dimensions: Dimensions) -> set[int]:
    """The units that some norm or mean runs over."""
    found: set[int] = set()
    for node in dimensions.walk.reduced:
        axes, axis = dimensions.walk.of(node.args[0]), normalized(node)
        for vector in axes if axis is None else (axes[axis],):
            found.update(dimensions.rows(vector) if vector is not None else ())
    return found
