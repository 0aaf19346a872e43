"""What a dropped part added, as far as it is linear in what the layer before reads, folded into that layer.

    min over D, d   ‖(W + D)·h + b + d + rest − y‖²       h: what the last layer before reads
    min over a, d   ‖a ⊙ v + d + rest − y‖²               v: what a norm that ends there gives, channel by channel

y is the original's stream behind the dropped part, on calibration data; the rest of the sum stays as it is. A fold is
kept where it lowers the distance of the outputs on samples that were not fitted to (SliceGPT and ThiNet correct widths
so; for blocks it is the affine replacement of Puzzle, without a layer of its own).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, fx, nn

from compressor.graph.blocks.operators import is_activation, same_shape
from compressor.graph.contract import Batch
from compressor.graph.edit import (
    add_tensor,
    argument,
    attribute,
    begin,
    finish,
    is_call,
    is_kept,
    set_argument,
    set_tensor,
    tensor_of,
)
from compressor.graph.program import Program
from compressor.passes.dropping.bypass import ends_of
from compressor.passes.dropping.candidates import Candidate
from compressor.passes.reading.fit import fitted
from compressor.passes.reading.matrix import from_matrix, rows_of, to_matrix
from compressor.passes.reading.samples import visit
from compressor.passes.recover.judge import Judge

__all__ = ["Healed", "heal"]

aten = torch.ops.aten
ROWS = 16384  # equations a layer
_LINEAR = (aten.linear.default,)
_CONVOLUTIONS = (aten.conv1d.default, aten.conv2d.default)
_NORMS = (aten.layer_norm.default, aten.batch_norm.default)


@dataclass(frozen=True)
class Healed:
    """The healed program; for each site that was folded somewhere, the layer; and the damage before and after."""

    program: Program
    folded: Mapping[str, str]
    damage: tuple[float, float]


@dataclass(frozen=True)
class _Lever:
    """A layer of the smaller program whose parameters move `at`, a sum or its own value."""

    layer: fx.Node
    at: fx.Node
    weight: str
    bias: str | None


def heal(
    original: Program, smaller: Program, dropped: Sequence[Candidate], batches: Sequence[Batch], judge: Judge | None,
    only: Sequence[str] | None = None, keep: Sequence[str] = (),
) -> Healed:  # fmt: skip
    """Fold what can be folded, in order. `judge` has the samples that decide; without one all of `only` are kept.
    Nothing is folded into a layer that is to be left alone (`keep`).

    `smaller` is `original` without the dropped parts, finished; its nodes have the original's names.
    """
    best, folded = smaller, dict[str, str]()
    before = damage = judge.damage(smaller) if judge is not None else 0.0
    for site, behind, stream in ends_of(original, smaller, dropped):
        if only is not None and site not in only:
            continue
        lever = _lever(best, _named(best, stream), keep)
        tried = None if lever is None else _moved(original, best, lever, _sum(behind), batches)
        if lever is None or tried is None:
            continue
        after = judge.damage(tried) if judge is not None else -1.0
        if after < damage or judge is None:
            best, damage = tried, after
            folded[site] = lever.weight.rpartition(".")[0]
    return Healed(best, folded, (before, damage))


def _named(program: Program, name: str) -> fx.Node:
    found: fx.Node = next(node for node in program.graph.nodes if node.name == name)
    return found


def _sum(node: fx.Node) -> fx.Node:
    """What the activation that ends a block is of."""
    while is_activation(node):
        node = node.all_input_nodes[0]
    return node


def _lever(program: Program, stream: fx.Node, keep: Sequence[str]) -> _Lever | None:
    """The layer that ends in a stream's value, or in the last term of the sum that it is; none that is kept."""
    at = _sum(stream)
    terms = [at] if not is_call(at, aten.add.Tensor) else [t for t in reversed(at.all_input_nodes) if same_shape(t, at)]
    for term in terms:
        if not is_call(term, *_LINEAR, *_CONVOLUTIONS, *_NORMS) or (len(term.users) > 1 and term is not at):
            continue
        weight, bias = (attribute(argument(term, name)) for name in ("weight", "bias"))
        alone = all(name is None or _readers(program, name) == 1 for name in (weight, bias))
        names = [name for stored in (weight, bias) if stored for name in (stored, stored.rpartition(".")[0])]
        if any(is_kept(name, keep) for name in names):
            continue
        if weight is not None and alone and not (is_call(term, *_CONVOLUTIONS) and argument(term, "groups") != 1):
            return _Lever(term, at, weight, bias)
    return None


