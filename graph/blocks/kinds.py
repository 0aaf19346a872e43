"""What a branch mixes, found by running it: an input changed at one place, and the places where the output changes.

    mixes axis k  ⇔  ∂ branch(x)[j] / ∂ x[i] ≠ 0 for some i ≠ j along k

Nothing is known of operators: attention, convolutions, scans, Fourier transforms and transposed linears alike spread
along positions. The features' axis is the one along which all branches of a stream spread. Attention to values beside
the stream (an encoder's) mixes their positions: it is told by a product of both.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, fx

from compressor.graph.blocks.chain import Kind
from compressor.graph.blocks.operators import is_layout, is_light
from compressor.graph.blocks.reach import Reach, is_value
from compressor.graph.program import Program
from compressor.graph.stepping import Stepper

__all__ = ["features_axis", "kind_of", "reads_beside", "spreads"]

_SMALL = 1e-5  # of the largest change: rounding


def spreads(program: Program, ends: Sequence[tuple[fx.Node, fx.Node]]) -> list[set[int]]:
    """For each branch (entry, end), in graph order of their entries, the axes that it mixes; the first is the batch's
    and is left out, as are those of length one, of which nothing can be told."""
    with torch.no_grad():
        stepper, found = Stepper(program, program.example), []
        for entry, end in ends:
            stepper.run_to(entry)
            given = stepper.values[entry]
            usual = _value(stepper, entry, given, end)
            axes = [axis for axis in range(1, given.dim()) if given.shape[axis] > 1]
            found.append({a for a in axes if _spreads(usual, _value(stepper, entry, _changed(given, a), end), a)})
    return found


def features_axis(rank: int, found: Sequence[set[int]]) -> int:
    """The axis along which a stream of this rank has its features: the last, or the second of images, unless all
    branches spread along another and not along that."""
    usual = rank - 1 if rank < 4 else 1
    common = set.intersection(*found) if found else set()
    return usual if usual in common or not common else max(common)


def kind_of(spread: set[int], features: int) -> Kind:
    """What a branch that spreads along these axes is."""
    if spread - {features}:
        return "mixer"
    return "mlp" if spread else "branch"


def reads_beside(reach: Reach, entry: fx.Node, end: fx.Node) -> bool:
    """Whether a branch multiplies what it computes with values that are neither stored nor computed from its entry."""

    def beside(source: fx.Node) -> bool:
        return is_value(source) and not reach.is_constant(source) and not reach.depends(source, entry)

    heavy = (node for node in reach.between(entry, end) if not is_light(node) and not is_layout(node))
    return any(beside(source) for node in heavy for source in node.all_input_nodes)


def _value(stepper: Stepper, entry: fx.Node, given: Tensor, end: fx.Node) -> Tensor:
    """What `end` is when `entry` is this."""
    fork = stepper.fork({})
    fork.values[entry] = given
    fork.run_to(end)
    found: Tensor = fork.values[end]
    return found


def _changed(value: Tensor, axis: int) -> Tensor:
    """Other values at the middle of an axis."""
    changed, middle = value.clone(), value.shape[axis] // 2
    noise = torch.randn(value.select(axis, middle).shape, generator=torch.Generator().manual_seed(0))
    changed.select(axis, middle).add_(noise.to(value) * (3 * value.float().std() + 1e-3).to(value.dtype))
    return changed


def _spreads(usual: Tensor, other: Tensor, axis: int) -> bool:
    change = (other - usual).abs().float()
    elsewhere = change.index_fill(axis, torch.tensor([usual.shape[axis] // 2]), 0.0)
    return bool(elsewhere.max() > _SMALL * change.max())
