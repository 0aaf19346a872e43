"""Whether a stored weight is zero in a pattern that the target multiplies faster, and what that saves.

    of every M consecutive weights along the summed axis at most N are not zero       "N of M"
    bytes moved = N/M · (b + ⌈log₂ M⌉)/b         of the dense ones: b bits a value, and where in its group it stands

(Mishra et al., 2021, Accelerating Sparse Deep Neural Networks, arXiv:2104.08378.) The pattern is read off the tensor,
whoever made the zeros. A target that lists no pattern costs nothing; a dense weight is told by its first groups.
"""

from __future__ import annotations

import math
from collections.abc import MutableMapping
from dataclasses import dataclass

from torch import Tensor, fx
from torch.utils.weak import WeakTensorKeyDictionary

from compressor.graph.concrete import op_name
from compressor.graph.edit import argument, tensor_of
from compressor.graph.kernels import Kernel
from compressor.graph.program import Program
from compressor.graph.work import kind_of
from compressor.targets.target import Target

__all__ = ["Sparse", "follows", "sparse_of"]

GLANCE = 64  # groups of a weight's first row that are looked at before the rest
_KNOWN: MutableMapping[Tensor, tuple[int, dict[tuple[int, int, int], bool]]] = WeakTensorKeyDictionary()  # with version


@dataclass(frozen=True)
class Sparse:
    """A kernel's sparse weight: where it is stored, how much faster it multiplies, the share of its bytes moved."""

    weight: fx.Node
    speedup: float
    moved: float


def sparse_of(program: Program, kernel: Kernel, target: Target) -> Sparse | None:
    """What the target's preferred provider gains from the zeros in this kernel's weight, or None."""
    offers = [offer for offer in target.sparsity if kernel.format in offer.formats]
    found = _weight(kernel.anchor) if offers else None
    weight = tensor_of(program, found[0]) if found else None
    if found is None or weight is None or weight.dim() < 2:
        return None
    for offer in offers:
        if min(weight.shape[:2]) >= offer.width and follows(weight, offer.kept, offer.group, found[1]):
            bits = 8 * weight.element_size()
            moved = offer.kept / offer.group * (bits + math.ceil(math.log2(offer.group))) / bits
            return Sparse(found[0], offer.speedup, moved)
    return None


def follows(weight: Tensor, kept: int, group: int, axis: int) -> bool:
    """Whether at most `kept` of every `group` consecutive weights along an axis are not zero; remembered by tensor."""
    if weight.shape[axis] % group or not weight.numel():
        return False
    version = 0 if weight.is_inference() else weight._version
    known, found = _KNOWN.get(weight, (version, {}))
    if known != version:
        found = {}
    pattern = (kept, group, axis)
    if pattern not in found:
        found[pattern] = _look(weight.detach().movedim(axis, -1), kept, group)
        _KNOWN[weight] = (version, found)
    return found[pattern]


def _look(weight: Tensor, kept: int, group: int) -> bool:
    first = weight[(0,) * (weight.dim() - 1)][: GLANCE * group]
    return all(bool(((p != 0).reshape(-1, group).sum(-1) <= kept).all()) for p in (first, weight))


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
