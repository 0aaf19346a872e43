"""Whether a stored weight is zero in a pattern that the target multiplies faster, and what that saves.

    of every M consecutive weights along the summed axis at most N are not zero       "N of M"
    bytes moved = N/M · (b + ⌈log₂ M⌉)/b         of the dense ones: b bits a value, and where in its group it stands

(Mishra et al., 2021, Accelerating Sparse Deep Neural Networks, arXiv:2104.08378.) The pattern is read off the tensor,
whoever made the zeros; a dense weight is told by its first groups.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Mapping, MutableMapping
from dataclasses import dataclass
from typing import Any

from torch import Tensor, fx
from torch.utils.weak import WeakTensorKeyDictionary

from compressor.graph.concrete import op_name
from compressor.graph.edit import argument, tensor_of
from compressor.graph.kernels import Kernel
from compressor.graph.program import Program
from compressor.graph.work import kind_of
from compressor.targets.target import Target

__all__ = ["GROUPS", "Saving", "Zeros", "follows", "saving_of", "zeros_of"]

GROUPS = (2, 4, 8, 16)  # lengths of the patterns that processors know
GLANCE = 64  # groups of a weight's first row that are looked at before the rest
_KNOWN: MutableMapping[Tensor, tuple[int, dict[tuple[int, int], int]]] = WeakTensorKeyDictionary()  # with version


@dataclass(frozen=True)
class Zeros:
    """Of a kernel's weight: its bytes as they are read, bits a value, the smaller of its inputs and outputs, and for
    lengths of a group the most values of one that are not zero."""

    bytes: int
    bits: int
    width: int
    kept: tuple[tuple[int, int], ...]  # by length

    @classmethod
    def from_json(cls, said: Mapping[str, Any]) -> Zeros:
        """Raises KeyError or TypeError for what is none."""
        return cls(**{**said, "kept": tuple((int(group), int(kept)) for group, kept in said["kept"])})


@dataclass(frozen=True)
class Saving:
    """How much faster a kernel multiplies by its sparse weight, and bytes of that which it need not move."""

    speedup: float
    bytes: float


def zeros_of(program: Program, kernel: Kernel, groups: Collection[int]) -> Zeros | None:
    """The patterns in this kernel's weight, or None where it is dense in all of them."""
    found = _weight(kernel.anchor)
    weight = tensor_of(program, found[0]) if found else None
    if found is None or weight is None or weight.dim() < 2:
        return None
    kept = tuple((group, most) for group in sorted(groups) if (most := _most(weight, group, found[1])) < group)
    stored = kernel.weights.get(found[0], 0)
    return Zeros(stored, 8 * weight.element_size(), min(weight.shape[:2]), kept) if kept else None


def saving_of(zeros: Zeros | None, format_name: str, target: Target) -> Saving | None:
    """What the target's preferred provider gains from the zeros in a kernel of this format, or None."""
    if zeros is None:
        return None
    kept = dict(zeros.kept)
    for offer in target.sparsity:
        fits = format_name in offer.formats and zeros.width >= offer.width
        if fits and kept.get(offer.group, offer.group) <= offer.kept < offer.group:
            moved = offer.kept / offer.group * (zeros.bits + math.ceil(math.log2(offer.group))) / zeros.bits
            return Saving(offer.speedup, (1 - moved) * zeros.bytes)
    return None


def follows(weight: Tensor, kept: int, group: int, axis: int) -> bool:
    """Whether at most `kept` of every `group` consecutive weights along an axis are not zero."""
    return kept < group and _most(weight, group, axis) <= kept


def _most(weight: Tensor, group: int, axis: int) -> int:
    """The most values of a group that are not zero, remembered by tensor; `group` where it does not divide the axis."""
    if weight.shape[axis] % group or not weight.numel():
        return group
    version = 0 if weight.is_inference() else weight._version
    known, found = _KNOWN.get(weight, (version, {}))
    if known != version:
        found = {}
    if (group, axis) not in found:
        found[group, axis] = _counted(weight.detach().movedim(axis, -1), group)
        _KNOWN[weight] = (version, found)
    return found[group, axis]


def _counted(weight: Tensor, group: int) -> int:
    first = weight[(0,) * (weight.dim() - 1)][: GLANCE * group]
    glanced = int((first != 0).reshape(-1, group).sum(-1).max())
    return glanced if glanced == group else int((weight != 0).reshape(-1, group).sum(-1).max())


def _weight(node: fx.Node) -> tuple[fx.Node, int] | None:
    """The stored weight of an ungrouped layer, behind a dequantize too, and the axis that it is summed over."""
    kind, name = kind_of(node), op_name(node)
    place = 2 if name == "addmm" else 1
    if kind not in ("linear", "matmul", "conv1d", "conv2d", "conv3d") or len(node.args) <= place:
        return None
    if kind.startswith("conv") and argument(node, "groups") != 1:
        return None
    weight = node.args[place]
    if isinstance(weight, fx.Node) and weight.op == "call_function" and kind_of(weight) == "dequantize":
        weight = weight.args[0]
    axis = 0 if name == "addmm" or kind == "matmul" else 1
    return (weight, axis) if isinstance(weight, fx.Node) else None