def _readers(program: Program, name: str) -> int:
    nodes = program.graph.find_nodes(op="get_attr")
    return sum(len(node.users) for node in nodes if str(node.target) == name)


def _moved(
    original: Program, program: Program, lever: _Lever, behind: fx.Node, batches: Sequence[Batch]
) -> Program | None:
    """The program with the layer's parameters fitted; None where nothing better was found."""
    kind = "conv" if is_call(lever.layer, *_CONVOLUTIONS) else "linear"
    wide = kind == "conv" or (lever.at.meta["val"].dim() >= 4 and is_call(lever.layer, aten.batch_norm.default))
    wanted = _seen(original, {behind}, batches)[behind]
    seen = _seen(program, {lever.at, lever.layer, lever.layer.all_input_nodes[0]}, batches)
    limit = ROWS // len(batches) + 1
    missing = torch.cat([_rows(y - x, wide, limit) for x, y in zip(seen[lever.at], wanted, strict=True)])
    weight = program.get(lever.weight).detach()
    if is_call(lever.layer, *_NORMS):
        values = torch.cat([_rows(value, wide, limit) for value in seen[lever.layer]])
        return _written(program, lever, *_scaled(program, lever, values, missing))
    inputs = [rows_of(lever.layer, x, weight, kind, limit)[0] for x in seen[lever.layer.all_input_nodes[0]]]
    read = torch.cat(inputs).float()
    step = fitted(read - read.mean(0), missing - missing.mean(0))
    shift = missing.mean(0) - (0 if step is None else step.float() @ read.mean(0))
    matrix = to_matrix(weight, kind)[0].float() + (0 if step is None else step.float())
    return _written(program, lever, from_matrix(matrix[None], weight, kind), shift)


def _scaled(program: Program, lever: _Lever, values: Tensor, missing: Tensor) -> tuple[Tensor, Tensor]:
    """A norm's new weight, and what its bias has to be shifted by, for v + missing ≈ (1 + a) ⊙ v + d."""
    centred, target = values - values.mean(0), missing - missing.mean(0)
    slope = (centred * target).sum(0) / centred.square().sum(0).clamp_min(1e-12)
    bias = tensor_of(program, argument(lever.layer, "bias"))
    own = torch.zeros_like(slope) if bias is None else bias.detach().float()
    shift = missing.mean(0) - slope * values.mean(0) + slope * own
    return program.get(lever.weight).detach() * (1 + slope), shift


def _written(program: Program, lever: _Lever, weight: Tensor, shift: Tensor) -> Program | None:
    if not bool(torch.isfinite(weight).all() and torch.isfinite(shift).all()):
        return None
    copy = begin(program)
    layer = _named(copy, lever.layer.name)
    old: Tensor = program.get(lever.weight)
    set_tensor(copy, lever.weight, _like(old, weight))
    if lever.bias is not None:
        bias: Tensor = program.get(lever.bias)
        set_tensor(copy, lever.bias, _like(bias, bias.detach() + shift))
    else:
        name = f"{lever.weight.rpartition('.')[0]}.bias".lstrip(".")
        set_argument(layer, "bias", add_tensor(copy, name, _like(old, shift), layer))
    return finish(copy)


def _like(old: Tensor, value: Tensor) -> Tensor:
    value = value.to(old.dtype)
    return nn.Parameter(value) if isinstance(old, nn.Parameter) else value


def _seen(program: Program, nodes: set[fx.Node], batches: Sequence[Batch]) -> dict[fx.Node, list[Tensor]]:
    """The values of some nodes, batch by batch."""
    found: dict[fx.Node, list[Tensor]] = {node: [] for node in nodes}
    visit(program, batches, lambda node, _, value: found[node].append(value.float()), found)
    return found


def _rows(value: Tensor, wide: bool, limit: int) -> Tensor:
    """At most `limit` positions' channels, those that `rows_of` takes: the channels are last, or, where `wide`,
    second."""
    flat = (value.movedim(1, -1) if wide else value).reshape(-1, value.shape[1] if wide else value.shape[-1])
    return flat[torch.linspace(0, len(flat) - 1, min(len(flat), limit), dtype=torch.float64).long()]
